"""Subscriptions: targets, limits, and what signs their webhooks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from broker.schemas import BulkRequest, following
from broker.schemas.filters import FilterDocument
from broker.schemas.rules import all_of, any_of, missing, one_of, unset
from broker.schemas.statistics import SuccessRateSchema
from broker.schematypes import WHOLE, Id, Name, PerSecond, Schema, Shown, Text
from broker.targets import TargetSchema, WantedTargetSchema

Seconds = Annotated[float, Field(ge=0, le=604_800, allow_inf_nan=False)]
HeadOfLineName = Literal["block", "skip"]
LEAST_TIMEOUT = 0.1
"""Seconds. In less time hardly any receiver answers: each attempt would fail at a target that is well."""


class StepSchema(Schema):
    """One of several targets that are delivered to in order."""

    target: TargetSchema
    description: Annotated[Text, Field(max_length=1000)] | None = None


class WantedStepSchema(StepSchema):
    """One of several targets to deliver to in order."""

    target: WantedTargetSchema


class RetrySchema(Schema):
    """When to try again: pauses in seconds (each shortened at random), one more attempt than pauses."""

    model_config = ConfigDict(
        json_schema_extra=any_of(
            missing("schedule"),
            missing("maxAttempts"),
            {"properties": {"schedule": {"minItems": 1}}},
            {"properties": {"maxAttempts": {"maximum": 1}}},
        )
    )

    schedule: Annotated[list[Seconds], Field(max_length=50)] | None = None
    max_attempts: Annotated[int, Field(ge=1, le=51), WHOLE] | None = None


class SubscriptionOptions(Schema):
    """The options of a subscription that may be changed later.

    Each is an attribute of `broker.subscriptions.SubscriptionSpec`, under the same name unless
    `broker.operations.subscriptions` converts it, and an option of the command `subscribe`.
    """

    target: WantedTargetSchema | None = None
    steps: Annotated[list[WantedStepSchema], Field(min_length=1, max_length=10)] | None = Field(
        None, description="Several targets in place of `target`: each is delivered to after the one before succeeded."
    )
    filter: FilterDocument | None = Field(
        None,
        description="Conditions on paths of the payload, all of which must hold.",
        examples=[{"cpu": {"operator": "NUM_GT", "value": "90"}}],
    )
    head_of_line: HeadOfLineName | None = Field(
        None,
        description="For an ordered subscription: whether the deliveries behind a dead one wait until it is redriven"
        " (`block`, the default) or continue (`skip`).",
    )
    retry: RetrySchema | None = None
    timeout_seconds: Annotated[float, Field(ge=LEAST_TIMEOUT, le=300)] | None = Field(
        None, description="The maximum duration of an attempt, or of each of its steps, in seconds."
    )
    max_in_flight: Annotated[int, Field(ge=1, le=10_000), WHOLE] | None = Field(
        None, description="The maximum number of attempts in flight, across all deliverers."
    )
    max_per_second: PerSecond | None = Field(
        None, description="The maximum number of attempts per second, across all deliverers."
    )
    description: Annotated[Text, Field(max_length=1000)] | None = Field(None, description="A note for people.")


class SubscriptionRequest(SubscriptionOptions):
    """A standing request for signals."""

    model_config = ConfigDict(
        json_schema_extra=all_of(
            one_of("target", "steps"),
            any_of(unset("ordered"), unset("once")),
            any_of(missing("headOfLine"), {"required": ["ordered"], "properties": {"ordered": {"const": True}}}),
        )
    )

    name: Annotated[Name, Field(description="A signal name, or a pattern: `*` one word, `#` any number of words.")]
    execution_id: Id | None = Field(None, description="The execution that waits for the signal.")
    tenant_id: Id | None = Field(None, description="The tenant it belongs to; without one it is untenanted.")
    once: bool = Field(
        default=False,
        description="The first signal that matches and is not cancelled or expired consumes the subscription.",
    )
    ordered: bool = Field(
        default=False,
        description="Signals with the same `orderingKey` are delivered one after the other, in the order in which their"
        " throws were answered.",
    )


def _refuse_change(_value: object) -> None:
    raise ValueError("cannot be changed; make a new subscription, and delete this one")


Fixed = Annotated[SkipJsonSchema[None], BeforeValidator(_refuse_change)]


class SubscriptionChanges(SubscriptionOptions):
    """Changes of a subscription: members that are not mentioned stay, and null removes an optional one.

    `***` as the value of a header keeps its current value, as long as the target stays at the same host.
    """

    model_config = ConfigDict(
        json_schema_extra=any_of(
            {"not": {"anyOf": [{"required": ["target"]}, {"required": ["steps"]}]}}, one_of("target", "steps")
        )
    )

    name: Fixed = None
    execution_id: Fixed = None
    tenant_id: Fixed = None
    once: Fixed = None
    ordered: Fixed = None


class BacklogSchema(Schema):
    """The parked deliveries of a subscription."""

    parked: int = Field(description="The number of parked deliveries, whatever the reason.")
    oldest: Shown | None = Field(description="Since when the oldest of them has been owed.")


class SubscriptionSchema(Schema):
    """A subscription."""

    id: int
    name: str
    target: TargetSchema | None
    steps: list[StepSchema] | None
    execution_id: str | None
    tenant_id: str | None
    once: bool
    consumed_by: int | None = Field(description="The signal that consumed it, if it is `once`.")
    state: Literal["active", "paused", "disabled"]
    paused_at: Shown | None
    disabled_because: str | None = Field(description="Why it gets no signals until it is resumed.")
    filter: dict[str, Any] | None
    ordered: bool
    head_of_line: HeadOfLineName | None
    retry: RetrySchema
    timeout_seconds: float | None
    max_in_flight: int | None
    max_per_second: float | None
    description: str | None
    created_at: Shown
    created_by: str | None = Field(
        description="The principal that created it, whose limits it keeps; null for handlers, and if it is not known."
    )
    secret: str | None = Field(None, description="The signing secret (`whsec_...`); only in the answer that made it.")
    backlog: BacklogSchema | None = Field(None, description="Not in the answer to its creation or a change.")
    circuit: Literal["closed", "open", "half_open"] | None = Field(
        None,
        description="Whether one of its targets seems to be down (`open`) or is being tried again (`half_open`);"
        " not in the answer to its creation or a change.",
    )
    success_rate: SuccessRateSchema | None = Field(None, description="Not in the answer to its creation or a change.")


class ResumptionRequest(Schema):
    """How fast the deliveries that waited during a pause are released."""

    per_second: PerSecond | None = Field(
        None,
        description="Deliveries per second. Without it, ten in the first second and ten more in each further one.",
    )


class ReplayRequest(BulkRequest):
    """Which recorded signals to deliver to a subscription that was not owed them."""

    after: str | None = following("[0-9]{1,18}")


class RotationRequest(Schema):
    """How to replace the secret or key that signs webhooks."""

    grace_seconds: Annotated[int, Field(ge=0, le=604_800), WHOLE] = Field(
        default=86_400, description="How long the previous secret or key keeps signing beside the new one."
    )


class WebhookKeySchema(Schema):
    """A key that webhooks are signed with as `v1a`: Ed25519, 32 bytes in base64 after `whpk_`."""

    id: int
    public_key: str
    created_at: Shown
    valid_until: Shown | None = Field(description="When it stops signing; null if it has not been replaced.")


class WebhookKeyList(Schema):
    """The keys that sign now, the newest first: every webhook signed as `v1a` has a signature of each."""

    items: list[WebhookKeySchema]


class SubscriptionPage(Schema):
    """A page of subscriptions; `next` is the `afterId` of the next page."""

    items: list[SubscriptionSchema]
    next: str | None
