"""Documents validated by a model, every error with its pointer."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import ValidationError

from broker.errors import InvalidDocument, InvalidField
from broker.schematypes import Schema

D = TypeVar("D", bound=Schema)


def validate(model: type[D], value: object) -> D:
    """Return *value*, JSON as Python has it, as a *model*.

    Raises:
        InvalidDocument: It is not what the model allows.
    """
    try:
        return model.model_validate(value, by_alias=True, by_name=False)
    except ValidationError as error:
        errors = [InvalidField(_pointer(e["loc"], value), _sentence(e)) for e in error.errors(include_url=False)]
        raise InvalidDocument(errors) from error


def _pointer(location: tuple[int | str, ...], value: Any) -> str:
    """Return *location* in *value* as a JSON pointer: without the names of variants, which pydantic puts in between."""
    pointer = ""
    for position, part in enumerate(location):
        is_there = (isinstance(value, dict) and part in value) or (isinstance(value, list) and isinstance(part, int))
        if is_there or position == len(location) - 1:
            pointer += "/" + str(part).replace("~", "~0").replace("/", "~1")
        value = value[part] if is_there else value
    return pointer


def _sentence(error: Any) -> str:
    match error["type"]:
        case "extra_forbidden":
            return "unknown field"
        case "missing":
            return "is required"
        case "model_type" | "dict_type":
            return "must be a JSON object"
        case "value_error":
            return str(error["ctx"]["error"])
        case _:
            return str(error["msg"])
