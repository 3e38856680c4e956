"""Signal endpoints and their tokens, as Unleash's API has them."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from broker.schematypes import Moment, Schema, Shown, Text

T = TypeVar("T")

Sometimes = Annotated[
    T | SkipJsonSchema[None],
    Field(exclude_if=lambda value: value is None, json_schema_extra=lambda schema: schema.pop("default", None)),
]
"""A member that is left out of an answer rather than null."""


class Lenient(Schema):
    """A request that may have further members, as in the original."""

    model_config = ConfigDict(extra="ignore")


class EndpointRequest(Lenient):
    """A signal endpoint to create or replace."""

    name: Annotated[
        str,
        Field(json_schema_extra={"minLength": 1, "maxLength": 100, "pattern": "^[a-z0-9_-]*$"}, examples=["alerts"]),
    ] = Field(description="The last part of the URL that callers use.")
    enabled: bool = Field(default=True, description="Whether it takes calls.")
    description: Annotated[Text, Field(max_length=1000)] | None = Field(None, description="A note for people.")


class EndpointTokenRequest(Lenient):
    """A token to rename."""

    name: Annotated[Text, Field(min_length=1, max_length=255)] = Field(
        description="A name for people; two tokens of an endpoint have different ones."
    )


class NewEndpointToken(EndpointTokenRequest):
    """A token to create."""

    expires_at: Moment | None = Field(None, description="From when on it opens nothing.")


class EndpointTokenSchema(Schema):
    """A token of a signal endpoint. Only the answers to its creation and its rotation show its value."""

    id: int = Field(description="The id.")
    name: str = Field(description="Its name.")
    signal_endpoint_id: int = Field(description="The id of its signal endpoint.")
    created_at: Shown = Field(description="When it was created.")
    created_by_user_id: int = Field(description="0 if it was not created by a user.")
    expires_at: Sometimes[Shown] = Field(None, description="From when on it opens nothing; left out: never.")
    last_used_at: Sometimes[Shown] = Field(None, description="When it was last used; left out: never.")
    token: Sometimes[str] = Field(None, description="Its value (`signal_...`).")


class EndpointSchema(Schema):
    """A signal endpoint. Only the answers to its creation and to its changes show its URL."""

    id: int = Field(description="The id.")
    name: str = Field(description="The last part of its URL.")
    enabled: bool = Field(description="Whether it takes calls.")
    description: str | None = Field(description="A note for people.")
    created_at: Shown = Field(description="When it was created.")
    created_by_user_id: int = Field(description="0 if it was not created by a user.")
    url: Sometimes[str] = Field(None, description="The URL that callers use.")
    tokens: list[EndpointTokenSchema] = Field(description="Its tokens.")
