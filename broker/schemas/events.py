"""Events: what operators are to know of."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from broker.schematypes import Schema, Shown


class EventSchema(Schema):
    """Something that happened, once or several times within a minute."""

    id: int = Field(description="The id.")
    type: str = Field(description="What happened: the name of the signal that tells it.")
    since: Shown = Field(description="When it happened first.")
    at: Shown = Field(description="When it happened last.")
    count: int = Field(description="How many times it happened.")
    subscription_id: int | None = Field(description="The subscription that it is about; null: it is about none.")
    subscription_name: str | None = Field(description="The name or pattern that this had then.")
    tenant_id: str | None = Field(description="The tenant of that subscription, or of the quota.")
    details: dict[str, Any] = Field(description="What else is known of the last time; it depends on the type.")
    signal_id: int | None = Field(
        description="The signal that tells it; null while it is under way, and if no subscription was for events."
    )


class EventPage(Schema):
    """A page of events; `next` is the `afterId` of the next page."""

    items: list[EventSchema] = Field(description="The items of the page, in the order that was asked for.")
    next: str | None = Field(description="`afterId` of the next page; null if there is none.")
