"""What a handler is told of the signal that it is called for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, TypedDict


def scope_of(*, tenant_id: str | None, without_tenant_id: bool, execution_id: str | None) -> str:
    """Return the scope of a signal that is thrown with these."""
    if execution_id is not None:
        return "execution"
    if tenant_id is not None:
        return "tenant"
    return "untenanted" if without_tenant_id else "broadcast"


class Variable(TypedDict):
    """One typed variable, in Camunda's spelling."""

    value: Any
    type: str
    valueInfo: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ReceivedSignal:
    """The signal that a handler is called for, without its payload.

    Args:
        id: The signal's id; a later signal has a higher one.
        name: Its name.
        scope: Whom it is for: broadcast, tenant, untenanted or execution.
        tenant_id: The tenant it is for, if it is for one.
        execution_id: The execution it is for, if it is for one.
        created_at: When it was accepted.
        business_key: What came with it.
        ordering_key: Which order, customer or door it is about.
        expires_at: When it expires.
        traceparent: The W3C trace context of the call, or, without traces, of the throw.
        tracestate: What tracing systems have noted of it.
        hops: How many deliveries led to it.
        delivery_id: The same on every attempt of this handler at this signal: drop repeats by it.
        attempt: The attempt's number, from 1.
        headers: Those of a throw in the handler: they continue the trace, and let a loop of throws come to an end.
        raw: The payload's JSON.
        read_variables: Reads `variables`, if somebody asks for them.
    """

    id: int
    name: str
    scope: str
    tenant_id: str | None
    execution_id: str | None
    created_at: datetime
    business_key: str | None
    ordering_key: str | None
    expires_at: datetime | None
    traceparent: str | None
    tracestate: str | None
    hops: int
    delivery_id: str
    attempt: int
    headers: Mapping[str, str]
    raw: bytes = field(repr=False)
    read_variables: Callable[[], Mapping[str, Variable]] = field(repr=False, compare=False)

    @cached_property
    def variables(self) -> Mapping[str, Variable]:
        """The payload's members with their types, as Camunda writes them."""
        return self.read_variables()
