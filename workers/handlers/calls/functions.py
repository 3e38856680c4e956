"""A handler's function: what it takes, and what becomes of a call of it."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
import traceback
from collections.abc import Callable
from datetime import timedelta

from .outcomes import GiveUp, Outcome, Result, TryLater, WrongHandler
from .payloads import InvalidPayload, payload_reader
from .signals import ReceivedSignal
from .texts import one_line

_LAST_MOMENT = timedelta(seconds=1)
"""How long a call that is cancelled may take to clean up."""


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
        self._read = payload_reader(function, first)

    @property
    def module(self) -> str:
        """The name of the module that defines it."""
        return str(getattr(self._function, "__module__", "__main__"))

    @property
    def name(self) -> str:
        """Its name, with that of its module."""
        return f"{self.module}.{getattr(self._function, '__qualname__', type(self._function).__qualname__)}"

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
            payload = self._read(signal.raw)
            await self._run((payload, signal) if self._takes_signal else (payload,))
        except InvalidPayload as error:
            return Result(outcome=Outcome.REFUSED, error=str(error))
        except TryLater as later:
            why = str(later) or f"not before {later.after} have passed"
            return Result(outcome=Outcome.THROTTLED, error=one_line(why), retry_after=later.after)
        except GiveUp as why:
            return Result(outcome=Outcome.GIVEN_UP, error=one_line(str(why) or "GiveUp"))
        except BaseException as error:  # whatever it is, it is this call's end
            # A coroutine runs on the thread that signals of the process interrupt; a thread raises it by itself.
            if isinstance(error, asyncio.CancelledError) or (self._is_async and isinstance(error, KeyboardInterrupt)):
                raise
            told = one_line(traceback.format_exception_only(error)[0])
            return Result(outcome=Outcome.REFUSED, error=told, exception=error)
        return Result(outcome=Outcome.SUCCEEDED)

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
