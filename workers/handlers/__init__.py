"""Handlers: Python functions that signals are delivered to, and the decorator that declares them.

    handlers = Handlers("billing")

    @handlers.on("order.paid", retry=[1, 5, 30], concurrency=4)
    async def book(payload: Paid, signal: ReceivedSignal) -> None: ...

A worker (`workers.handlers.worker`) subscribes them, and the engine that sends webhooks calls them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationError

from broker import signals
from broker.deliveries import Outcome, Result
from broker.errors import InvalidField, WrongHandler
from broker.jsontext import encode
from broker.operations.subscriptions import check_spec, read_options
from broker.schemas.subscriptions import SubscriptionOptions
from broker.schematypes import Id
from broker.signals import Scope, Throw
from broker.subscriptions import Subscription, SubscriptionSpec
from broker.targets import HandlerTarget
from workers.handlers.functions import Function, GiveUp, ReceivedSignal, TryLater

__all__ = ["GiveUp", "Handlers", "Outcome", "ReceivedSignal", "Result", "Signal", "TryLater"]

Signal = ReceivedSignal
"""The name of `ReceivedSignal` in version 0.1.0."""

DEFAULT_TIMEOUT = 30.0
"""The maximum duration of a call in seconds, unless its handler declares one."""
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")

F = TypeVar("F", bound=Callable[..., object])


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """One of an app's functions.

    Args:
        name: Its name in the app.
        function: The function that is called.
        spec: Its subscription's spec without a target; see `of`.
    """

    name: str
    function: Function
    spec: SubscriptionSpec

    def of(self, app: str) -> SubscriptionSpec:
        """Return the spec of its subscription as a handler of *app*."""
        return replace(self.spec, targets=(HandlerTarget(app=app, handler=self.name),))


class Handlers:
    """An app: handlers that are run by the same workers.

    Args:
        name: The app's name, under which its subscriptions are kept: another name is another app. None takes the name
            of the module that the worker is started with; a file that is named by its path needs one.

    Raises:
        WrongHandler: *name* cannot be one.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = None if name is None else check_app(name)
        self._handlers: dict[str, Handler] = {}

    def __iter__(self) -> Iterator[Handler]:
        """Iterate over the handlers, in the order of their declaration."""
        return iter(self._handlers.values())

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
                self._add(name or str(getattr(function, "__name__", "")), Function(function), _read_spec(options))
            except WrongHandler as error:
                raise WrongHandler(f"handler {_place(function)}: {error}") from None
            return function

        if callable(signal):
            raise WrongHandler(f"handler {_place(signal)}: the decorator needs a signal name: @handlers.on('name')")
        return decorate

    async def try_out(
        self,
        name: str,
        payload: object = None,
        *,
        tenant_id: str | None = None,
        without_tenant_id: bool = False,
        execution_id: str | None = None,
        attempt: int = 1,
    ) -> dict[str, Result]:
        """Call every handler that such a signal would be delivered to; return the results by the handlers' names.

        For tests: there is no store, no broker and no further attempt. *payload* is any value that JSON can represent.

        Raises:
            InvalidField: Such a signal cannot be thrown.
        """
        scope = (
            Scope.EXECUTION
            if execution_id is not None
            else Scope.TENANT
            if tenant_id is not None
            else Scope.UNTENANTED
            if without_tenant_id
            else Scope.BROADCAST
        )
        throw = Throw(name=name, payload=encode(payload), scope=scope, tenant_id=tenant_id, execution_id=execution_id)
        signal = signals.Signal(id=1, created_at=datetime.now(UTC), throw=throw)
        results = {}
        for number, handler in enumerate(self, start=1):
            spec = handler.of(self.name or "app")
            subscription = Subscription(id=number, spec=spec, created_at=signal.created_at, since=0)
            if subscription.mismatch(signal) is None:
                received = ReceivedSignal.of(signal, delivery_id=f"{signal.id}-{number}", attempt=attempt)
                results[handler.name] = await handler.function.call(
                    received, timeout=spec.timeout or timedelta(seconds=DEFAULT_TIMEOUT)
                )
        return results

    def _add(self, name: str, function: Function, spec: SubscriptionSpec) -> None:
        if not _NAME.fullmatch(name):
            raise WrongHandler(f"name: {name!r} is not 1 to 100 of A-Z, a-z, 0-9, `_`, `.` and `-`")
        if name in self._handlers:
            raise WrongHandler(f"name: there is a handler {name!r} already; give one of them another with `name=`")
        self._handlers[name] = Handler(name=name, function=function, spec=spec)


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


class _Options(SubscriptionOptions):
    """What a handler may ask for: as any subscription, but for the time that a call may take."""

    name: Annotated[str, Field(min_length=1)]
    tenant_id: Id | None
    execution_id: Id | None
    once: bool
    ordered: bool
    # RabbitMQ wants an ack within half an hour.
    timeout_seconds: Annotated[float, Field(gt=0, le=900, allow_inf_nan=False)]


_ARGUMENTS = {"name": "signal", "max_in_flight": "concurrency", "timeout_seconds": "timeout"}
"""The arguments of `Handlers.on` that are called otherwise in a subscription."""


def _read_spec(options: Mapping[str, object]) -> SubscriptionSpec:
    try:
        wanted = _Options.model_validate(options, by_name=True, by_alias=False)
        spec = SubscriptionSpec(targets=(), **read_options(wanted, type(wanted).model_fields))
        check_spec(spec)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise WrongHandler(f"{_argument(*problem['loc'])}: {problem['msg']}") from None
    except InvalidField as error:
        raise WrongHandler(f"{_argument(*error.pointer.split('/')[1:])}: {error.detail}") from None
    return spec


def _argument(first: int | str, *further: int | str) -> str:
    """Return how the decorator calls what a subscription calls by these members, from the outside in."""
    name = re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", str(first))
    if name == "retry" and further and further[0] in {"max_attempts", "maxAttempts"}:
        return "max_attempts"
    return ".".join([_ARGUMENTS.get(name, name), *(str(part) for part in further if part != "schedule")])


def _place(function: object) -> str:
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    return f"{module}.{name}" if module and name else repr(function)
