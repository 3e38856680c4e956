"""Samples: targets of subscriptions that are tried with made signals."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from broker.schemas.deliveries import OutcomeName
from broker.schematypes import Schema


class SampleRequest(Schema):
    """What a subscription's target is tried with."""

    payload: Any = Field(default_factory=dict, description="The payload of the made signal: any JSON value.")


class SentSchema(Schema):
    """What was sent, as far as it was."""

    url: str | None = Field(description="The URL that was called; null for a queue or a handler.")
    headers: dict[str, str] = Field(description="The headers as they were sent; credentials in them are cut to `***`.")
    body: str = Field(description="The body, of which the first 65,536 characters are shown.")


class SampleAnswer(Schema):
    """What the attempt came to; of several steps, the last one that was made."""

    outcome: OutcomeName = Field(description="How the attempt ended.")
    status: int | None = Field(description="The HTTP status, where there was one.")
    duration_ms: float = Field(description="How long all steps took together.")
    response: str | None = Field(description="The first characters of the answer's body.")
    error: str | None = Field(description="What went wrong; null if nothing did.")
    request: SentSchema = Field(description="What was sent.")
    step: int | None = Field(description="The number of that step, from 1; null if there is one target.")
