"""What the Unleash dialect reads and answers (facts: Unleash's OpenAPI of signal endpoints)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from gateway.documents import Document, Text


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
    created_by_user_id: int
    token: str | None = None


class EndpointDocument(Document):
    """A signal endpoint."""

    id: int
    name: str
    enabled: bool
    description: str | None
    created_at: datetime
    created_by_user_id: int
    url: str | None = None
    tokens: list[EndpointTokenDocument] | None = None


class Endpoints(Document):
    """Every signal endpoint."""

    signal_endpoints: list[EndpointDocument]


class EndpointTokens(Document):
    """Every token of a signal endpoint."""

    signal_endpoint_tokens: list[EndpointTokenDocument]


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
