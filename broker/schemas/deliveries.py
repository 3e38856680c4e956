"""Deliveries, the attempts at them, and the ledger."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from broker.schemas import BulkRequest, BulkSelection, following
from broker.schematypes import WHOLE, Schema, Shown
from broker.targets import TargetSchema

OutcomeName = Literal[
    "succeeded",
    "refused",
    "throttled",
    "given_up",
    "gone",
    "timed_out",
    "unreachable",
    "forbidden",
    "unroutable",
    "failed",
    "interrupted",
]


class RequestSchema(Schema):
    """The request that a webhook was sent; credentials in it are cut to `***`."""

    url: str = Field(description="The URL that was called.")
    headers: dict[str, str] = Field(description="The headers as they were sent; `...` says how many more there were.")


class AnswerSchema(Schema):
    """Headers of a webhook's answer, as the receiver wrote them; credentials in them are cut to `***`."""

    location: str | None = Field(description="`Location`: where a redirect leads; it is not followed.")
    retry_after: str | None = Field(description="`Retry-After`.")


class ConnectionSchema(Schema):
    """The connection that a webhook was sent on."""

    address: str | None = Field(description="The address and port that were connected to.")
    tls: str | None = Field(description="The version of TLS; null without TLS.")
    reused: bool = Field(description="Whether an earlier webhook had used it.")
    resent: str | None = Field(
        description="Why the request went out once more, on a new connection: what became of the kept one; null if it"
        " went out once."
    )


_Request = Annotated[RequestSchema | None, Field(description="The request to a webhook; null if none was made.")]
_Answer = Annotated[AnswerSchema | None, Field(description="What the headers of a webhook's answer say.")]
_Connection = Annotated[ConnectionSchema | None, Field(description="The connection to a webhook.")]
_Phases = Annotated[
    dict[str, float] | None,
    Field(
        description="Seconds that the phases took, of those that took place: `dns`, `connect`, `tls`, `firstByte` (from"
        " the request to the first byte of the answer) and `total`."
    ),
]


class StepOutcomeSchema(Schema):
    """The outcome of one step of an attempt."""

    step: int = Field(description="Its number, from 1.")
    started_at: Shown | None = Field(description="Null if an earlier version made it.")
    duration: float = Field(description="Seconds.")
    outcome: OutcomeName = Field(description="How it ended.")
    status: int | None = Field(description="The HTTP status of the answer; null if there was none.")
    error: str | None = Field(description="What went wrong; null if nothing did.")
    response: str | None = Field(description="The first characters of the answer's body.")
    request: _Request
    answer: _Answer
    connection: _Connection
    phases: _Phases


class AttemptSchema(Schema):
    """One try at a delivery."""

    number: int = Field(description="From 1; no two attempts at a delivery share one. It is the receiver's `attempt`.")
    started_at: Shown = Field(description="When it began.")
    duration: float | None = Field(
        description="Seconds, of all its steps together, without the waits between them; null if it was interrupted."
    )
    outcome: OutcomeName = Field(
        description="`interrupted`: its deliverer was lost before it stored an outcome. The request may have been made,"
        " another attempt follows, and `maxAttempts` does not count it."
    )
    status: int | None = Field(description="The HTTP status of the answer; null if there was none.")
    error: str | None = Field(description="What went wrong; null if nothing did.")
    response: str | None = Field(description="The first characters of the answer's body.")
    request: _Request
    answer: _Answer
    connection: _Connection
    phases: _Phases
    worker: str | None = Field(
        description="Who leased the delivery, as the caller said; null if its target is no pull target."
    )
    steps: list[StepOutcomeSchema] | None = Field(
        description="The steps that were made, if there are several. The last one's outcome is the attempt's; of an"
        " interrupted attempt, only steps that had succeeded are known."
    )


