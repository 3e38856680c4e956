"""Declaring handlers: the decorator, and what it asks of a subscription."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, Literal, TypeVar

from .functions import Function
from .outcomes import WrongHandler

DEFAULT_TIMEOUT = 30.0
"""The maximum duration of a call in seconds, unless its handler declares one."""
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_ARGUMENTS = {"name": "signal", "max_in_flight": "concurrency", "timeout_seconds": "timeout"}
"""The arguments of `Declarations.on` that are called otherwise in a subscription."""

F = TypeVar("F", bound=Callable[..., object])
H = TypeVar("H")


class Declarations(ABC, Generic[H]):
    """Handlers under the name of an app, each with what its host needs to know of it.

    Args:
        name: The app's name, under which its subscriptions are kept: another name is another app.

    Raises:
        WrongHandler: *name* cannot be one.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = None if name is None else check_app(name)
        self._handlers: dict[str, H] = {}

    def __iter__(self) -> Iterator[H]:
        """Iterate over the handlers, in the order of their declaration."""
        return iter(self._handlers.values())

    @abstractmethod
    def declare(self, name: str, function: Function, options: Mapping[str, object]) -> H:
        """Return the handler *name*.

        *options* are the members of a subscription, in Python's spelling: ``max_in_flight``, ``timeout_seconds``.

        Raises:
            WrongHandler: An option is invalid.
        """

    def on(
        self,
        signal: str,
        *,
        tenant_id: str | None = None,
        execution_id: str | None = None,
        filter: Mapping[str, object] | None = None,  # noqa: A002  (the API's word)
        once: bool = False,
        ordered: bool = False,
        head_of_line: Literal["block", "skip"] = "block",
        retry: Sequence[float] | None = None,
        max_attempts: int | None = None,
        concurrency: int | None = None,
        max_per_second: float | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        name: str | None = None,
    ) -> Callable[[F], F]:
        """Make the decorated function the handler of signals named *signal*; the function itself stays as it is.

        It is called with the payload, validated into the type of its first parameter (`Any` or none: plain JSON), and,
        if it has a second parameter, with the `ReceivedSignal`. An ``async def`` runs on the event loop and must not
        block it; any other function runs in a thread.

        Args:
            signal: A signal's name, or a pattern: ``*`` is one word, ``#`` any number of words.
            tenant_id: The tenant it belongs to; None is untenanted.
            execution_id: The execution that waits here.
            filter: Conditions on the payload, as in ``POST /v1/subscriptions``.
            once: Whether the first signal that matches consumes the subscription.
            ordered: Whether signals with the same ordering key are delivered one after the other, in order.
            head_of_line: Whether the deliveries behind a dead one wait or continue, if it is ordered.
            retry: Seconds between attempts, each shortened at random; None takes the default schedule.
            max_attempts: Cuts *retry* short, or repeats its last pause.
            concurrency: The maximum number of concurrent calls, across all workers of the app; None is no limit.
            max_per_second: The maximum number of calls per second, across all workers of the app; None is no limit.
            timeout: The maximum duration of a call in seconds. A thread cannot be stopped, but the call has failed.
            name: The handler's name in its app; None takes the function's.

        Raises:
            WrongHandler: The function cannot be a handler, or an option is invalid; the message names the function.
        """
        options = {
            "name": signal,
            "tenant_id": tenant_id,
            "execution_id": execution_id,
            "filter": filter,
            "once": once,
            "ordered": ordered,
            "head_of_line": head_of_line,
            "retry": {"schedule": list(retry) if isinstance(retry, tuple) else retry, "max_attempts": max_attempts},
            "max_in_flight": concurrency,
            "max_per_second": max_per_second,
            "timeout_seconds": timeout,
        }

        def decorate(function: F) -> F:
            try:
                self._add(name or str(getattr(function, "__name__", "")), Function(function), options)
            except WrongHandler as error:
                raise WrongHandler(f"handler {_place(function)}: {error}") from None
            return function

        if callable(signal):
            raise WrongHandler(f"handler {_place(signal)}: the decorator needs a signal name: @handlers.on('name')")
        return decorate

    def _add(self, name: str, function: Function, options: Mapping[str, object]) -> None:
        handler = self.declare(name, function, options)
        if not _NAME.fullmatch(name):
            raise WrongHandler(f"name: {name!r} is not 1 to 100 of A-Z, a-z, 0-9, `_`, `.` and `-`")
        if name in self._handlers:
            raise WrongHandler(f"name: there is a handler {name!r} already; give one of them another with `name=`")
        self._handlers[name] = handler


def check_app(name: str) -> str:
    """Return *name* if it can be an app's.

    Raises:
        WrongHandler: It cannot.
    """
    # The queue of an app `a.dead` would be the dead queue of the app `a`.
    if not _NAME.fullmatch(name) or name.endswith(".dead"):
        raise WrongHandler(
            f"the app's name {name!r} is not 1 to 100 of A-Z, a-z, 0-9, `_`, `.` and `-`, or ends with `.dead`"
        )
    return name


def argument_of(first: int | str, *further: int | str) -> str:
    """Return how the decorator calls what a subscription calls by these members, from the outside in."""
    name = re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", str(first))
    if name == "retry" and further and further[0] in {"max_attempts", "maxAttempts"}:
        return "max_attempts"
    return ".".join([_ARGUMENTS.get(name, name), *(str(part) for part in further if part != "schedule")])


def _place(function: object) -> str:
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    return f"{module}.{name}" if module and name else repr(function)
