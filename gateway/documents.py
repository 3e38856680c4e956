"""What the native API reads and answers, as pydantic models; the OpenAPI description is made of them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SkipValidation
from pydantic.alias_generators import to_camel


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not hold the character U+0000")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must not hold half of a surrogate pair") from None
    return text


_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE)


def _read_moment(value: object) -> datetime:
    try:
        if isinstance(value, str) and _MOMENT.fullmatch(value):
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("must be a date and time with its offset (RFC 3339), like 2026-11-22T10:00:00Z")


Moment = Annotated[datetime, BeforeValidator(_read_moment)]
Text = Annotated[str, AfterValidator(_storable)]
"""What PostgreSQL can keep."""
Name = Annotated[str, Field(min_length=1, max_length=255, examples=["policy_conditions_changed"])]
Id = Annotated[str, Field(min_length=1, max_length=255)]
Password = Annotated[str, Field(min_length=8, max_length=1024, json_schema_extra={"format": "password"})]
Groups = Annotated[
    list[Id], Field(max_length=100, description="Limits to tenants do not apply to members of `camunda-admin`.")
]
Seconds = Annotated[float, Field(ge=0, le=604_800, allow_inf_nan=False)]
MaxInFlight = Annotated[int, Field(ge=1, le=10_000, description="Most attempts at a time, over all deliverers.")]
MaxPerSecond = Annotated[
    float, Field(ge=0.001, le=100_000, allow_inf_nan=False, description="Most attempts a second, over all deliverers.")
]


class Document(BaseModel):
    """Members in camelCase; unknown ones are refused, so that a typing error is not a silent default."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", strict=True)


class TypedVariable(Document):
    """A variable as Camunda 7 writes it."""

    value: Any = None
    type: str | None = None
    value_info: dict[str, Any] | None = None


class SignalRequest(Document):
    """A throw: a named fact for everybody, one tenant, those without a tenant, or one execution."""

    name: Name
    payload: Any = Field(None, description="Any JSON. Carried untouched.", examples=[{"policy": 42}])
    variables: dict[str, TypedVariable] | None = Field(None, description="Instead of `payload`: typed variables.")
    execution_id: Id | None = None
    tenant_id: Id | None = None
    without_tenant_id: bool = False
    business_key: Annotated[Text, Field(max_length=255)] | None = None
    ordering_key: Id | None = Field(
        None, description="Which order, customer or door it is about. Recorded and carried along."
    )
    deliver_at: Moment | None = Field(None, description="Nobody gets it before; a moment that is past means at once.")
    expires_at: Moment | None = Field(None, description="Nobody gets it after; what is still owed then is cancelled.")


class BatchItem(SignalRequest):
    """A throw of several."""

    idempotency_key: Annotated[str, Field(min_length=1, max_length=255, pattern="^[ -~]*$")] | None = Field(
        None, description="As the header `Idempotency-Key`, for this one."
    )


class BatchRequest(Document):
    """Several throws; each is looked at on its own."""

    signals: Annotated[list[SkipValidation[BatchItem]], Field(min_length=1, max_length=1000)]


class SignalDocument(Document):
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


class SignalPage(Document):
    """A page of signals; `next` is the `afterId` of the next page."""

    items: list[SignalDocument]
    next: str | None


SchemeName = Literal["v1", "v1a"]
MethodName = Literal["POST", "PUT", "PATCH", "DELETE"]


class WebhookTargetDocument(Document):
    """Deliver by an HTTP request, signed as Standard Webhooks say."""

    kind: Literal["webhook"]
    url: Annotated[
        str,
        Field(
            max_length=2048,
            description="After the host, `{{payload.path}}` and the like become values of the signal.",
            examples=["https://example.com/hooks/signals"],
        ),
    ]
    method: MethodName = "POST"
    headers: dict[str, str] = Field(
        default_factory=dict,
        description="Values may be templates, too. `***` is shown instead of those that may be credentials.",
    )
    body_template: Text | None = Field(
        None,
        description="Mustache: what the body is made from instead of the signal; empty sends none.",
        examples=['{"text": "{{name}}: {{payload.summary}}"}'],
    )
    signatures: Annotated[list[SchemeName], Field(min_length=1, max_length=2)] = Field(
        default=["v1"],
        description="How to sign: `v1` with the subscription's secret, `v1a` with a key of `GET /v1/webhook-keys`.",
    )


class QueueTargetDocument(Document):
    """Deliver by publishing to a queue of the subscriber's."""

    kind: Literal["queue"]
    queue: Annotated[str, Field(min_length=1, max_length=255)]


class HandlerTargetDocument(Document):
    """Deliver by calling a Python function. In answers only: the worker that runs it makes the subscription."""

    kind: Literal["handler"]
    app: str
    handler: str


