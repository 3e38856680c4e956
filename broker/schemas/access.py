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

    name: Id = Field(description="A name for people, which the audit events show.")
    permissions: Annotated[list[PermissionName], Field(min_length=1)] = Field(
        description="What the token may do: nothing that its creator may not."
    )
    expires_at: Moment | None = Field(
        None, description="From when on it opens nothing. A token that expires makes no credentials that outlast it."
    )


class TokenRotation(Schema):
    """How to replace the value of a token."""

    overlap_seconds: Annotated[int, Field(ge=0, le=604_800), WHOLE] = Field(
        default=86_400,
        description="How long the previous value stays good beside the new one; 0 ends all previous ones at once.",
    )


class PrincipalSchema(Schema):
    """What is shown of every kind of principal that is in the store."""

    id: int = Field(description="The id.")
    name: str = Field(description="The name.")
    permissions: list[str] = Field(description="What the principal may do.")
    names: list[str] | None = Field(description="Only signals whose name matches one of these patterns; null: all.")
    tenants: list[str] | None = Field(
        description="Only these tenants; null: all of them, and what belongs to no tenant."
    )
    queues: list[str] | None = Field(
        description="Only queue targets that match one of these patterns; null: see the request."
    )
    untenanted: bool = Field(
        description="Whether a principal that is limited to tenants also sees what belongs to no tenant."
    )
    created_at: Shown = Field(description="When it was created.")
    created_by: str = Field(description="The principal that created it.")


class TokenSchema(PrincipalSchema):
    """An API token. Only the answers to its creation and its rotation show its value."""

    expires_at: Shown | None = Field(description="From when on it opens nothing; null: never.")
    expired: bool = Field(description="Whether it has expired. It stays in the list until it is revoked.")
    last_used_at: Shown | None = Field(description="When it was last used, to about a minute; null: never.")
    token: str | None = Field(None, description="Its value (`sb_...`); null in all other answers.")


class TokenPage(Schema):
    """A page of API tokens; `next` is the `afterId` of the next page."""

    items: list[TokenSchema] = Field(description="The items of the page, in the order that was asked for.")
    next: str | None = Field(description="`afterId` of the next page; null if there is none.")


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
    ] = Field(description="The name to sign in with.")
    password: Password = Field(description="The password, of which only a hash is stored.")
    permissions: list[PermissionName] = Field([], description="What the user may do: nothing that its creator may not.")
    groups: Groups = Field([])


class UserChanges(LimitsSchema):
    """Changes of a user; a member that is left out stays as it is."""

    password: Password = Field(default_factory=str, description="The new password.")
    permissions: list[PermissionName] = Field(default_factory=list, description="What the user may do from now on.")
    groups: Groups = Field(default_factory=list)


class UserSchema(PrincipalSchema):
    """A user, who signs in with the name. Passwords and their hashes are never shown."""

    groups: list[str] = Field(description="The user's groups.")


class UserPage(Schema):
    """A page of users; `next` is the `afterId` of the next page."""

    items: list[UserSchema] = Field(description="The items of the page, in the order that was asked for.")
    next: str | None = Field(description="`afterId` of the next page; null if there is none.")


class SessionRequest(Schema):
    """What somebody signs in with: an API token or one of the issuer, or a user's name and password."""

    model_config = ConfigDict(json_schema_extra=all_of(one_of("token", "user"), one_of("token", "password")))

    token: Annotated[Text, Field(min_length=1, max_length=8000, json_schema_extra={"format": "password"})] | None = (
        Field(None, description="An API token, or one of the issuer. Without it, `user` and `password` are needed.")
    )
    user: Annotated[Text, Field(min_length=1, max_length=255)] | None = Field(None, description="The user's name.")
    password: Annotated[Text, Field(min_length=1, max_length=1024, json_schema_extra={"format": "password"})] | None = (
        Field(None, description="The user's password.")
    )


class SessionSchema(Schema):
    """A session: who has signed in, and what that principal may do."""

    principal: str = Field(description="The name of who has signed in.")
    permissions: list[str] = Field(description="What the principal may do.")
    names: list[str] | None = Field(description="Only signals whose name matches one of these patterns; null: all.")
    tenants: list[str] | None = Field(
        description="Only these tenants; null: all of them, and what belongs to no tenant."
    )
    untenanted: bool = Field(
        description="Whether a principal that is limited to tenants also sees what belongs to no tenant."
    )
    expires_at: Shown = Field(description="When it ends, unless somebody signs out or its credential ends before.")
    csrf_token: str = Field(description="Requests that may change something need it in the header `X-CSRF-Token`.")


class AuditSchema(Schema):
    """A change of signal endpoints, tokens, users, subscriptions or deliveries, and who made it."""

    id: int = Field(description="The id.")
    type: str = Field(description="What happened.")
    subject_id: int = Field(description="The id of the changed object.")
    principal: str = Field(description="The name of the principal that made the change.")
    user_id: int | None = Field(description="The id of the user that made the change; null if it was none.")
    token_id: int | None = Field(description="The id of the token that made the change; null if it was none.")
    before: dict[str, Any] | None = Field(
        description="The object before the change, without secrets; null if it was created."
    )
    after: dict[str, Any] | None = Field(
        description="The object after the change, without secrets; null if it was deleted."
    )
    created_at: Shown = Field(description="When the change was made.")


class AuditPage(Schema):
    """A page of audit events; `next` is the `afterId` of the next page."""

    items: list[AuditSchema] = Field(description="The items of the page, in the order that was asked for.")
    next: str | None = Field(description="`afterId` of the next page; null if there is none.")
