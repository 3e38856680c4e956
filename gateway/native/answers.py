"""The domain's nouns as the native API answers them; the command line prints the same documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from broker.deliveries import State, delivery_id
from broker.documents import signal_json
from broker.signals import Signal
from broker.store.access import Token
from broker.store.database import Row
from broker.store.deliveries import Ledger
from broker.subscriptions import Kind, Subscription
from broker.users import User
from gateway.documents import (
    AttemptDocument,
    DeliveryDocument,
    LedgerDocument,
    QueueTargetDocument,
    RetryDocument,
    States,
    SubscriptionDocument,
    TokenDocument,
    UserDocument,
    WebhookTargetDocument,
)


def signal_document(signal: Signal, state: Literal["accepted", "recorded"]) -> bytes:
    """Return *signal* as JSON."""
    throw = signal.throw
    return signal_json(signal, {"source": throw.source.value, "sourceId": throw.source_id, "state": state})


def subscription_document(subscription: Subscription, secret: str | None = None) -> SubscriptionDocument:
    """Return *subscription*, with its signing secret where that is to be shown."""
    terms, target = subscription.terms, subscription.terms.target
    return SubscriptionDocument(
        id=subscription.id,
        name=terms.name,
        target=WebhookTargetDocument(kind="webhook", url=target.address, headers=dict(target.headers))
        if target.kind is Kind.WEBHOOK
        else QueueTargetDocument(kind="queue", queue=target.address),
        execution_id=terms.execution_id,
        tenant_id=terms.tenant_id,
        once=terms.once,
        consumed_by=subscription.consumed_by,
        retry=RetryDocument(
            schedule=[pause.total_seconds() for pause in terms.schedule], max_attempts=len(terms.schedule) + 1
        ),
        timeout_seconds=None if terms.timeout is None else terms.timeout.total_seconds(),
        description=terms.description,
        created_at=subscription.created_at,
        secret=secret,
    )


def token_document(token: Token, value: str | None = None) -> TokenDocument:
    """Return *token*, with its value where that is to be shown."""
    return TokenDocument(
        id=token.id,
        name=token.name,
        permissions=[permission.value for permission in token.permissions],
        names=None if token.names is None else list(token.names),
        tenants=None if token.tenants is None else list(token.tenants),
        created_at=token.created_at,
        created_by=token.created_by,
        token=value,
    )


def user_document(user: User) -> UserDocument:
    """Return *user* without what is kept of its password."""
    return UserDocument(
        id=user.id,
        name=user.name,
        permissions=[permission.value for permission in user.permissions],
        names=None if user.names is None else list(user.names),
        tenants=None if user.tenants is None else list(user.tenants),
        groups=list(user.groups),
        created_at=user.created_at,
        created_by=user.created_by,
    )


def delivery_document(row: Row, attempts: Sequence[Row] | None = None) -> DeliveryDocument:
    """Return the delivery in *row*, with its attempts if they are given, else with their number."""
    return DeliveryDocument(
        id=delivery_id(row["signal_id"], row["subscription_id"]),
        signal_id=row["signal_id"],
        subscription_id=row["subscription_id"],
        state=row["state"],
        attempts=row["attempts"] if attempts is None else [_attempt(attempt) for attempt in attempts],
        due_at=row["due_at"],
        created_at=row["created_at"],
        finished_at=row["finished_at"],
    )


def _attempt(row: Row) -> AttemptDocument:
    return AttemptDocument(
        number=row["number"],
        started_at=row["started_at"],
        duration=row["duration"],
        outcome=row["outcome"],
        status=row["status"],
        error=row["error"],
        response=row["excerpt"],
    )


def ledger_document(ledger: Ledger, awaiting_record: int) -> LedgerDocument:
    """Return the books, with the number of signals that are still on their way into them."""
    return LedgerDocument(
        recorded=ledger.recorded,
        awaiting_record=awaiting_record,
        matched=ledger.matched,
        deliveries=States(**{state.value: ledger.states[state] for state in State}),
        unaccounted=ledger.unaccounted,
    )