TargetDocument = Annotated[
    WebhookTargetDocument | QueueTargetDocument | HandlerTargetDocument, Field(discriminator="kind")
]


class StepDocument(Document):
    """One of several targets that are delivered to in order."""

    target: TargetDocument
    description: Annotated[Text, Field(max_length=1000)] | None = None


class RetryDocument(Document):
    """When to try again: pauses in seconds (each shortened at random), one more attempt than pauses."""

    schedule: Annotated[list[Seconds], Field(max_length=50)] | None = None
    max_attempts: Annotated[int, Field(ge=1, le=51)] | None = None


class SubscriptionRequest(Document):
    """A standing request for signals."""

    name: Annotated[Name, Field(description="A signal name, or a pattern: `*` one word, `#` any number of words.")]
    target: TargetDocument | None = None
    steps: Annotated[list[StepDocument], Field(min_length=1, max_length=10)] | None = Field(
        None, description="Instead of `target`: several, the next one after the one before succeeded."
    )
    execution_id: Id | None = None
    tenant_id: Id | None = None
    once: bool = Field(default=False, description="The first signal that matches consumes the subscription.")
    filter: dict[str, Any] | None = Field(
        None,
        description="What the payload must hold: paths and conditions, all of which must be met.",
        examples=[{"cpu": {"operator": "NUM_GT", "value": "90"}}],
    )
    retry: RetryDocument | None = None
    timeout_seconds: Annotated[float, Field(gt=0, le=300)] | None = Field(
        None, description="How long an attempt may take, or each of its steps."
    )
    max_in_flight: MaxInFlight | None = None
    max_per_second: MaxPerSecond | None = None
    description: Annotated[Text, Field(max_length=1000)] | None = None


class BacklogDocument(Document):
    """What a subscription is owed and does not get now."""

    parked: int = Field(description="Deliveries that wait, for whatever reason.")
    oldest: datetime | None = Field(description="Since when the oldest of them is owed.")


class SubscriptionDocument(Document):
    """A subscription."""

    id: int
    name: str
    target: TargetDocument | None
    steps: list[StepDocument] | None
    execution_id: str | None
    tenant_id: str | None
    once: bool
    consumed_by: int | None = Field(description="The signal that consumed it, if it is `once`.")
    state: Literal["active", "paused", "disabled"]
    paused_at: datetime | None
    disabled_because: str | None = Field(description="Why it gets no signals any more, until it is resumed.")
    filter: dict[str, Any] | None
    retry: RetryDocument
    timeout_seconds: float | None
    max_in_flight: int | None
    max_per_second: float | None
    description: str | None
    created_at: datetime
    secret: str | None = Field(None, description="The signing secret (`whsec_...`); in the answer that made it only.")
    backlog: BacklogDocument | None = Field(None, description="In answers about one subscription only.")
    circuit: Literal["closed", "open", "half_open"] | None = Field(
        None,
        description="Whether its target seems to be down (`open`), or is being tried again (`half_open`);"
        " in answers about one subscription only.",
    )


class ResumptionRequest(Document):
    """How fast what was held during a pause goes on."""

    per_second: MaxPerSecond | None = Field(
        None,
        description="Deliveries a second. Without it: ten in the first second, and ten more in every further one.",
    )


class RotationRequest(Document):
    """How to replace what signs webhooks."""

    grace_seconds: Annotated[int, Field(ge=0, le=604_800)] = Field(
        default=86_400, description="How long what signed before goes on signing beside the new one."
    )


class WebhookKeyDocument(Document):
    """A key that webhooks are signed with as `v1a`: Ed25519, 32 bytes in base64 after `whpk_`."""

    id: int
    public_key: str
    created_at: datetime
    valid_until: datetime | None = Field(description="When it stops signing; null: not before it is rotated.")


class WebhookKeyList(Document):
    """The keys that sign now, the newest first: every webhook signed as `v1a` has a signature of each."""

    items: list[WebhookKeyDocument]


class SubscriptionPage(Document):
    """A page of subscriptions; `next` is the `afterId` of the next page."""

    items: list[SubscriptionDocument]
    next: str | None


class StepOutcomeDocument(Document):
    """How a step ended that an attempt made."""

    step: int = Field(description="Which one, from 1.")
    duration: float = Field(description="Seconds.")
    outcome: str
    status: int | None
    error: str | None
    response: str | None = Field(description="The first characters of the answer's body.")


class AttemptDocument(Document):
    """One try at a delivery."""

    number: int
    started_at: datetime
    duration: float = Field(description="Seconds.")
    outcome: str
    status: int | None
    error: str | None
    response: str | None = Field(description="The first characters of the answer's body.")
    steps: list[StepOutcomeDocument] | None = Field(description="Of several; the last one's outcome is the attempt's.")


