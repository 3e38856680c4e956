"""What the native API reads and answers, as pydantic models; the OpenAPI description is made of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not hold the character U+0000")
    return text


Text = Annotated[str, AfterValidator(_without_nul)]
"""What PostgreSQL can keep."""
Name = Annotated[str, Field(min_length=1, max_length=255, examples=["policy_conditions_changed"])]
Id = Annotated[str, Field(min_length=1, max_length=255)]
Password = Annotated[str, Field(min_length=8, max_length=1024, json_schema_extra={"format": "password"})]
Groups = Annotated[
    list[Id], Field(max_length=100, description="Limits to tenants do not apply to members of `camunda-admin`.")
]
Seconds = Annotated[float, Field(ge=0, le=604_800, allow_inf_nan=False)]


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
    state: Literal["accepted", "recorded"]


class SignalPage(Document):
    """A page of signals; `next` is the `afterId` of the next page."""

    items: list[SignalDocument]
    next: str | None


class WebhookTargetDocument(Document):
    """Deliver by HTTP POST, signed as Standard Webhooks say."""

    kind: Literal["webhook"]
    url: Annotated[str, Field(max_length=2048, examples=["https://example.com/hooks/signals"])]
    headers: dict[str, str] = Field(default_factory=dict)


class QueueTargetDocument(Document):
    """Deliver by publishing to a queue of the subscriber's."""

    kind: Literal["queue"]
    queue: Annotated[str, Field(min_length=1, max_length=255)]


class RetryDocument(Document):
    """When to try again: pauses in seconds (each shortened at random), one more attempt than pauses."""

    schedule: Annotated[list[Seconds], Field(max_length=50)] | None = None
    max_attempts: Annotated[int, Field(ge=1, le=51)] | None = None


class SubscriptionRequest(Document):
    """A standing request for signals."""

    name: Annotated[Name, Field(description="A signal name, or a pattern: `*` one word, `#` any number of words.")]
    target: Annotated[WebhookTargetDocument | QueueTargetDocument, Field(discriminator="kind")]
    execution_id: Id | None = None
    tenant_id: Id | None = None
    once: bool = Field(default=False, description="The first signal that matches consumes the subscription.")
    retry: RetryDocument | None = None
    timeout_seconds: Annotated[float, Field(gt=0, le=300)] | None = None
    description: Annotated[Text, Field(max_length=1000)] | None = None


class SubscriptionDocument(Document):
    """A subscription."""

    id: int
    name: str
    target: Annotated[WebhookTargetDocument | QueueTargetDocument, Field(discriminator="kind")]
    execution_id: str | None
    tenant_id: str | None
    once: bool
    consumed_by: int | None = Field(description="The signal that consumed it, if it is `once`.")
    retry: RetryDocument
    timeout_seconds: float | None
    description: str | None
    created_at: datetime
    secret: str | None = Field(None, description="The signing secret (`whsec_...`); in this one answer only.")


class SubscriptionPage(Document):
    """A page of subscriptions; `next` is the `afterId` of the next page."""

    items: list[SubscriptionDocument]
    next: str | None


class AttemptDocument(Document):
    """One try at a delivery."""

    number: int
    started_at: datetime
    duration: float = Field(description="Seconds.")
    outcome: str
    status: int | None
    error: str | None
    response: str | None = Field(description="The first characters of the answer's body.")


class DeliveryDocument(Document):
    """One signal owed to one subscription."""

    id: str
    signal_id: int
    subscription_id: int
    state: Literal["pending", "parked", "delivered", "dead", "cancelled"]
    attempts: int | list[AttemptDocument]
    due_at: datetime | None
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
