"""What callers ask for becomes the domain's nouns, checked by the rules that a document's shape cannot express."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from broker.deliveries import DEFAULT_SCHEDULE, make_schedule
from broker.egress import Guard
from broker.filters import parse_filter
from broker.names import check_id, check_name
from broker.subscriptions import Terms
from broker.users import check_password, check_user_name
from gateway.documents import (
    Limits,
    RetryDocument,
    SubscriptionRequest,
    TokenRequest,
    UserChanges,
    UserRequest,
)
from gateway.native.targets import read_targets


def read_terms(wanted: SubscriptionRequest, guard: Guard) -> Terms:
    """Return the terms of the subscription that is *wanted*; *guard* knows where webhooks may go.

    Raises:
        InvalidField: A name, an id or the target cannot be one.
    """
    check_name(wanted.name)
    for pointer, value in (("/executionId", wanted.execution_id), ("/tenantId", wanted.tenant_id)):
        if value is not None:
            check_id(value, pointer)
    seconds = wanted.timeout_seconds
    return Terms(
        name=wanted.name,
        targets=read_targets(wanted, guard),
        tenant_id=wanted.tenant_id,
        execution_id=wanted.execution_id,
        once=wanted.once,
        filter=None if wanted.filter is None else parse_filter(wanted.filter),
        schedule=_read_schedule(wanted.retry),
        timeout=None if seconds is None else timedelta(seconds=seconds),
        max_in_flight=wanted.max_in_flight,
        max_per_second=wanted.max_per_second,
        description=wanted.description,
    )


def _read_schedule(retry: RetryDocument | None) -> tuple[timedelta, ...]:
    """Return the pauses that *retry* means."""
    if retry is None:
        return DEFAULT_SCHEDULE
    pauses = None if retry.schedule is None else [timedelta(seconds=seconds) for seconds in retry.schedule]
    return make_schedule(pauses, retry.max_attempts)


def checked_token(wanted: TokenRequest) -> TokenRequest:
    """Return *wanted* if its names and tenants can be such.

    Raises:
        InvalidField: One cannot.
    """
    check_id(wanted.name, "/name")
    _check_limits(wanted)
    return wanted


def checked_user(wanted: UserRequest) -> UserRequest:
    """Return *wanted* if its name, password, names, tenants and groups can be such.

    Raises:
        InvalidField: One cannot.
    """
    check_user_name(wanted.name)
    check_password(wanted.password)
    _check_limits(wanted)
    _check_groups(wanted.groups)
    return wanted


def checked_changes(wanted: UserChanges) -> UserChanges:
    """Return *wanted* if what it mentions can be such.

    Raises:
        InvalidField: Something cannot.
    """
    if "password" in wanted.model_fields_set:
        check_password(wanted.password)
    _check_limits(wanted)
    _check_groups(wanted.groups)
    return wanted


def _check_limits(limits: Limits) -> None:
    for position, name in enumerate(limits.names or ()):
        check_name(name, f"/names/{position}")
    for position, tenant in enumerate(limits.tenants or ()):
        check_id(tenant, f"/tenants/{position}")


def _check_groups(groups: Sequence[str]) -> None:
    for position, group in enumerate(groups):
        check_id(group, f"/groups/{position}")