class ListedDelivery(Schema):
    """One signal owed to one subscription, as lists show it."""

    id: str = Field(description="The delivery's id: the signal's and the subscription's.")
    signal_id: int = Field(description="The id of the signal that is owed.")
    signal_name: str = Field(description="The name of that signal.")
    subscription_id: int = Field(description="The id of the subscription that it is owed to.")
    tenant_id: str | None = Field(description="The subscription's tenant.")
    target: TargetSchema | None = Field(
        description="The subscription's target as it is now, without credentials; null if it has several steps."
    )
    state: Literal["pending", "parked", "delivered", "dead", "cancelled"] = Field(
        description="`pending`: an attempt is under way; `parked`: it waits for one; the others are final."
    )
    attempt_count: int = Field(description="How many attempts were begun.")
    last_outcome: OutcomeName | None = Field(
        description="How the last attempt that has ended did; null before, and for a caller that may not read signals."
    )
    last_status: int | None = Field(description="The HTTP status of its answer.")
    last_error: str | None = Field(description="What went wrong with it.")
    due_at: Shown | None = Field(
        description="When the next attempt is due; null while it waits for an event: the end of a pause, a free slot of"
        " `maxInFlight`, a reservation of `maxPerSecond`, the delivery before it in its ordering group, its target"
        " (`circuit`, `throttled`), its share of the deliverers' attempts, or who leases it."
    )
    reason: str | None = Field(
        description="Why it is parked (`retry`, `paused`, `in_flight`, `rate`, `circuit`, `throttled`, `scheduled`,"
        " `ordered`, `replay`, `share`), dead or cancelled. `leased`: it is pending, and a caller has it until `dueAt`."
    )
    created_at: Shown = Field(description="Since when it has been owed.")
    finished_at: Shown | None = Field(description="When it was delivered, died or was cancelled; null before.")


class DeliverySchema(ListedDelivery):
    """One signal owed to one subscription, and every attempt at it."""

    attempts: list[AttemptSchema] | None = Field(
        description="Those that have begun, in order; null for a caller that may not read signals."
    )


class DeliveryPage(Schema):
    """A page of deliveries; `next` is the `afterId` of the next page, and null if there is none.

    A page may hold fewer items than were asked for, or none, and still have a next one.
    """

    items: list[ListedDelivery] = Field(description="The items of the page, in the order that was asked for.")
    next: str | None = Field(description="`afterId` of the next page; null if there is none.")


class DeliverySelection(BulkSelection):
    """Which deliveries a bulk operation is about."""

    after: str | None = following("[0-9]{1,18}-[0-9]{1,18}")
    subscription_id: Annotated[int, Field(ge=0, lt=1 << 63), WHOLE] | None = Field(
        None, description="Only deliveries to this subscription."
    )
    outcome: OutcomeName | None = Field(None, description="Only deliveries whose last attempt had this outcome.")
    status: Annotated[int, Field(ge=100, le=599), WHOLE] | None = Field(
        None, description="Only deliveries whose last attempt was answered with this HTTP status."
    )


class RedriveRequest(DeliverySelection, BulkRequest):
    """Which deliveries to redrive."""

    state: Literal["dead", "parked", "delivered", "cancelled"] = Field(
        "dead", description="In which state they are: `parked` ones are due at once, others are attempted once more."
    )


class CancelRequest(DeliverySelection):
    """Which deliveries to cancel."""

    state: Literal["dead", "parked"] = Field("dead", description="In which state they are.")
    subscription_deleted: bool = Field(default=False, description="Only deliveries to subscriptions that are deleted.")


class States(Schema):
    """Number of deliveries by state."""

    pending: int = Field(description="An attempt is under way.")
    parked: int = Field(description="They wait for their time, or for an event.")
    delivered: int = Field(description="They succeeded.")
    dead: int = Field(description="They were given up.")
    cancelled: int = Field(description="They are not owed any more.")


class LedgerSchema(Schema):
    """The books: `unaccounted` is 0 if they balance.

    For a caller that is limited to names or tenants they are of its deliveries alone; what is null for it stands first.
    """

    recorded: int | None = Field(description="Signals that are recorded, of all tenants.")
    awaiting_record: int | None = Field(
        description="Accepted signals on the way to their record: in the record queue, or with a recorder. Null if"
        " `transportError` is not."
    )
    buffered_messages: int | None = Field(
        description="Messages of Camunda 8 that wait for a subscription, or for the end of their time to live: they"
        " are accepted, and not recorded before."
    )
    poison: dict[str, int] | None = Field(
        description="Messages by dead queue (`signal-broker recover` puts them back). Null if `transportError` is not."
    )
    poisoned_signals: int | None = Field(
        description="Accepted signals that were seen in the dead queue of the record queue, within a minute and each"
        " counted once. The other messages there are repeats, or foreign."
    )
    lost: int | None = Field(
        description="Accepted signals that have been missing for a minute: they are neither recorded, awaiting their"
        " record nor in a dead queue. The log line `signals.lost` names them."
    )
    matched: int = Field(description="Deliveries owed, as counted when the signals were recorded.")
    deliveries: States = Field(description="How many deliveries are in each state.")
    unaccounted: int = Field(
        description="Deliveries that are owed and in no state, and accepted signals that are missing and not yet found"
        " to be lost."
    )
    transport_error: str | None = Field(
        description="Why the transport did not tell `awaitingRecord` or `poison` in time; null: it told both."
    )
