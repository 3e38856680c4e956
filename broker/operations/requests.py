"""What callers ask for becomes the domain's nouns, checked by the rules that a document's shape cannot express."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from broker.deliveries import DEFAULT_SCHEDULE, make_schedule
from broker.egress import Guard
from broker.errors import InvalidField
from broker.filters import parse_filter
from broker.names import check_id, check_name
from broker.operations.targets import check_durations, read_targets
from broker.schemas.subscriptions import ChangeableSpec, RetrySchema, SubscriptionChanges, SubscriptionRequest
from broker.subscriptions import HeadOfLine, Kind, SubscriptionSpec


def read_spec(wanted: SubscriptionRequest, guard: Guard) -> SubscriptionSpec:
    """Return the spec of the subscription that is *wanted*; *guard* knows where webhooks may go.

    Raises:
        InvalidField: A name, an id or the target cannot be one, or it is ordered in a way that makes no sense.
    """
    check_name(wanted.name)
    if wanted.ordered and wanted.once:
        raise InvalidField("/ordered", "cannot be given together with once: one signal has no order")
    for pointer, value in (("/executionId", wanted.execution_id), ("/tenantId", wanted.tenant_id)):
        if value is not None:
            check_id(value, pointer)
    targets, timeout = read_targets(wanted, guard), _read_timeout(wanted)
    check_durations(targets, timeout)
    return SubscriptionSpec(
        name=wanted.name,
        targets=targets,
        tenant_id=wanted.tenant_id,
        execution_id=wanted.execution_id,
        once=wanted.once,
        filter=None if wanted.filter is None else parse_filter(wanted.filter),
        ordered=wanted.ordered,
        head_of_line=_read_head_of_line(wanted, ordered=wanted.ordered),
        schedule=_read_schedule(wanted.retry),
        timeout=timeout,
        max_in_flight=wanted.max_in_flight,
        max_per_second=wanted.max_per_second,
        description=wanted.description,
    )


def changed_spec(wanted: SubscriptionChanges, spec: SubscriptionSpec, guard: Guard) -> SubscriptionSpec:
    """Return *spec* with what *wanted* mentions in place of what was; *guard* knows where webhooks may go.

    Raises:
        InvalidField: A target or the filter cannot be one, all steps may take too long, or there is no line.
    """
    given = wanted.model_fields_set
    changed: dict[str, Any] = {
        name: getattr(wanted, name) for name in ("max_in_flight", "max_per_second", "description") if name in given
    }
    if given & {"target", "steps"}:
        if spec.target.kind is Kind.HANDLER:
            raise InvalidField("/target", "cannot be changed: it is a handler, subscribed by the worker that runs it")
        changed["targets"] = read_targets(wanted, guard, spec.targets)
    if "filter" in given:
        changed["filter"] = None if wanted.filter is None else parse_filter(wanted.filter)
    if "retry" in given:
        changed["schedule"] = _read_schedule(wanted.retry)
    if "head_of_line" in given:
        changed["head_of_line"] = _read_head_of_line(wanted, ordered=spec.ordered)
    if "timeout_seconds" in given:
        changed["timeout"] = _read_timeout(wanted)
    after = replace(spec, **changed)
    check_durations(after.targets, after.timeout)
    return after


def _read_head_of_line(wanted: ChangeableSpec, *, ordered: bool) -> HeadOfLine:
    if wanted.head_of_line is None:
        return HeadOfLine.BLOCK
    if not ordered:
        raise InvalidField("/headOfLine", "is for an ordered subscription only")
    return HeadOfLine(wanted.head_of_line)


def _read_timeout(wanted: ChangeableSpec) -> timedelta | None:
    return None if wanted.timeout_seconds is None else timedelta(seconds=wanted.timeout_seconds)


def _read_schedule(retry: RetrySchema | None) -> tuple[timedelta, ...]:
    """Return the pauses that *retry* means."""
    if retry is None:
        return DEFAULT_SCHEDULE
    pauses = None if retry.schedule is None else [timedelta(seconds=seconds) for seconds in retry.schedule]
    return make_schedule(pauses, retry.max_attempts)
