"""The domain's nouns as the native API answers them; the command line prints the same documents."""

from __future__ import annotations

from collections.abc import Sequence

from broker.audit import AuditEvent
from broker.circuits import Phase
from broker.deliveries import State
from broker.documents import delivery_members, recorded_members, signal_json
from broker.signals import Signal
from broker.store.access import Token
from broker.store.database import Row
from broker.store.deliveries import Ledger
from broker.subscriptions import Subscription
from broker.users import User
from gateway.documents.access import AuditDocument, TokenDocument, UserDocument
from gateway.documents.deliveries import DeliveryDocument, LedgerDocument, States
from gateway.documents.subscriptions import BacklogDocument, RetryDocument, SubscriptionDocument
from gateway.native.targets import step_document, target_document


def signal_document(signal: Signal) -> bytes:
    """Return *signal* as JSON."""
    return signal_json(signal, recorded_members(signal))


def subscription_document(
    subscription: Subscription,
    secret: str | None = None,
    *,
    backlog: BacklogDocument | None = None,
    circuit: Phase | None = None,
) -> SubscriptionDocument:
    """Return *subscription*; its signing secret, what waits at its gate and its circuit where they are to be shown."""
    terms = subscription.terms
    return SubscriptionDocument(
        id=subscription.id,
        name=terms.name,
        target=None if terms.in_steps else target_document(terms.target),
        steps=[step_document(target) for target in terms.targets] if terms.in_steps else None,
        execution_id=terms.execution_id,
        tenant_id=terms.tenant_id,
        once=terms.once,
        consumed_by=subscription.consumed_by,
        state="disabled" if subscription.disabled_because else "paused" if subscription.paused_at else "active",
        paused_at=subscription.paused_at,
        disabled_because=subscription.disabled_because,
        filter=None if terms.filter is None else terms.filter.document,
        ordered=terms.ordered,
        head_of_line=terms.head_of_line.value if terms.ordered else None,
        retry=RetryDocument(
            schedule=[pause.total_seconds() for pause in terms.schedule], max_attempts=len(terms.schedule) + 1
        ),
        timeout_seconds=None if terms.timeout is None else terms.timeout.total_seconds(),
        max_in_flight=terms.max_in_flight,
        max_per_second=terms.max_per_second,
        description=terms.description,
        created_at=subscription.created_at,
        secret=secret,
        backlog=backlog,
        circuit=None if circuit is None else circuit.value,
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
    return DeliveryDocument.model_validate(delivery_members(row, attempts))


def audit_document(event: AuditEvent) -> AuditDocument:
    """Return *event*."""
    return AuditDocument(
        id=event.id,
        type=event.type,
        subject_id=event.subject_id,
        principal=event.principal,
        user_id=event.user_id,
        token_id=event.token_id,
        before=None if event.before is None else dict(event.before),
        after=None if event.after is None else dict(event.after),
        created_at=event.created_at,
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
