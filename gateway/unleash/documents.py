"""What the Unleash dialect reads and answers (facts: Unleash's OpenAPI of signal endpoints)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from gateway.documents import Document, Text

T = TypeVar("T")

Sometimes = Annotated[
    T | SkipJsonSchema[None],
    Field(exclude_if=lambda value: value is None, json_schema_extra=lambda schema: schema.pop("default", None)),
]
"""A member that is left out of the answers that it does not belong to; it is never null."""


class Lenient(Document):
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


class EndpointTokenDocument(Document):
    """A token of a signal endpoint; its value is in the answer to its creation only."""

    id: int
    name: str
    signal_endpoint_id: int
    created_at: datetime
    created_by_user_id: int = Field(description="0 if it was no user.")
    token: Sometimes[str] = None


class EndpointDocument(Document):
    """A signal endpoint; its URL is in the answers to its creation and to its changes only."""

    id: int
    name: str
    enabled: bool
    description: str | None
    created_at: datetime
    created_by_user_id: int = Field(description="0 if it was no user.")
    url: Sometimes[str] = None
    tokens: list[EndpointTokenDocument]


class Endpoints(Document):
    """Every signal endpoint."""

    signal_endpoints: list[EndpointDocument]


class EndpointTokens(Document):
    """Every token of a signal endpoint."""

    signal_endpoint_tokens: list[EndpointTokenDocument]


class EndpointSignalDocument(Document):
    """A signal that came in by an endpoint."""

    id: int
    source: Literal["signal-endpoint"]
    source_id: int
    created_at: datetime
    payload: dict[str, Any]
    token_name: str | None = Field(description="The name of the token it was called with; null once that is deleted.")


class EndpointSignals(Document):
    """A page of what came in by one endpoint, newest first."""

    signal_endpoint_signals: list[EndpointSignalDocument]


class FoundSignal(EndpointSignalDocument):
    """A signal that came in by an endpoint, with what that is called now; null once it is deleted."""

    source_name: str | None
    source_description: str | None


class FoundSignals(Document):
    """A page of what came in by all endpoints, newest first, and how many there are in all."""

    signals: list[FoundSignal]
    total: int


class CalledSignal(Document):
    """A signal as the call that threw it answers it."""

    id: int
    source: str
    source_id: int
    created_at: datetime
    created_by_source_token_id: int | None
    payload: dict[str, Any]


class CalledSignals(Document):
    """The signals that one call threw: one."""

    signals: list[CalledSignal]


class ErrorDetail(Document):
    """One thing that was wrong."""

    message: str
    path: str | None = None


class UnleashError(Document):
    """An error, as Unleash answers it."""

    id: str
    name: str
    message: str
    details: list[ErrorDetail]
