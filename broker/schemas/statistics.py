"""Statistics."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from broker.schematypes import Schema, Shown


class LatencySchema(Schema):
    """How many milliseconds passed from the throws of signals (from `deliverAt` of scheduled ones) to their deliveries.

    Each is off by less than a tenth.
    """

    p50: float = Field(description="Half of the deliveries took at most this long.")
    p95: float = Field(description="95 of 100 deliveries took at most this long.")
    p99: float = Field(description="99 of 100 deliveries took at most this long.")


class StatisticsStepSchema(Schema):
    """What happened in one step. Of the last four members, those of the group are there that it is about."""

    at: Shown = Field(description="When it begins.")
    accepted: int = Field(
        description="Signals, by the moment of their throws, once they are recorded; of a subscription, those that are"
        " owed to it."
    )
    recorded: int = Field(description="The same, by the moment when they were recorded.")
    delivered: int = Field(description="Deliveries that were delivered, each time.")
    dead: int = Field(description="Deliveries that died, each time.")
    retried: int = Field(description="Attempts that failed and are repeated.")
    latency_ms: LatencySchema | None = Field(description="Of what was delivered; null without.")
    subscription_id: int = Field(0, description="With `by=subscription`.")
    tenant_id: str | None = Field(None, description="With `by=tenant`; null: none.")
    name: str | None = Field(None, description="With `by=name`.")
    other: bool = Field(
        False,
        description="With `by`: whether it is about all tenants, or names, beyond the first 1,000 of a minute.",
    )


class StatisticsSchema(Schema):
    """What happened from `since` to `until`. It is a few seconds behind."""

    since: Shown = Field(description="When the first step begins.")
    until: Shown = Field(description="When the last step ends.")
    step: int = Field(description="Seconds.")
    by: Literal["subscription", "tenant", "name"] | None = Field(
        description="What the steps are split by; null: nothing."
    )
    steps: list[StatisticsStepSchema] = Field(
        description="In their order. With `by`, one for each of the 50 groups with most of it, without those in which"
        " nothing happened."
    )


class SuccessRateSchema(Schema):
    """Which part of the deliveries that ended was delivered, from 0 to 1; null if none was delivered or died."""

    hour: float | None = Field(description="In the last hour.")
    day: float | None = Field(description="In the last 24 hours.")
