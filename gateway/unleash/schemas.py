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

    signal_endpoints: list[EndpointSchema] = Field(description="The signal endpoints.")


class EndpointTokens(Schema):
    """Every token of a signal endpoint."""

    signal_endpoint_tokens: list[EndpointTokenSchema] = Field(description="The tokens.")


class EndpointSignalSchema(Schema):
    """A signal that came in through an endpoint."""

    id: int = Field(description="The id.")
    source: Literal["signal-endpoint"] = Field(description="Always the same: it came in through a signal endpoint.")
    source_id: int = Field(description="The id of the signal endpoint.")
    created_at: Shown = Field(description="When it was accepted.")
    payload: dict[str, Any] = Field(description="The payload.")
    token_name: str | None = Field(description="The name of the caller's token; null once it is deleted.")


class EndpointSignals(Schema):
    """A page of the signals of one endpoint, newest first."""

    signal_endpoint_signals: list[EndpointSignalSchema] = Field(description="The signals.")


class FoundSignal(EndpointSignalSchema):
    """A signal that came in through an endpoint, with the endpoint's present name; null once it is deleted."""

    source_name: str | None = Field(description="The endpoint's name; null once it is deleted.")
    source_description: str | None = Field(
        description="The endpoint's description; null if it has none, and once it is deleted."
    )


class FoundSignals(Schema):
    """A page of the signals of all endpoints, newest first, and their total number."""

    signals: list[FoundSignal] = Field(description="The signals of the page.")
    total: int = Field(description="The number of all signals that were asked for.")


class CalledSignal(Schema):
    """The signal that a call threw."""

    id: int = Field(description="The id.")
    source: str = Field(description="Always `signal-endpoint`.")
    source_id: int = Field(description="The id of the signal endpoint.")
    created_at: Shown = Field(description="When it was accepted.")
    created_by_source_token_id: int | None = Field(description="The id of the token that was used.")
    payload: dict[str, Any] = Field(description="The payload.")


class CalledSignals(Schema):
    """The signal that a call threw, in a list of one."""

    signals: list[CalledSignal] = Field(description="The signal.")


class ErrorDetail(Schema):
    """One error of the request."""

    message: str = Field(description="What is wrong, and what is allowed.")
    path: str | None = Field(None, description="The field that is wrong; left out if the error is about none.")


class UnleashError(Schema):
    """An error, as Unleash answers it."""

    id: str = Field(description="An id of this answer.")
    name: str = Field(description="The kind of error.")
    message: str = Field(description="What is wrong, and what is allowed.")
    details: list[ErrorDetail] = Field(description="Every error of the request.")


class HealthCheck(Schema):
    """The server is well."""

    health: Literal["GOOD"] = Field(description="Always `GOOD`: nothing else is answered.")
