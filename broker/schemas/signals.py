"""Signals: thrown one at a time or in batches, shown, and explained."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, SkipValidation

from broker.schemas import Problem
from broker.schemas.rules import all_of, any_of, missing, unset
from broker.schematypes import Id, Moment, Name, Schema, Shown, Text


class TypedVariable(Schema):
    """A variable as Camunda 7 writes it."""

    value: Any = Field(None, description="The value, in the form that its type has in JSON.")
    type: str | None = Field(None, description="Camunda's name of the type; left out: it is inferred from the value.")
    value_info: dict[str, Any] | None = Field(
        None, description="What else is known of the value, such as the class of an `Object`."
    )


class SignalRequest(Schema):
    """A throw: a named fact for all subscriptions, for those of one tenant or of none, or for one execution."""

    model_config = ConfigDict(
        json_schema_extra=all_of(
            any_of(missing("executionId"), all_of(missing("tenantId"), unset("withoutTenantId"))),
            any_of(missing("variables"), {"not": {"required": ["payload"]}}),
        )
    )

    name: Name = Field(description="The signal's name: words, which dots separate.")
    payload: Any = Field(
        None, description="Any JSON; delivered byte for byte as it was sent.", examples=[{"policy": 42}]
    )
    variables: dict[str, TypedVariable] | None = Field(None, description="Instead of `payload`: typed variables.")
    execution_id: Id | None = Field(None, description="Only for subscriptions of this execution.")
    tenant_id: Id | None = Field(None, description="Only for subscriptions of this tenant.")
    without_tenant_id: bool = Field(default=False, description="Whether it is for subscriptions without a tenant only.")
    business_key: Annotated[Text, Field(max_length=255)] | None = Field(
        None, description="A key of the caller's own, which is delivered with the signal."
    )
    ordering_key: Id | None = Field(
        None,
        description="What it is about, such as an order's id: ordered subscriptions get signals with the same key"
        " one after the other.",
    )
    deliver_at: Moment | None = Field(
        None, description="Not delivered before this time; a time in the past means at once."
    )
    expires_at: Moment | None = Field(
        None,
        description="Expires at this time: deliveries that are still owed then are cancelled. At most 366 days ahead.",
        examples=["2026-12-22T10:00:00.000Z"],
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

    id: int = Field(description="The id; a later signal has a higher one.")
    name: str = Field(description="Its name.")
    scope: Literal["broadcast", "tenant", "untenanted", "execution"] = Field(
        description="For whom it is: all, those of one tenant or of none, or those of one execution."
    )
    tenant_id: str | None = Field(description="The tenant that it is for; null: none.")
    execution_id: str | None = Field(description="The execution that it is for; null: none.")
    payload: Any = Field(description="The payload as it was sent, or built from the variables' values.")
    variables: dict[str, TypedVariable] = Field(description="The payload's members as typed variables.")
    business_key: str | None = Field(description="A key of the caller's own, which is delivered with the signal.")
    created_at: Shown = Field(description="When it was accepted.")
    source: Literal["native", "camunda", "signal-endpoint"] = Field(description="The dialect that it was thrown in.")
    source_id: int | None = Field(
        description="The id of the signal endpoint that it came in through; null: another way."
    )
    ordering_key: str | None = Field(
        description="What it is about, for ordered subscriptions; null: nothing was given."
    )
    deliver_at: Shown | None = Field(description="Not delivered before this time; null: at once.")
    expires_at: Shown | None = Field(description="When it expires; null: never.")
    hops: int = Field(description="How many deliveries led to it, one after the other.")
    state: Literal["accepted", "recorded", "scheduled", "cancelled"] = Field(
        description="`accepted`: it is safe; `recorded`: what it owes is known; `scheduled`: it waits for `deliverAt`."
    )


class SignalPage(Schema):
    """A page of signals; `next` is the `afterId` of the next page."""

    items: list[SignalSchema] = Field(description="The items of the page, in the order that was asked for.")
    next: str | None = Field(description="`afterId` of the next page; null if there is none.")


class BatchResult(Schema):
    """The result of one throw of a batch: the id of the signal, or the problem."""

    status: int = Field(description="The HTTP status of the same throw on its own.")
    id: int | None = Field(None, description="The id of the signal; null if the throw was refused.")
    problem: Problem | None = Field(None, description="Why the throw was refused; null if it was accepted.")


class BatchSchema(Schema):
    """The results of a batch, in the order of its throws."""

    results: list[BatchResult] = Field(description="The results, in the order of the throws.")


class Explanation(Schema):
    """Whether a signal matches a subscription, and why."""

    subscription_id: int = Field(description="The id of the subscription.")
    matches: bool = Field(description="Whether the signal matches it.")
    because: str = Field(description="Why, or why not.")


class ExplanationPage(Schema):
    """A page of subscriptions, each with whether it matches; `next` is the `afterId` of the next page."""

    matches: list[Explanation] = Field(description="The subscriptions of the page, each with whether it matches.")
    next: str | None = Field(description="`afterId` of the next page; null if there is none.")
