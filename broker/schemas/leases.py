"""Leases: deliveries to pull targets, as callers take them and give them back."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from broker.schemas.signals import SignalSchema
from broker.schematypes import WHOLE, Id, Schema, Shown, Text

MOST_TOKENS = 1000
_LeaseSeconds = Annotated[float, Field(ge=1, le=43_200, allow_inf_nan=False)]
_Token = Annotated[Text, Field(min_length=1, max_length=255)]


class LeaseRequest(Schema):
    """How many deliveries to lease, and for how long to wait for the first of them."""

    max: Annotated[int, Field(ge=1, le=100), WHOLE] = Field(10, description="How many deliveries at most.")
    wait_seconds: Annotated[float, Field(ge=0, le=30, allow_inf_nan=False)] = Field(
        0, description="How long to wait if there is none."
    )
    lease_seconds: _LeaseSeconds | None = Field(
        None, description="How long the leases last; without it, the subscription's `timeoutSeconds`, or else 30 s."
    )
    worker: Id | None = Field(None, description="Who asks: a name for people, which the attempts show.")


class LeasedDelivery(Schema):
    """A delivery that was leased."""

    delivery_id: str = Field(description="The same at every attempt, so that repeats can be dropped by it.")
    lease_token: str = Field(description="What acknowledges, fails, returns or extends this lease while it lasts.")
    attempt: int = Field(description="The number of the attempt, from 1.")
    leased_until: Shown = Field(description="When the lease ends, unless it is extended.")
    traceparent: str | None = Field(description="The signal's trace (W3C Trace Context); null if it has none.")
    tracestate: str | None = Field(description="The W3C `tracestate` that belongs to it.")
    signal: SignalSchema = Field(description="The signal.")


class LeaseAnswer(Schema):
    """The deliveries that were leased, those of the oldest signals first; none if none came in time."""

    deliveries: list[LeasedDelivery] = Field(description="The deliveries.")


class LeasesRequest(Schema):
    """Which leases to end."""

    lease_tokens: Annotated[list[_Token], Field(min_length=1, max_length=MOST_TOKENS)] = Field(
        description="The tokens of the leases."
    )


class FailRequest(LeasesRequest):
    """Which attempts failed, how, and when to try again."""

    outcome: Literal["refused", "timed_out"] | None = Field(
        None,
        description="How they failed: `refused` is the default, and `timed_out` says that the work took too long. Not"
        " together with `retryAfterSeconds` (`throttled`) or `giveUp` (`given_up`).",
    )
    retry_after_seconds: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] | None = Field(
        None, description="The next attempt is made no earlier than after so many seconds, and by the schedule later."
    )
    give_up: bool = Field(default=False, description="No attempt follows: the deliveries are dead.")
    error: Annotated[Text, Field(max_length=2000)] | None = Field(
        None, description="What went wrong, for people; the attempts show it."
    )


class ExtensionRequest(LeasesRequest):
    """Which leases last longer."""

    lease_seconds: _LeaseSeconds = Field(description="How long they last from now on; that may be shorter, too.")


class LeaseResult(Schema):
    """What came of one lease token."""

    lease_token: str = Field(description="The token.")
    ok: bool = Field(description="Whether it was done.")
    error: str | None = Field(
        description="Why nothing was done; null if it was done, now or by the same request before."
    )


class LeaseResults(Schema):
    """What came of each lease token, in the order of the request."""

    results: list[LeaseResult] = Field(description="The results.")
