"""Signals: thrown one at a time or in batches, shown, and explained."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, SkipValidation

from broker.schemas import Problem
from broker.schemas.rules import all_of, any_of, missing, unset
from broker.schematypes import Id, Moment, Name, Schema, Shown, Text


class TypedVariable(Schema):
    """A variable as Camunda 7 writes it."""

    value: Any = None
    type: str | None = None
    value_info: dict[str, Any] | None = None


class SignalRequest(Schema):
    """A throw: a named fact for all subscriptions, for those of one tenant or of none, or for one execution."""

    model_config = ConfigDict(
        json_schema_extra=all_of(
            any_of(missing("executionId"), all_of(missing("tenantId"), unset("withoutTenantId"))),
            any_of(missing("variables"), {"not": {"required": ["payload"]}}),
        )
    )

    name: Name
    payload: Any = Field(
        None, description="Any JSON; delivered byte for byte as it was sent.", examples=[{"policy": 42}]
    )
    variables: dict[str, TypedVariable] | None = Field(None, description="Instead of `payload`: typed variables.")
    execution_id: Id | None = None
    tenant_id: Id | None = None
    without_tenant_id: bool = False
    business_key: Annotated[Text, Field(max_length=255)] | None = None
    ordering_key: Id | None = Field(
        None,
        description="What it is about, such as an order's id: ordered subscriptions get signals with the same key"
        " one after the other.",
    )
    deliver_at: Moment | None = Field(
        None, description="Not delivered before this time; a time in the past means at once."
    )
    expires_at: Moment | None = Field(
        None, description="Expires at this time: deliveries that are still owed then are cancelled."
    )


class BatchItem(SignalRequest):
    """One throw of a batch."""

    idempotency_key: Annotated[str, Field(min_length=1, max_length=255, pattern="^[ -~]*$")] | None = Field(
        None, description="As the header `Idempotency-Key`, for this throw."
    )


class BatchRequest(Schema):
    """Several throws, each accepted or refused by itself."""

    signals: Annotated[
        list[SkipValidation[BatchItem | Any]],
        Field(min_length=1, max_length=1000, description="What is no throw is refused by itself, too."),
    ]


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
    created_at: Shown
    source: Literal["native", "camunda", "signal-endpoint"]
    source_id: int | None
    ordering_key: str | None
    deliver_at: Shown | None
    expires_at: Shown | None
    hops: int = Field(description="How many deliveries led to it, one after the other.")
    state: Literal["accepted", "recorded", "scheduled", "cancelled"]


class SignalPage(Schema):
    """A page of signals; `next` is the `afterId` of the next page."""

    items: list[SignalSchema]
    next: str | None


class BatchResult(Schema):
    """The result of one throw of a batch: the id of the signal, or the problem."""

    status: int = Field(description="The HTTP status of the same throw on its own.")
    id: int | None = None
    problem: Problem | None = None


class BatchSchema(Schema):
    """The results of a batch, in the order of its throws."""

    results: list[BatchResult]


class Explanation(Schema):
    """Whether a signal matches a subscription, and why."""

    subscription_id: int
    matches: bool
    because: str


class ExplanationPage(Schema):
    """A page of subscriptions, each with whether it matches; `next` is the `afterId` of the next page."""

    matches: list[Explanation]
    next: str | None
