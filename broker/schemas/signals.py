"""Signals: thrown one at a time or in batches, shown, and explained."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, SkipValidation

from broker.schemas import Id, Moment, Name, Problem, Schema, Text


class TypedVariable(Schema):
    """A variable as Camunda 7 writes it."""

    value: Any = None
    type: str | None = None
    value_info: dict[str, Any] | None = None


class SignalRequest(Schema):
    """A throw: a named fact for everybody, one tenant, those without a tenant, or one execution."""

    name: Name
    payload: Any = Field(None, description="Any JSON. Carried untouched.", examples=[{"policy": 42}])
    variables: dict[str, TypedVariable] | None = Field(None, description="Instead of `payload`: typed variables.")
    execution_id: Id | None = None
    tenant_id: Id | None = None
    without_tenant_id: bool = False
    business_key: Annotated[Text, Field(max_length=255)] | None = None
    ordering_key: Id | None = Field(
        None,
        description="Which order, customer or door it is about: ordered subscriptions get signals with the same key one"
        " after the other.",
    )
    deliver_at: Moment | None = Field(None, description="Nobody gets it before; a moment that is past means at once.")
    expires_at: Moment | None = Field(None, description="Nobody gets it after; what is still owed then is cancelled.")


class BatchItem(SignalRequest):
    """A throw of several."""

    idempotency_key: Annotated[str, Field(min_length=1, max_length=255, pattern="^[ -~]*$")] | None = Field(
        None, description="As the header `Idempotency-Key`, for this one."
    )


class BatchRequest(Schema):
    """Several throws; each is looked at on its own."""

    signals: Annotated[list[SkipValidation[BatchItem]], Field(min_length=1, max_length=1000)]


class SignalSchema(Schema):
    """A signal."""

    id: int
    name: str
    scope: Literal["broadcast", "tenant", "untenanted", "execution"]
    tenant_id: str | None
    execution_id: str | None
    payload: Any
    variables: dict[str, TypedVariable]
    business_key: str | None
    created_at: datetime
    source: Literal["native", "camunda", "signal-endpoint"]
    source_id: int | None
    ordering_key: str | None
    deliver_at: datetime | None
    expires_at: datetime | None
    state: Literal["accepted", "recorded", "scheduled", "cancelled"]


class SignalPage(Schema):
    """A page of signals; `next` is the `afterId` of the next page."""

    items: list[SignalSchema]
    next: str | None


class BatchResult(Schema):
    """What became of one throw of a batch: its id, or the problem."""

    status: int = Field(description="The HTTP status that it would have been answered with on its own.")
    id: int | None = None
    problem: Problem | None = None


class BatchSchema(Schema):
    """What became of the throws of a batch, in their order."""

    results: list[BatchResult]


class Explanation(Schema):
    """Whether a signal is for a subscription."""

    subscription_id: int
    matches: bool
    because: str


class ExplanationPage(Schema):
    """A page of subscriptions, each with whether it matches; `next` is the `afterId` of the next page."""

    matches: list[Explanation]
    next: str | None
