"""What the Unleash dialect reads and answers (facts: Unleash's OpenAPI of signal endpoints)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, RootModel

from broker.schemas.endpoints import EndpointSchema, EndpointTokenSchema
from broker.schematypes import Schema, Shown


class EndpointPayload(RootModel[dict[str, Any]]):
    """The payload of the signal: any JSON object. A form is read, too; a body of another content type is ignored."""


class Endpoints(Schema):
    """Every signal endpoint."""

    signal_endpoints: list[EndpointSchema]


class EndpointTokens(Schema):
    """Every token of a signal endpoint."""

    signal_endpoint_tokens: list[EndpointTokenSchema]


class EndpointSignalSchema(Schema):
    """A signal that came in through an endpoint."""

    id: int
    source: Literal["signal-endpoint"]
    source_id: int
    created_at: Shown
    payload: dict[str, Any]
    token_name: str | None = Field(description="The name of the caller's token; null once it is deleted.")


class EndpointSignals(Schema):
    """A page of the signals of one endpoint, newest first."""

    signal_endpoint_signals: list[EndpointSignalSchema]


class FoundSignal(EndpointSignalSchema):
    """A signal that came in through an endpoint, with the endpoint's present name; null once it is deleted."""

    source_name: str | None
    source_description: str | None


class FoundSignals(Schema):
    """A page of the signals of all endpoints, newest first, and their total number."""

    signals: list[FoundSignal]
    total: int


class CalledSignal(Schema):
    """The signal that a call threw."""

    id: int
    source: str
    source_id: int
    created_at: Shown
    created_by_source_token_id: int | None
    payload: dict[str, Any]


class CalledSignals(Schema):
    """The signal that a call threw, in a list of one."""

    signals: list[CalledSignal]


class ErrorDetail(Schema):
    """One error of the request."""

    message: str
    path: str | None = None


class UnleashError(Schema):
    """An error, as Unleash answers it."""

    id: str
    name: str
    message: str
    details: list[ErrorDetail]
