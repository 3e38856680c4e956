"""Subscriptions: targets, limits, and what signs their webhooks."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from broker.schemas import BulkRequest, following
from broker.schemas.filters import FilterDocument
from broker.schemas.rules import all_of, any_of, missing, one_of, unset
from broker.schemas.statistics import SuccessRateSchema
from broker.schematypes import WHOLE, Id, Name, PerSecond, Schema, Shown, Text
from broker.targets import TargetSchema, WantedStepTargetSchema, WantedTargetSchema

Seconds = Annotated[float, Field(ge=0, le=604_800, allow_inf_nan=False)]
HeadOfLineName = Literal["block", "skip"]
LEAST_TIMEOUT = 0.1
"""Seconds. In less time hardly any receiver answers: each attempt would fail at a target that is well."""


class StepSchema(Schema):
    """One of several targets that are delivered to in order."""

    target: TargetSchema = Field(description="Where the step delivers.")
    description: Annotated[Text, Field(max_length=1000)] | None = Field(None, description="A note for people.")


class WantedStepSchema(StepSchema):
    """One of several targets to deliver to in order."""

    target: WantedStepTargetSchema = Field(description="Where the step delivers.")


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

    schedule: Annotated[list[Seconds], Field(max_length=50)] | None = Field(None, description="The pauses, in seconds.")
    max_attempts: Annotated[int, Field(ge=1, le=51), WHOLE] | None = Field(
        None, description="The maximum number of attempts, the first one included."
    )


class SubscriptionOptions(Schema):
    """The options of a subscription that may be changed later.

    Each is an attribute of `broker.subscriptions.SubscriptionSpec`, under the same name unless
    `broker.operations.subscriptions` converts it, and an option of the command `subscribe`.
    """

    target: WantedTargetSchema | None = Field(None, description="Where it delivers; or else `steps`.")
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
    retry: RetrySchema | None = Field(None, description="When to try again after an attempt that failed.")
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


_LONGEST_KEY = 1000


def _check_key(value: object) -> object:
    match value:
        case None | bool():
            is_key = True
        case str():
            is_key = len(value) <= _LONGEST_KEY
        case int():
            is_key = -(1 << 63) <= value < 1 << 63
        case _:
            is_key = isinstance(value, float) and math.isfinite(value)
    if not is_key:
        raise ValueError(f"must be a text of at most {_LONGEST_KEY} characters, a 64-bit number, true, false or null")
    return value


KeyValue = Annotated[
    Annotated[Text, Field(max_length=_LONGEST_KEY)]
    | Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)]
    | Annotated[float, Field(allow_inf_nan=False)]
    | bool
    | None,
    BeforeValidator(_check_key),
]
CorrelationKeys = Annotated[
    dict[Annotated[Text, Field(min_length=1, max_length=255)], KeyValue], Field(min_length=1, max_length=20)
]


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
    business_key: Id | None = Field(
        None, description="The business key of what waits, which a message of Camunda's clients may name."
    )
    correlation_keys: CorrelationKeys | None = Field(
        None,
        description="What else such a message may name: texts, numbers, truth values and nulls by their names.",
        examples=[{"orderId": 7}],
    )
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
    business_key: Fixed = None
    correlation_keys: Fixed = None
    once: Fixed = None
    ordered: Fixed = None


class BacklogSchema(Schema):
    """The deliveries of a subscription that wait, and those that are leased."""

    parked: int = Field(description="The number of parked deliveries, whatever the reason.")
    leasable: int = Field(description="The number of deliveries that wait to be leased; 0 without a pull target.")
    leased: int = Field(description="The number of deliveries that are leased at this moment; 0 without a pull target.")
    oldest: Shown | None = Field(
        description="Since when the oldest of those that are parked, or wait to be leased, has been owed."
    )


class SubscriptionSchema(Schema):
    """A subscription."""

    id: int = Field(description="The id.")
    name: str = Field(description="A signal name, or a pattern: `*` one word, `#` any number of words.")
    target: TargetSchema | None = Field(
        description="Where it delivers, without credentials; null if it has several steps."
    )
    steps: list[StepSchema] | None = Field(
        description="The targets that it delivers to one after the other; null if it has one target."
    )
    execution_id: str | None = Field(description="The execution that waits for the signal; null: none.")
    tenant_id: str | None = Field(description="The tenant it belongs to; null: it is untenanted.")
    business_key: str | None = Field(description="By which a message may be correlated with it; null: none.")
    correlation_keys: dict[str, Any] | None = Field(description="The same, by names; null: none.")
    once: bool = Field(description="Whether the first signal that matches consumes it.")
    consumed_by: int | None = Field(description="The signal that consumed it, if it is `once`.")
    state: Literal["active", "paused", "disabled"] = Field(
        description="`paused`: signals wait; `disabled`: it gets none until it is resumed."
    )
    paused_at: Shown | None = Field(description="When it was paused; null if it is not.")
    disabled_because: str | None = Field(description="Why it gets no signals until it is resumed.")
    filter: dict[str, Any] | None = Field(description="Conditions on paths of the payload; null: none.")
    ordered: bool = Field(description="Whether signals with the same `orderingKey` are delivered one after the other.")
    head_of_line: HeadOfLineName | None = Field(
        description="What happens behind a dead delivery; null if it is not ordered."
    )
    retry: RetrySchema = Field(description="When to try again after an attempt that failed.")
    timeout_seconds: float | None = Field(
        description="The maximum duration of an attempt, in seconds; null: the default."
    )
    max_in_flight: int | None = Field(description="The maximum number of attempts in flight; null: no limit.")
    max_per_second: float | None = Field(description="The maximum number of attempts per second; null: no limit.")
    description: str | None = Field(description="A note for people.")
    created_at: Shown = Field(description="When it was created.")
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

    id: int = Field(description="The id.")
    public_key: str = Field(description="The public key.")
    created_at: Shown = Field(description="When it was created.")
    valid_until: Shown | None = Field(description="When it stops signing; null if it has not been replaced.")


class WebhookKeyList(Schema):
    """The keys that sign now, the newest first: every webhook signed as `v1a` has a signature of each."""

    items: list[WebhookKeySchema] = Field(description="The items of the page, in the order that was asked for.")


class SubscriptionPage(Schema):
    """A page of subscriptions; `next` is the `afterId` of the next page."""

    items: list[SubscriptionSchema] = Field(description="The items of the page, in the order that was asked for.")
    next: str | None = Field(description="`afterId` of the next page; null if there is none.")
