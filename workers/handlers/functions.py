"""What a handler's function takes, and how a call of it ends."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property, partial
from types import SimpleNamespace
from typing import Any, get_type_hints

import structlog
from pydantic import PydanticUserError, TypeAdapter, ValidationError

from broker import signals
from broker.deliveries import Outcome, Result
from broker.errors import WrongHandler
from broker.hops import next_hops
from broker.jsontext import read
from broker.signals import Scope
from broker.texts import printable
from broker.variables import Types, Variable, typed

_LAST_MOMENT = timedelta(seconds=1)
"""How long a call that is cancelled may take to clean up."""

log = structlog.get_logger()


class TryLater(Exception):
    """Raise it in a handler to delay the next attempt. This attempt counts as failed.

    Args:
        after: The least time until the next attempt, up to 24 hours; the handler's `retry` may make it longer.
        why: A note for people, shown with the attempt.
    """

    def __init__(self, after: timedelta, why: str = "") -> None:
        super().__init__(why)
        self.after = max(after, timedelta())


class GiveUp(Exception):
    """Raise it in a handler, with the reason, if another attempt would be useless: the delivery is dead at once."""


class _Invalid(Exception):
    """Raised when a payload does not have its type. Handlers may raise validation errors of their own."""


@dataclass(frozen=True, kw_only=True)
class ReceivedSignal:
    """The signal that a handler is called for, without its payload.

    Args:
        id: The signal's id; a later signal has a higher one.
        name: Its name.
        scope: Whom it is for.
        tenant_id: The tenant it is for, if it is for one.
        execution_id: The execution it is for, if it is for one.
        created_at: When it was accepted.
        business_key: What came with it.
        ordering_key: Which order, customer or door it is about.
        expires_at: When it expires.
        traceparent: The caller's W3C trace context.
        hops: How many deliveries led to it.
        delivery_id: The same on every attempt of this handler at this signal: drop repeats by it.
        attempt: The attempt's number, from 1.
        raw: The payload, as it was sent.
    """

    id: int
    name: str
    scope: Scope
    tenant_id: str | None
    execution_id: str | None
    created_at: datetime
    business_key: str | None
    ordering_key: str | None
    expires_at: datetime | None
    traceparent: str | None
    hops: int
    delivery_id: str
    attempt: int
    raw: bytes = field(repr=False)
    _types: Types = field(repr=False)

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of a throw in the handler: they continue the trace, and let a loop of throws come to an end."""
        trace = {} if self.traceparent is None else {"traceparent": self.traceparent}
        return trace | next_hops(self.hops)

    @cached_property
    def variables(self) -> Mapping[str, Variable]:
        """The payload's members with their types, as Camunda writes them."""
        return typed(read(self.raw.decode()), self._types, self.raw)

    @classmethod
    def of(cls, signal: signals.Signal, *, delivery_id: str, attempt: int) -> ReceivedSignal:
        """Return what a handler is told of *signal* at that attempt."""
        throw = signal.throw
        return cls(
            id=signal.id,
            name=throw.name,
            scope=throw.scope,
            tenant_id=throw.tenant_id,
            execution_id=throw.execution_id,
            created_at=signal.created_at,
            business_key=throw.business_key,
            ordering_key=throw.ordering_key,
            expires_at=throw.expires_at,
            traceparent=throw.traceparent,
            hops=throw.hops,
            delivery_id=delivery_id,
            attempt=attempt,
            raw=throw.payload,
            _types=throw.types,
        )


