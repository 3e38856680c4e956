"""The domain's nouns as the native API answers them; the command line prints the same documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from typing import Any

from broker.access import Limits
from broker.audit import AuditEvent
from broker.deliveries import Attempt, DeliveryState, Result
from broker.endpoints import Endpoint, EndpointToken
from broker.events import Event
from broker.operations.books import Books
from broker.quotas import Quota, QuotaKind, Subject
from broker.representations import delivery_members, recorded_members, signal_json
from broker.schemas import deliveries as schemas
from broker.schemas.access import AuditSchema, TokenSchema, UserSchema
from broker.schemas.deliveries import DeliverySchema, LedgerSchema, States
from broker.schemas.endpoints import EndpointSchema, EndpointTokenSchema
from broker.schemas.events import EventSchema
from broker.schemas.quotas import QuotaSchema
from broker.schemas.statistics import SuccessRateSchema
from broker.schemas.subscriptions import BacklogSchema, RetrySchema, StepSchema, SubscriptionSchema
from broker.signals import Signal
from broker.store.administration.tokens import Token
from broker.store.deliveries.backlogs import Backlog
from broker.store.deliveries.deliveries import DeliveryDetails, Ledger
from broker.store.deliveries.listing import ListedDelivery
from broker.store.deliveries.statistics import SuccessRate
from broker.subscriptions import Subscription, SubscriptionSpec, are_steps
from broker.targets import Target, TargetSchema, render_target
from broker.users import User


def render_signal(signal: Signal) -> bytes:
    """Return *signal* as JSON."""
    return signal_json(signal, recorded_members(signal))


def render_subscription(
    subscription: Subscription,
    secret: str | None = None,
    *,
    backlog: Backlog | None = None,
    success_rate: SuccessRate | None = None,
) -> SubscriptionSchema:
    """Return *subscription*; its signing secret, its backlog with its circuit, and its success rate where given."""
    spec = subscription.spec
    steps = [StepSchema(target=render_target(target), description=target.description) for target in spec.targets]
    return SubscriptionSchema(
        id=subscription.id,
        consumed_by=subscription.consumed_by,
        state="disabled" if subscription.disabled_because else "paused" if subscription.paused_at else "active",
        paused_at=subscription.paused_at,
        disabled_because=subscription.disabled_because,
        created_at=subscription.created_at,
        created_by=subscription.created_by,
        secret=secret,
        backlog=None if backlog is None else _render_backlog(backlog),
        circuit=None if backlog is None else backlog.circuit.value,
        success_rate=None if success_rate is None else SuccessRateSchema(**asdict(success_rate)),
        **{
            **{name: getattr(spec, name) for name in _SHARED},
            "target": None if spec.in_steps else steps[0].target,
            "steps": steps if spec.in_steps else None,
            "filter": None if spec.filter is None else spec.filter.document,
            "head_of_line": spec.head_of_line.value if spec.ordered else None,
            "retry": RetrySchema(
                schedule=[pause.total_seconds() for pause in spec.schedule], max_attempts=len(spec.schedule) + 1
            ),
            "timeout_seconds": None if spec.timeout is None else spec.timeout.total_seconds(),
        },
    )


def _render_backlog(backlog: Backlog) -> BacklogSchema:
    return BacklogSchema(parked=backlog.parked, leasable=backlog.leasable, leased=backlog.leased, oldest=backlog.oldest)


_SHARED = {field.name for field in fields(SubscriptionSpec)} & SubscriptionSchema.model_fields.keys()
"""The options that an answer shows under the name that they have in a spec."""


def _render_limits(limits: Limits) -> dict[str, Any]:
    lists = {"names": limits.names, "tenants": limits.tenants, "queues": limits.queues}
    shown = {name: None if values is None else list(values) for name, values in lists.items()}
    return {**shown, "untenanted": limits.untenanted}


def render_token(token: Token, value: str | None = None) -> TokenSchema:
    """Return *token*, with its value where that is to be shown."""
    return TokenSchema(
        id=token.id,
        name=token.name,
        permissions=[permission.value for permission in token.permissions],
        **_render_limits(token),
        created_at=token.created_at,
        created_by=token.created_by,
        expires_at=token.expires_at,
        expired=token.is_expired,
        last_used_at=token.last_used_at,
        token=value,
    )


def render_quota(subject: Subject, quota: Quota) -> QuotaSchema:
    """Return *quota* and whose it is."""
    return QuotaSchema(kind="tenants" if subject.kind is QuotaKind.TENANT else "tokens", id=subject.id, **asdict(quota))


def render_user(user: User) -> UserSchema:
    """Return *user* without the hash of its password."""
    return UserSchema(
        id=user.id,
        name=user.name,
        permissions=[permission.value for permission in user.permissions],
        **_render_limits(user),
        groups=list(user.groups),
        created_at=user.created_at,
        created_by=user.created_by,
    )


def render_delivery(details: DeliveryDetails, attempts: Sequence[Attempt] | None) -> DeliverySchema:
    """Return the delivery of *details* with its *attempts*; None: the caller may not know of them."""
    delivery = replace(details.delivery, attempts=None if attempts is None else tuple(attempts))
    last = attempts[-1].result if attempts else None
    return DeliverySchema(**delivery_members(delivery), **_context(details, last))


def render_listed(listed: ListedDelivery) -> schemas.ListedDelivery:
    """Return *listed* as an item of a list."""
    members = delivery_members(listed.delivery)
    del members["attempts"]
    return schemas.ListedDelivery(**members, **_context(listed, listed.last))


def _context(one: DeliveryDetails | ListedDelivery, last: Result | None) -> dict[str, Any]:
    """Return the members of a delivery that tell people which one it is, and how its *last* attempt ended."""
    return {
        "signal_name": one.signal_name,
        "tenant_id": one.tenant_id,
        "target": _render_only(one.targets),
        "last_outcome": None if last is None else last.outcome.value,
        "last_status": None if last is None else last.status,
        "last_error": None if last is None else last.error,
    }


def _render_only(targets: Sequence[Target]) -> TargetSchema | None:
    return None if are_steps(targets) else render_target(targets[0].hide())


def render_audit_event(event: AuditEvent) -> AuditSchema:
    """Return *event*."""
    return AuditSchema(
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


def render_event(event: Event) -> EventSchema:
    """Return *event*."""
    return EventSchema(
        id=event.id,
        type=event.type,
        since=event.since,
        at=event.at,
        count=event.count,
        subscription_id=event.subscription_id,
        subscription_name=event.subscription_name,
        tenant_id=event.tenant_id,
        details=dict(event.details),
        signal_id=event.signal_id,
    )


def render_books(books: Books) -> LedgerSchema:
    """Return *books*."""
    ledger = books.ledger
    return LedgerSchema(
        recorded=ledger.recorded,
        awaiting_record=books.awaiting_record,
        buffered_messages=books.buffered,
        poison=None if books.poison is None else dict(books.poison),
        poisoned_signals=books.intake.poison,
        lost=books.intake.lost,
        matched=ledger.matched,
        deliveries=_render_states(ledger),
        unaccounted=books.unaccounted,
        transport_error=books.transport_error,
    )


def render_own_books(ledger: Ledger) -> LedgerSchema:
    """Return *ledger* for a caller with limits, who is told of deliveries only."""
    return LedgerSchema(
        recorded=None,
        awaiting_record=None,
        buffered_messages=None,
        poison=None,
        poisoned_signals=None,
        lost=None,
        matched=ledger.matched,
        deliveries=_render_states(ledger),
        transport_error=None,
        unaccounted=ledger.unaccounted,
    )


def _render_states(ledger: Ledger) -> States:
    return States(**{state.value: ledger.states[state] for state in DeliveryState})


def render_endpoint(endpoint: Endpoint, tokens: Sequence[EndpointToken], url: str | None = None) -> EndpointSchema:
    """Return *endpoint* with those of *tokens* that are its own, and with its URL where that is to be shown."""
    return EndpointSchema(
        id=endpoint.id,
        name=endpoint.name,
        enabled=endpoint.enabled,
        description=endpoint.description,
        created_at=endpoint.created_at,
        created_by_user_id=endpoint.created_by_user_id or 0,
        url=url,
        tokens=[render_endpoint_token(token) for token in tokens if token.endpoint_id == endpoint.id],
    )


def render_endpoint_token(token: EndpointToken, value: str | None = None) -> EndpointTokenSchema:
    """Return *token*, with its value where that is to be shown."""
    return EndpointTokenSchema(
        id=token.id,
        name=token.name,
        signal_endpoint_id=token.endpoint_id,
        created_at=token.created_at,
        created_by_user_id=token.created_by_user_id or 0,
        expires_at=token.expires_at,
        last_used_at=token.last_used_at,
        token=value,
    )
