"""What the Unleash dialect reads and answers (facts: Unleash's OpenAPI of signal endpoints)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from gateway.schemas import Schema, Text

T = TypeVar("T")

Sometimes = Annotated[
    T | SkipJsonSchema[None],
    Field(exclude_if=lambda value: value is None, json_schema_extra=lambda schema: schema.pop("default", None)),
]
"""A member that is left out of the answers that it does not belong to; it is never null."""


class Lenient(Schema):
    """A request document that, as in the original, may hold further members."""

    model_config = ConfigDict(extra="ignore")


class EndpointRequest(Lenient):
    """A signal endpoint to create or replace."""

    name: str
    enabled: bool = True
    description: Annotated[Text, Field(max_length=1000)] | None = None


class EndpointTokenRequest(Lenient):
    """A token to create or rename."""

    name: Annotated[Text, Field(min_length=1, max_length=255)]


class EndpointTokenSchema(Schema):
    """A token of a signal endpoint; its value is in the answer to its creation only."""

    id: int
    name: str
    signal_endpoint_id: int
    created_at: datetime
    created_by_user_id: int = Field(description="0 if it was no user.")
    token: Sometimes[str] = None


class EndpointSchema(Schema):
    """A signal endpoint; its URL is in the answers to its creation and to its changes only."""

    id: int
    name: str
    enabled: bool
    description: str | None
    created_at: datetime
    created_by_user_id: int = Field(description="0 if it was no user.")
    url: Sometimes[str] = None
    tokens: list[EndpointTokenSchema]


class Endpoints(Schema):
    """Every signal endpoint."""

    signal_endpoints: list[EndpointSchema]


class EndpointTokens(Schema):
    """Every token of a signal endpoint."""

    signal_endpoint_tokens: list[EndpointTokenSchema]


class EndpointSignalSchema(Schema):
    """A signal that came in by an endpoint."""

    id: int
    source: Literal["signal-endpoint"]
    source_id: int
    created_at: datetime
    payload: dict[str, Any]
    token_name: str | None = Field(description="The name of the token it was called with; null once that is deleted.")


class EndpointSignals(Schema):
    """A page of what came in by one endpoint, newest first."""

    signal_endpoint_signals: list[EndpointSignalSchema]


class FoundSignal(EndpointSignalSchema):
    """A signal that came in by an endpoint, with what that is called now; null once it is deleted."""

    source_name: str | None
    source_description: str | None


class FoundSignals(Schema):
    """A page of what came in by all endpoints, newest first, and how many there are in all."""

    signals: list[FoundSignal]
    total: int


class CalledSignal(Schema):
    """A signal as the call that threw it answers it."""

    id: int
    source: str
    source_id: int
    created_at: datetime
    created_by_source_token_id: int | None
    payload: dict[str, Any]


class CalledSignals(Schema):
    """The signals that one call threw: one."""

    signals: list[CalledSignal]


class ErrorDetail(Schema):
    """One thing that was wrong."""

    message: str
    path: str | None = None


class UnleashError(Schema):
    """An error, as Unleash answers it."""

    id: str
    name: str
    message: str
    details: list[ErrorDetail]
