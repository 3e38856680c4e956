"""Handlers: Python functions that signals are delivered to, and the decorator that declares them.

    handlers = Handlers("billing")

    @handlers.on("order.paid", retry=[1, 5, 30], concurrency=4)
    async def book(payload: Paid, signal: ReceivedSignal) -> None: ...

A worker (`workers.handlers.worker`) subscribes them, and the engine that sends webhooks calls them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import Field, ValidationError

from broker import signals
from broker.deliveries import Outcome, Result
from broker.errors import InvalidField
from broker.jsontext import encode
from broker.operations.subscriptions import check_spec, read_options
from broker.schemas.subscriptions import SubscriptionOptions
from broker.schematypes import Id
from broker.signals import Scope, Throw
from broker.subscriptions import Subscription, SubscriptionSpec
from broker.targets import HandlerTarget
from workers.handlers.calling import call
from workers.handlers.calls import (
    Declarations,
    Function,
    GiveUp,
    ReceivedSignal,
    TryLater,
    WrongHandler,
    argument_of,
    check_app,
    scope_of,
)
from workers.handlers.calls.declarations import DEFAULT_TIMEOUT

__all__ = [
    "GiveUp",
    "Handlers",
    "Outcome",
    "ReceivedSignal",
    "Result",
    "Signal",
    "TryLater",
    "WrongHandler",
    "check_app",
]

Signal = ReceivedSignal
"""The name of `ReceivedSignal` in version 0.1.0."""


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


class Handlers(Declarations[Handler]):
    """An app: handlers that are run by the same workers.

    Args:
        name: The app's name, under which its subscriptions are kept: another name is another app. None takes the name
            of the module that the worker is started with; a file that is named by its path needs one.

    Raises:
        WrongHandler: *name* cannot be one.
    """

    def declare(self, name: str, function: Function, options: Mapping[str, object]) -> Handler:  # noqa: D102
        return Handler(name=name, function=function, spec=_read_spec(options))

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
        scope = scope_of(tenant_id=tenant_id, without_tenant_id=without_tenant_id, execution_id=execution_id)
        throw = Throw(
            name=name, payload=encode(payload), scope=Scope(scope), tenant_id=tenant_id, execution_id=execution_id
        )
        signal = signals.Signal(id=1, created_at=datetime.now(UTC), throw=throw)
        results = {}
        for number, handler in enumerate(self, start=1):
            spec = handler.of(self.name or "app")
            subscription = Subscription(id=number, spec=spec, created_at=signal.created_at, since=0)
            if subscription.mismatch(signal) is None:
                timeout = spec.timeout or timedelta(seconds=DEFAULT_TIMEOUT)
                delivery_id = f"{signal.id}-{number}"
                results[handler.name] = await call(
                    handler.function, signal, delivery_id=delivery_id, attempt=attempt, timeout=timeout
                )
        return results


class _Options(SubscriptionOptions):
    """What a handler may ask for: as any subscription, but for the time that a call may take."""

    name: Annotated[str, Field(min_length=1)]
    tenant_id: Id | None
    execution_id: Id | None
    once: bool
    ordered: bool
    # RabbitMQ wants an ack within half an hour.
    timeout_seconds: Annotated[float, Field(gt=0, le=900, allow_inf_nan=False)]


def _read_spec(options: Mapping[str, object]) -> SubscriptionSpec:
    try:
        wanted = _Options.model_validate(options, by_name=True, by_alias=False)
        spec = SubscriptionSpec(targets=(), **read_options(wanted, type(wanted).model_fields))
        check_spec(spec)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise WrongHandler(f"{argument_of(*problem['loc'])}: {problem['msg']}") from None
    except InvalidField as error:
        raise WrongHandler(f"{argument_of(*error.pointer.split('/')[1:])}: {error.detail}") from None
    return spec
