"""Throws as the native API's documents ask for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from broker.access import Permission, Principal, require_permission, require_tenant
from broker.conversions import convert
from broker.errors import InvalidField, PermissionDenied, UnconvertibleVariable, pointer_to
from broker.jsonparts import raw_member
from broker.moments import next_millisecond
from broker.operations.idempotency import make_key
from broker.operations.recipients import Recipients, choose_recipients, reaches_first
from broker.schemas.signals import BatchItem, SignalRequest, TypedVariable
from broker.schemas.validation import validate
from broker.signals import Source, Throw
from broker.store.signals.signals import IdempotencyKey
from broker.subscriptions import Waiting
from broker.tracing import TraceContext
from broker.variables import Types, split


def read_throw(
    principal: Principal, wanted: SignalRequest, body: bytes, *, trace: TraceContext | None = None, hops: int = 0
) -> Throw:
    """Return the throw by *principal* that is *wanted*; *body* is the JSON text that it was read from.

    Raises:
        PermissionDenied: *principal* may not throw signals of that name, or may not name the tenant.
        InvalidField: A field breaks a rule that the document's shape does not express.
    """
    recipients = _admit(principal, wanted)
    if wanted.variables is None:
        payload, types = raw_member(body, "payload") or b"{}", Types()
    elif "payload" in wanted.model_fields_set:
        raise InvalidField("/variables", "cannot be given together with payload: they are two views of the same")
    else:
        payload, types = _read_variables(wanted.variables)
    return _throw(principal, wanted, recipients, payload, types, trace=trace, hops=hops)


def read_event(
    principal: Principal, wanted: SignalRequest, payload: bytes, *, trace: TraceContext | None = None, hops: int = 0
) -> Throw:
    """Return the throw by *principal* that is *wanted*, with a *payload* that is no part of it.

    Raises:
        PermissionDenied, InvalidField: As for `read_throw`.
    """
    return _throw(principal, wanted, _admit(principal, wanted), payload, Types(), trace=trace, hops=hops)


def _admit(principal: Principal, wanted: SignalRequest) -> Recipients:
    """Return whom the throw *wanted* is for, if *principal* may throw it."""
    require_permission(principal, Permission.THROW, wanted.name)
    recipients = choose_recipients(
        principal,
        tenant_id=wanted.tenant_id,
        without_tenant_id=wanted.without_tenant_id,
        execution_id=wanted.execution_id,
    )
    require_tenant(principal, recipients.tenant_id)
    return recipients


def _throw(
    principal: Principal,
    wanted: SignalRequest,
    recipients: Recipients,
    payload: bytes,
    types: Types,
    *,
    trace: TraceContext | None,
    hops: int,
) -> Throw:
    return Throw(
        name=wanted.name,
        payload=payload,
        types=types,
        scope=recipients.scope,
        tenant_id=recipients.tenant_id,
        execution_id=recipients.execution_id,
        audience=recipients.audience,
        source=Source.NATIVE,
        token_id=principal.token_id,
        business_key=wanted.business_key,
        ordering_key=wanted.ordering_key,
        deliver_at=None if wanted.deliver_at is None else next_millisecond(wanted.deliver_at),
        expires_at=None if wanted.expires_at is None else next_millisecond(wanted.expires_at),
        trace=trace,
        hops=hops,
    )


def read_item(
    principal: Principal,
    item: object,
    body: bytes,
    *,
    key: str | None = None,
    trace: TraceContext | None = None,
    hops: int = 0,
) -> tuple[Throw, IdempotencyKey | None]:
    """Return the throw by *principal* that one *item* of a batch asks for, and its idempotency key.

    *item* is JSON as Python has it, read from the text *body*. *key* is its key, unless it has one of its own.

    Raises:
        InvalidDocument, InvalidField, PermissionDenied: It is wrong, or *principal* may not throw it.
    """
    wanted = validate(BatchItem, item)
    throw = read_throw(principal, wanted, body, trace=trace, hops=hops)
    own = wanted.idempotency_key or key
    return throw, None if own is None else make_key(own, principal, b"batch\0" + body)


def check_execution(principal: Principal, throw: Throw, waiting: Sequence[Waiting]) -> None:
    """Check that *principal* may reach the execution of *throw*, if it is to one: it belongs to the first *waiting*.

    Raises:
        PermissionDenied: It belongs to other tenants.
    """
    if waiting and not reaches_first(principal, waiting):
        raise PermissionDenied(f"{principal.name!r} may not name the tenant of the execution {throw.execution_id!r}.")


def _read_variables(variables: Mapping[str, TypedVariable]) -> tuple[bytes, Types]:
    """Return payload (JSON text) and types of *variables*: the same types and conversions as Camunda 7's."""
    converted = {}
    for name, variable in variables.items():
        try:
            converted[name] = convert(variable.value, variable.type, variable.value_info)
        except UnconvertibleVariable as error:
            raise InvalidField(pointer_to("/variables", name), str(error)) from error
    return split(converted)
