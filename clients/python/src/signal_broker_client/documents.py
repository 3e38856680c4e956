"""Documents of the API, with their members as the API writes them. Later versions of the server may add members."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

from .calls import Variable


class FieldProblem(TypedDict):
    """A field that was wrong: its JSON pointer, and what is allowed."""

    pointer: str
    detail: str


class Problem(TypedDict, total=False):
    """Why a request was refused (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldProblem]


class Signal(TypedDict):
    """A signal."""

    id: int
    name: str
    scope: Literal["broadcast", "tenant", "untenanted", "execution"]
    tenantId: str | None
    executionId: str | None
    payload: Any
    variables: dict[str, Variable]
    businessKey: str | None
    orderingKey: str | None
    createdAt: str
    deliverAt: str | None
    expiresAt: str | None
    source: str
    sourceId: int | None
    hops: int
    state: Literal["accepted", "recorded", "scheduled", "cancelled"]


class BatchResult(TypedDict):
    """The result of one throw of a batch: the id of its signal, or the problem."""

    status: int
    id: NotRequired[int]
    problem: NotRequired[Problem]


class Subscription(TypedDict):
    """A subscription."""

    id: int
    name: str
    target: dict[str, Any] | None
    steps: list[dict[str, Any]] | None
    executionId: str | None
    tenantId: str | None
    once: bool
    state: Literal["active", "paused", "disabled"]
    filter: dict[str, Any] | None
    ordered: bool
    headOfLine: str | None
    retry: dict[str, Any]
    timeoutSeconds: float | None
    maxInFlight: int | None
    maxPerSecond: float | None
    description: str | None
    createdAt: str
    secret: NotRequired[str]


class Match(TypedDict):
    """Whether a signal would match a subscription, and why."""

    subscriptionId: int
    matches: bool
    because: str