class DeliveryDocument(Document):
    """One signal owed to one subscription."""

    id: str
    signal_id: int
    subscription_id: int
    state: Literal["pending", "parked", "delivered", "dead", "cancelled"]
    attempts: int | list[AttemptDocument]
    due_at: datetime | None = Field(description="When it goes on; null while it is held: paused, or at `maxInFlight`.")
    reason: str | None = Field(
        description="Why it is parked (`retry`, `paused`, `in_flight`, `rate`, `circuit`, ...), dead or cancelled."
    )
    created_at: datetime
    finished_at: datetime | None


class DeliveryPage(Document):
    """A page of deliveries; `next` is the `afterId` of the next page."""

    items: list[DeliveryDocument]
    next: str | None


PermissionName = Literal[
    "signals:throw",
    "signals:read",
    "subscriptions:manage",
    "deliveries:manage",
    "endpoints:manage",
    "admin",
]


class Limits(Document):
    """What a principal is limited to; null is no limit."""

    names: Annotated[list[Name], Field(max_length=100)] | None = Field(
        None, description="Patterns of signal names.", examples=[["policy.#"]]
    )
    tenants: Annotated[list[Id], Field(max_length=100)] | None = Field(
        None, description="Tenants, besides which the untenanted are always included."
    )


class TokenRequest(Limits):
    """A new API token."""

    name: Annotated[str, Field(min_length=1, max_length=255)]
    permissions: Annotated[list[PermissionName], Field(min_length=1)]


class TokenDocument(Document):
    """An API token; its value is in the answer to its creation only."""

    id: int
    name: str
    permissions: list[str]
    names: list[str] | None
    tenants: list[str] | None
    created_at: datetime
    created_by: str
    token: str | None = None


class TokenPage(Document):
    """A page of API tokens; `next` is the `afterId` of the next page."""

    items: list[TokenDocument]
    next: str | None


class UserRequest(Limits):
    """A new user, who signs in with HTTP Basic."""

    name: Annotated[str, Field(min_length=1, max_length=255, pattern="^[^:]*$", examples=["demo"])]
    password: Password
    permissions: list[PermissionName] = []
    groups: Groups = []


class UserChanges(Limits):
    """What changes of a user; what is not mentioned stays."""

    password: Password = Field(default_factory=str)
    permissions: list[PermissionName] = Field(default_factory=list)
    groups: Groups = Field(default_factory=list)


class UserDocument(Document):
    """A user; nobody is ever told a password, nor what is kept of it."""

    id: int
    name: str
    permissions: list[str]
    names: list[str] | None
    tenants: list[str] | None
    groups: list[str]
    created_at: datetime
    created_by: str


class UserPage(Document):
    """A page of users; `next` is the `afterId` of the next page."""

    items: list[UserDocument]
    next: str | None


class AuditDocument(Document):
    """A change of signal endpoints, tokens or users: who made it, and what it changed."""

    id: int
    type: str
    subject_id: int = Field(description="The id of what was changed.")
    principal: str = Field(description="The name of whoever changed it.")
    user_id: int | None
    token_id: int | None
    before: dict[str, Any] | None = Field(description="Without secrets; null if it was created.")
    after: dict[str, Any] | None = Field(description="Without secrets; null if it was deleted.")
    created_at: datetime


class AuditPage(Document):
    """A page of audit events; `next` is the `afterId` of the next page."""

    items: list[AuditDocument]
    next: str | None


class States(Document):
    """Deliveries by state."""

    pending: int
    parked: int
    delivered: int
    dead: int
    cancelled: int


class LedgerDocument(Document):
    """The books: matched = the sum of the states, or `unaccounted` says by how much not."""

    recorded: int
    awaiting_record: int
    matched: int
    deliveries: States
    unaccounted: int


class FieldProblem(Document):
    """One field that was wrong."""

    pointer: str
    detail: str


class Problem(Document):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] | None = None


class BatchResult(Document):
    """What became of one throw of a batch: its id, or the problem."""

    status: int = Field(description="The HTTP status that it would have been answered with on its own.")
    id: int | None = None
    problem: Problem | None = None


class BatchDocument(Document):
    """What became of the throws of a batch, in their order."""

    results: list[BatchResult]


class Explanation(Document):
    """Whether a signal is for a subscription."""

    subscription_id: int
    matches: bool
    because: str


class ExplanationPage(Document):
    """A page of subscriptions, each with whether it matches; `next` is the `afterId` of the next page."""

    matches: list[Explanation]
    next: str | None
