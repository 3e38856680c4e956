"""Payloads, read into the types that handlers ask for."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, get_type_hints

from .outcomes import WrongHandler
from .texts import one_line

try:
    import pydantic
except ImportError:  # the client can be installed without it
    pydantic = None  # type: ignore[assignment]


_MOST_TOLD = 3
"""How many errors of a payload are told."""


class InvalidPayload(Exception):
    """Raised when a payload does not have its type; the message repeats none of the payload."""


def payload_reader(function: Callable[..., object], parameter: inspect.Parameter) -> Callable[[bytes], object]:
    """Return what reads a payload's JSON into the type of *parameter*, or raises `InvalidPayload`.

    Without an annotation, or with `Any`, the payload is plain JSON.

    Raises:
        WrongHandler: No payload can have that type.
    """
    payload_type = _type_of(function, parameter)
    if payload_type is Any:
        return _read_json
    if pydantic is None:
        raise WrongHandler("the type of its payload takes pydantic: pip install signal-broker-client[pydantic]")
    try:
        adapter = pydantic.TypeAdapter(payload_type)
    except (pydantic.PydanticUserError, TypeError) as error:
        raise _no_type(parameter, error) from None

    def read(raw: bytes) -> object:
        try:
            return adapter.validate_json(raw)
        except pydantic.ValidationError as error:
            raise InvalidPayload(_told(error)) from None

    return read


def _type_of(function: Callable[..., object], parameter: inspect.Parameter) -> Any:
    if parameter.annotation is parameter.empty:
        return Any
    # The other annotations may exist for type checkers only.
    payload = SimpleNamespace(__annotations__={"payload": parameter.annotation})
    try:
        return get_type_hints(payload, _namespace(function), include_extras=True)["payload"]
    except NameError as error:
        raise WrongHandler(f"its module does not define the type of its payload: {error}") from None
    except (TypeError, SyntaxError) as error:
        raise _no_type(parameter, error) from None


def _no_type(parameter: inspect.Parameter, error: Exception) -> WrongHandler:
    return WrongHandler(f"no payload can be validated into {parameter.annotation!r}: {one_line(str(error))}")


def _namespace(function: Callable[..., object]) -> dict[str, Any]:
    """Return what the names in the annotations of *function* stand for."""
    while isinstance(function, partial):
        function = function.func
    function = inspect.unwrap(function)
    return getattr(function, "__globals__", None) or getattr(type(function).__call__, "__globals__", {})


def _read_json(raw: bytes) -> object:
    try:
        return json.loads(raw)
    except ValueError as error:
        raise InvalidPayload(one_line(f"the payload is not JSON: {error}")) from None


def _told(error: pydantic.ValidationError) -> str:
    """Return the first of its errors, without repeating any of the payload."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    told = []
    for problem in problems[:_MOST_TOLD]:
        where = ".".join(map(str, problem["loc"]))
        told.append(one_line(f"{where}: {problem['msg']}" if where else problem["msg"]))
    more = f" (and {len(problems) - _MOST_TOLD} more)" if len(problems) > _MOST_TOLD else ""
    return one_line(f"the payload is invalid: {'; '.join(told)}{more}")
