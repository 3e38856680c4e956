"""Deliveries, the attempts at them, and the ledger."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from broker.schemas import BulkRequest
from broker.schematypes import Schema

OutcomeName = Literal[
    "succeeded", "refused", "throttled", "gone", "timed_out", "unreachable", "forbidden", "unroutable", "failed"
]


class StepOutcomeSchema(Schema):
    """The outcome of one step of an attempt."""

    step: int = Field(description="Its number, from 1.")
    duration: float = Field(description="Seconds.")
    outcome: str
    status: int | None
    error: str | None
    response: str | None = Field(description="The first characters of the answer's body.")


class AttemptSchema(Schema):
    """One try at a delivery."""

    number: int
    started_at: datetime
    duration: float = Field(description="Seconds.")
    outcome: str
    status: int | None
    error: str | None
    response: str | None = Field(description="The first characters of the answer's body.")
    steps: list[StepOutcomeSchema] | None = Field(
        description="The steps that were made, if there are several; the outcome of the last one is the attempt's."
    )


class DeliverySchema(Schema):
    """One signal owed to one subscription."""

    id: str
    signal_id: int
    subscription_id: int
    state: Literal["pending", "parked", "delivered", "dead", "cancelled"]
    attempts: int | list[AttemptSchema]
    due_at: datetime | None = Field(
        description="When the next attempt is due; null while it waits for an event: the end of a pause, a free slot of"
        " `maxInFlight`, the delivery before it in its ordering group, or its share of the deliverers' attempts."
    )
    reason: str | None = Field(
        description="Why it is parked (`retry`, `paused`, `in_flight`, `rate`, `circuit`, `scheduled`, `ordered`,"
        " `replay`, `share`), dead or cancelled."
    )
    created_at: datetime
    finished_at: datetime | None


class DeliveryPage(Schema):
    """A page of deliveries; `next` is the `afterId` of the next page."""

    items: list[DeliverySchema]
    next: str | None


class RedriveRequest(BulkRequest):
    """Which dead deliveries to redrive."""

    subscription_id: Annotated[int, Field(ge=0, lt=1 << 63)] | None = Field(
        None, description="Only deliveries to this subscription."
    )
    outcome: OutcomeName | None = Field(None, description="Only deliveries whose last attempt had this outcome.")


class States(Schema):
    """Number of deliveries by state."""

    pending: int
    parked: int
    delivered: int
    dead: int
    cancelled: int


class LedgerSchema(Schema):
    """The books: `unaccounted` is 0 if they balance."""

    recorded: int = Field(description="Signals that are recorded, of all tenants.")
    awaiting_record: int | None = Field(
        description="Accepted signals on the way to their record: in the record queue, or with a recorder. Null while"
        " the transport is away."
    )
    poison: dict[str, int] | None = Field(
        description="Messages by dead queue (`signal-broker recover` puts them back). Null while the transport is away."
    )
    poisoned_signals: int = Field(
        description="Accepted signals that were seen in the dead queue of the record queue, within a minute and each"
        " counted once. The other messages there are repeats, or foreign."
    )
    lost: int = Field(
        description="Accepted signals that have been missing for a minute: they are neither recorded, awaiting their"
        " record nor in a dead queue. The log line `signals.lost` names them."
    )
    matched: int = Field(description="Deliveries owed, as counted when the signals were recorded.")
    deliveries: States
    unaccounted: int = Field(
        description="Deliveries that are owed and in no state, and accepted signals that are missing and not yet found"
        " to be lost."
    )