class Function:
    """A function that can be called with a payload, and with the `ReceivedSignal` if it takes one.

    Raises:
        WrongHandler: It cannot.
    """

    def __init__(self, function: Callable[..., object]) -> None:
        if not callable(function) or isinstance(function, type):
            raise WrongHandler("is not a function")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise WrongHandler("is a generator; a handler returns")
        first, *others = _parameters(function)
        self._function = function
        self._takes_signal = bool(others)
        self._is_async = any(map(inspect.iscoroutinefunction, (function, type(function).__call__)))
        self._payload = _adapter(function, first)

    async def call(self, signal: ReceivedSignal, *, timeout: timedelta) -> Result:
        """Call it with *signal* and its payload, and return the result, whatever the function does.

        A coroutine is cancelled after *timeout*, or with the caller. A thread cannot be cancelled and is left running.
        """
        call = asyncio.create_task(self._attempt(signal))
        try:
            await asyncio.wait({call}, timeout=timeout.total_seconds())
        finally:  # when we are cancelled, too
            ended = call.done()
            if not ended:
                call.cancel()
                # A coroutine that ignores its cancellation must not hold up the others.
                await asyncio.wait({call}, timeout=_LAST_MOMENT.total_seconds())
        if not ended:
            return Result(outcome=Outcome.TIMED_OUT, error=f"not done within {timeout.total_seconds():g} s")
        if call.cancelled():
            return Result(outcome=Outcome.REFUSED, error="asyncio.CancelledError: it cancelled itself")
        return call.result()

    async def _attempt(self, signal: ReceivedSignal) -> Result:
        try:
            payload = self._validated(signal.raw)
            await self._run((payload, signal) if self._takes_signal else (payload,))
        except _Invalid as error:
            return Result(outcome=Outcome.REFUSED, error=str(error))
        except TryLater as later:
            why = str(later) or f"not before {later.after} have passed"
            return Result(outcome=Outcome.THROTTLED, error=_one_line(why), retry_after=later.after)
        except GiveUp as why:
            return Result(outcome=Outcome.GIVEN_UP, error=_one_line(str(why) or "GiveUp"))
        except (Exception, SystemExit) as error:
            log.exception("handler.failed", delivery_id=signal.delivery_id, attempt=signal.attempt)
            return Result(outcome=Outcome.REFUSED, error=_one_line(traceback.format_exception_only(error)[0]))
        return Result(outcome=Outcome.SUCCEEDED)

    def _validated(self, payload: bytes) -> object:
        try:
            return self._payload.validate_json(payload)
        except ValidationError as error:
            raise _Invalid(_invalid(error)) from None

    async def _run(self, arguments: tuple[object, ...]) -> None:
        result = self._function(*arguments) if self._is_async else await _in_thread(self._function, *arguments)
        if self._is_async:
            await result  # type: ignore[misc]
        elif inspect.isawaitable(result):
            raise TypeError("it returned an awaitable: declare it with `async def`")


def _parameters(function: Callable[..., object]) -> list[inspect.Parameter]:
    """Return the parameters for the payload and, if there is one, for the signal."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError, NameError) as error:
        raise WrongHandler(f"its signature cannot be read: {error}") from None
    by_place = [one for one in parameters if one.kind in {one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD}]
    if not by_place:
        raise WrongHandler("must take the payload")
    for one in (*by_place[2:], *(one for one in parameters if one.kind is one.KEYWORD_ONLY)):
        if one.default is one.empty:
            raise WrongHandler(f"takes the payload and the signal only; `{one.name}` has no default")
    return by_place[:2]


def _adapter(function: Callable[..., object], parameter: inspect.Parameter) -> TypeAdapter[Any]:
    """Return what validates the payload into the type of *parameter*."""
    if parameter.annotation is parameter.empty:
        return TypeAdapter(Any)
    # The other annotations may exist for type checkers only.
    payload = SimpleNamespace(__annotations__={"payload": parameter.annotation})
    try:
        return TypeAdapter(get_type_hints(payload, _namespace(function), include_extras=True)["payload"])
    except NameError as error:
        raise WrongHandler(f"its module does not define the type of its payload: {error}") from None
    except (PydanticUserError, TypeError, SyntaxError) as error:
        raise WrongHandler(
            f"no payload can be validated into {parameter.annotation!r}: {_one_line(str(error))}"
        ) from None


def _namespace(function: Callable[..., object]) -> dict[str, Any]:
    """Return what the names in the annotations of *function* stand for."""
    while isinstance(function, partial):
        function = function.func
    function = inspect.unwrap(function)
    return getattr(function, "__globals__", None) or getattr(type(function).__call__, "__globals__", {})


async def _in_thread(function: Callable[..., object], *arguments: object) -> object:
    """Return what *function* returns in a thread that does not keep the process alive."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[tuple[object, BaseException | None]] = loop.create_future()
    context = contextvars.copy_context()

    def run() -> None:
        outcome: tuple[object, BaseException | None]
        try:
            outcome = context.run(function, *arguments), None
        except BaseException as error:  # noqa: BLE001  (it is raised where it is waited for)
            outcome = None, error
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, outcome)

    def tell(outcome: tuple[object, BaseException | None]) -> None:
        if not ended.done():
            ended.set_result(outcome)

    threading.Thread(target=run, name=f"handler:{getattr(function, '__name__', '')}", daemon=True).start()
    result, error = await ended
    if error is not None:
        raise error
    return result


def _invalid(error: ValidationError) -> str:
    """Return the first error of a payload, without repeating any of the payload."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    first = problems[0]
    where = ".".join(map(str, first["loc"]))
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return _one_line(f"the payload is invalid: {f'{where}: ' if where else ''}{first['msg']}{more}")


def _one_line(text: str) -> str:
    """Return the first line of *text* without anything that could move a terminal's cursor."""
    line = next(iter(text.strip().splitlines()), "")
    return printable(line)[:1000]
