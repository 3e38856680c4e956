"""Tokens and users, and the audit events about changes to them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from broker.schemas.rules import all_of, one_of
from broker.schematypes import LINE, WHOLE, Id, Moment, Name, Schema, Shown, Text

Password = Annotated[
    str, Field(min_length=8, max_length=1024, json_schema_extra={"format": "password", "pattern": LINE})
]
Groups = Annotated[
    list[Id], Field(max_length=100, description="Limits to tenants do not apply to members of `camunda-admin`.")
]
PermissionName = Literal[
    "signals:throw",
    "signals:read",
    "subscriptions:manage",
    "deliveries:manage",
    "endpoints:manage",
    "admin",
]


class LimitsSchema(Schema):
    """The limits of a principal; null is no limit."""

    names: Annotated[list[Name], Field(max_length=100)] | None = Field(
        None, description="Only signals whose name matches one of these patterns.", examples=[["policy.#"]]
    )
    tenants: Annotated[list[Id], Field(max_length=100)] | None = Field(
        None, description="Only these tenants, and what is for everybody."
    )
    queues: Annotated[list[Name], Field(max_length=100)] | None = Field(
        None,
        description="Only queue targets that match one of these patterns. Without it, a principal that is limited to"
        " tenants may name queues that begin with the id of one of them, and any other principal all queues.",
        examples=[["acme.#"]],
    )
    untenanted: bool = Field(
        default=False,
        description="Whether a principal that is limited to tenants also sees what belongs to no tenant, and may"
        " subscribe without a tenant.",
    )


class TokenRequest(LimitsSchema):
    """A new API token."""

    name: Id
    permissions: Annotated[list[PermissionName], Field(min_length=1)]
    expires_at: Moment | None = Field(
        None, description="From when on it opens nothing. A token that expires makes no credentials that outlast it."
    )


class TokenRotation(Schema):
    """How to replace the value of a token."""

    overlap_seconds: Annotated[int, Field(ge=0, le=604_800), WHOLE] = Field(
        default=86_400,
        description="How long the previous value stays good beside the new one; 0 ends all previous ones at once.",
    )


class TokenSchema(Schema):
    """An API token. Only the answers to its creation and its rotation show its value."""

    id: int
    name: str
    permissions: list[str]
    names: list[str] | None
    tenants: list[str] | None
    queues: list[str] | None
    untenanted: bool
    created_at: Shown
    created_by: str
    expires_at: Shown | None
    expired: bool = Field(description="Whether it has expired. It stays in the list until it is revoked.")
    last_used_at: Shown | None = Field(description="When it was last used, to about a minute; null: never.")
    token: str | None = None


class TokenPage(Schema):
    """A page of API tokens; `next` is the `afterId` of the next page."""

    items: list[TokenSchema]
    next: str | None


class UserRequest(LimitsSchema):
    """A new user, who signs in with HTTP Basic."""

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=255,
            examples=["demo"],
            json_schema_extra={"pattern": "^[^\\x00-\\x1f\\x7f:]*$"},
        ),
    ]
    password: Password
    permissions: list[PermissionName] = Field([])
    groups: Groups = Field([])


class UserChanges(LimitsSchema):
    """Changes of a user; a member that is left out stays as it is."""

    password: Password = Field(default_factory=str)
    permissions: list[PermissionName] = Field(default_factory=list)
    groups: Groups = Field(default_factory=list)


class UserSchema(Schema):
    """A user. Passwords and their hashes are never shown."""

    id: int
    name: str
    permissions: list[str]
    names: list[str] | None
    tenants: list[str] | None
    queues: list[str] | None
    untenanted: bool
    groups: list[str]
    created_at: Shown
    created_by: str


class UserPage(Schema):
    """A page of users; `next` is the `afterId` of the next page."""

    items: list[UserSchema]
    next: str | None


class SessionRequest(Schema):
    """What somebody signs in with: an API token or one of the issuer, or a user's name and password."""

    model_config = ConfigDict(json_schema_extra=all_of(one_of("token", "user"), one_of("token", "password")))

    token: Annotated[Text, Field(min_length=1, max_length=8000, json_schema_extra={"format": "password"})] | None = None
    user: Annotated[Text, Field(min_length=1, max_length=255)] | None = None
    password: Annotated[Text, Field(min_length=1, max_length=1024, json_schema_extra={"format": "password"})] | None = (
        None
    )


class SessionSchema(Schema):
    """A session: who has signed in, and what that principal may do."""

    principal: str
    permissions: list[str]
    names: list[str] | None
    tenants: list[str] | None
    untenanted: bool
    expires_at: Shown = Field(description="When it ends, unless somebody signs out or its credential ends before.")
    csrf_token: str = Field(description="Requests that may change something need it in the header `X-CSRF-Token`.")


class AuditSchema(Schema):
    """A change of signal endpoints, tokens, users, subscriptions or deliveries, and who made it."""

    id: int
    type: str
    subject_id: int = Field(description="The id of the changed object.")
    principal: str = Field(description="The name of the principal that made the change.")
    user_id: int | None
    token_id: int | None
    before: dict[str, Any] | None = Field(
        description="The object before the change, without secrets; null if it was created."
    )
    after: dict[str, Any] | None = Field(
        description="The object after the change, without secrets; null if it was deleted."
    )
    created_at: Shown


class AuditPage(Schema):
    """A page of audit events; `next` is the `afterId` of the next page."""

    items: list[AuditSchema]
    next: str | None
