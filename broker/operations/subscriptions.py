"""Subscriptions: created and changed as callers ask for it, by the rules that a schema cannot express."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import zip_longest
from typing import Any

from broker.access import Permission, Principal, require_pattern, require_tenant
from broker.egress import Guard
from broker.errors import InvalidField, PermissionDenied, SecretUnreadable
from broker.filters import parse_filter
from broker.names import check_id, check_name
from broker.retries import DEFAULT_SCHEDULE, make_schedule
from broker.schemas.subscriptions import RetrySchema, SubscriptionChanges, SubscriptionOptions, SubscriptionRequest
from broker.secrets import SecretBox, make_secret
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.subscriptions import HeadOfLine, Subscription, SubscriptionSpec, are_steps
from broker.targets import Kind, Target, read_target

_LONGEST = 900
"""The maximum duration of all steps together, in seconds. RabbitMQ wants an ack within half an hour."""


async def create_subscription(
    subscriptions: SubscriptionStore, spec: SubscriptionSpec, *, secrets: Callable[[], SecretBox], by: Principal
) -> tuple[Subscription, str | None]:
    """Create the subscription of *spec* for *by*; return it and its new signing secret, if it delivers to a webhook.

    The secret is shown this once. What *secrets* returns is asked for only if there is anything to seal.

    Raises:
        PermissionDenied: *by* may not subscribe to all that the name matches, for that tenant, or to that queue.
        ForeignExecution: The execution belongs to another tenant.
    """
    _require_creation(spec, by)
    if not spec.is_signed:
        return await subscriptions.create(spec, secret=None, by=by), None
    box, secret = secrets(), make_secret()
    stored = replace(spec, targets=_seal(spec.targets, box)) if await subscriptions.seals() else spec
    subscription = await subscriptions.create(stored, secret=box.seal(secret), by=by)
    return unseal(subscription, box), secret


async def create_if_absent(
    subscriptions: SubscriptionStore, spec: SubscriptionSpec, *, by: Principal
) -> tuple[Subscription, bool]:
    """Return a subscription of *by* that is like *spec*, or create one; and whether it was created.

    Raises:
        InvalidField: *spec* has steps, or a webhook, whose URL is sealed and whose secret its creator alone gets.
        PermissionDenied, ForeignExecution: As for `create_subscription`.
    """
    if spec.is_signed or are_steps(spec.targets):
        raise InvalidField("?ifAbsent", "is for a single target whose kind is pull or queue: no other can be compared")
    _require_creation(spec, by)
    return await subscriptions.create_if_absent(spec, by=by)


def _require_creation(spec: SubscriptionSpec, by: Principal) -> None:
    require_pattern(by, Permission.SUBSCRIPTIONS, spec.name)
    _require_tenant(by, spec)
    _require_queues(by, spec.targets)


def unseal(subscription: Subscription, box: SecretBox) -> Subscription:
    """Return *subscription* as it is shown: what cannot be opened stays hidden."""
    return replace(subscription, spec=replace(subscription.spec, targets=_unseal(subscription.spec.targets, box)))


def as_seen_by(principal: Principal, subscription: Subscription, box: SecretBox) -> Subscription:
    """Return *subscription* as *principal* sees it: who may not manage it sees no credentials in its URLs."""
    if principal.may(Permission.SUBSCRIPTIONS):
        return unseal(subscription, box)
    targets = tuple(target.hide() for target in subscription.spec.targets)
    return replace(subscription, spec=replace(subscription.spec, targets=targets))


def _seal(targets: Sequence[Target], box: SecretBox) -> tuple[Target, ...]:
    return tuple(target.seal(box) for target in targets)


def _unseal(targets: Sequence[Target], box: SecretBox) -> tuple[Target, ...]:
    return tuple(_unseal_one(target, box) for target in targets)


def _unseal_one(target: Target, box: SecretBox) -> Target:
    try:
        return target.unseal(box)
    except SecretUnreadable:
        return target


def may_see(principal: Principal, subscription: Subscription) -> bool:
    """Return whether *principal* may see *subscription*: its tenants and its names allow it."""
    return subscription.is_seen_by(principal.reach) and principal.include_names(subscription.spec.name)


def _require_tenant(principal: Principal, spec: SubscriptionSpec) -> None:
    if spec.tenant_id is not None:
        require_tenant(principal, spec.tenant_id)
    elif not principal.reach.has_untenanted:
        raise PermissionDenied(
            f"{principal.name!r} may subscribe only for its own tenants: name one of them as tenantId."
        )


def _require_queues(principal: Principal, targets: Sequence[Target]) -> None:
    for target in targets:
        if target.kind is Kind.QUEUE and not principal.include_queue(target.address):
            raise PermissionDenied(f"{principal.name!r} may not deliver to the queue {target.address!r}.")


def read_spec(wanted: SubscriptionRequest, guard: Guard) -> SubscriptionSpec:
    """Return the spec of the subscription that is *wanted*; *guard* knows where webhooks may go.

    Raises:
        InvalidField: A name, an id or a target is invalid, or two members contradict each other.
    """
    spec = SubscriptionSpec(
        targets=_read_targets(wanted, guard),
        **read_options(wanted, type(wanted).model_fields),
    )
    check_spec(spec)
    return _check_combinations(wanted, spec)


def change_spec(
    wanted: SubscriptionChanges,
    spec: SubscriptionSpec,
    guard: Guard,
    *,
    by: Principal,
    box: SecretBox,
    seals: bool,
) -> SubscriptionSpec:
    """Return *spec* with the members that *wanted* mentions, as it is stored.

    Args:
        wanted: The changes.
        spec: What is stored now.
        guard: Knows where webhooks may go.
        by: Who changes it.
        box: Opens and seals credentials of targets.
        seals: Whether they are sealed from now on.

    Raises:
        InvalidField: A target or the filter is invalid, or does not go with the rest of *spec*.
        PermissionDenied: *by* may not deliver to one of its new queues.
    """
    given = wanted.model_fields_set
    changes = read_options(wanted, given)
    if given & {"target", "steps"}:
        if spec.target.kind is Kind.HANDLER:
            raise InvalidField("/target", "cannot be changed: it is a handler, subscribed by the worker that runs it")
        before = _unseal(spec.targets, box)
        targets = _read_targets(wanted, guard, before)
        _check_same_way(spec.targets, targets)
        _require_queues(by, targets)
        if seals:  # a target that stays as it is stays as it is stored
            kept = [(real, stored) for real, stored in zip(before, spec.targets, strict=True) if stored.sealed]
            targets = tuple(next((old for real, old in kept if real == one), one.seal(box)) for one in targets)
        changes["targets"] = targets
    return _check_combinations(wanted, replace(spec, **changes))


def read_options(wanted: SubscriptionOptions, names: Collection[str]) -> dict[str, Any]:
    """Return those of the options *names* that *wanted* has, as attributes of a spec.

    Raises:
        InvalidField: The filter or the schedule is invalid.
    """
    options = {}
    for name in names:
        attribute, read = _CONVERTED.get(name, (name, _as_it_is))
        if attribute is not None:
            options[attribute] = read(getattr(wanted, name))
    return options


def check_spec(spec: SubscriptionSpec) -> None:
    """Let *spec* pass if its name and ids are valid and its options go together.

    Raises:
        InvalidField: They do not.
    """
    check_name(spec.name)
    if spec.ordered and spec.once:
        raise InvalidField("/ordered", "cannot be given together with once: one signal has no order")
    for pointer, value in _ids(spec):
        if value is not None:
            check_id(value, pointer)


def _ids(spec: SubscriptionSpec) -> list[tuple[str, str | None]]:
    return [
        ("/executionId", spec.execution_id),
        ("/tenantId", spec.tenant_id),
        ("/businessKey", spec.business_key),
    ]


def _check_combinations(wanted: SubscriptionOptions, spec: SubscriptionSpec) -> SubscriptionSpec:
    if wanted.head_of_line is not None and not spec.ordered:
        raise InvalidField("/headOfLine", "is for an ordered subscription only")
    if (
        len(spec.targets) > 1
        and spec.timeout is not None
        and len(spec.targets) * spec.timeout.total_seconds() > _LONGEST
    ):
        raise InvalidField("/timeoutSeconds", f"is for each step; all steps may take at most {_LONGEST} seconds")
    return spec


def _read_targets(wanted: SubscriptionOptions, guard: Guard, before: Sequence[Target] = ()) -> tuple[Target, ...]:
    """Return the target of *wanted*, or those of its steps; *before* are those that they replace, in order."""
    if (wanted.target is None) == (wanted.steps is None):
        raise InvalidField("/target", "either `target` or `steps` is required")
    if wanted.target is not None:
        return (read_target(wanted.target, "/target", guard=guard, before=next(iter(before), None)),)
    steps = wanted.steps or []
    for position, step in enumerate(steps):
        if step.target.kind == Kind.PULL.value:
            raise InvalidField(
                f"/steps/{position}/target/kind",
                "cannot be `pull`: each step calls its target, and a pull target cannot be called",
            )
    return tuple(
        replace(
            read_target(step.target, f"/steps/{position}/target", guard=guard, before=replaced),
            description=step.description,
        )
        for position, (step, replaced) in enumerate(zip_longest(steps, before[: len(steps)]))
    )


def _check_same_way(before: Sequence[Target], after: Sequence[Target]) -> None:
    """Check that deliveries which are owed already still get where they are going.

    Raises:
        InvalidField: A pull target would become another one, or another one a pull target.
    """
    was, becomes = (targets[0].kind is Kind.PULL for targets in (before, after))
    if was != becomes:
        what = "a pull target" if was else "no pull target, and cannot become one"
        raise InvalidField(
            "/target", f"cannot be changed like that: it is {what}; make a new subscription, and delete this one"
        )


def _as_it_is(value: object) -> object:
    return value


def _read_schedule(retry: RetrySchema | None) -> tuple[timedelta, ...]:
    """Return the pauses that *retry* stands for.

    Raises:
        InvalidField: It has several attempts and an empty schedule.
    """
    if retry is None:
        return DEFAULT_SCHEDULE
    pauses = None if retry.schedule is None else [timedelta(seconds=seconds) for seconds in retry.schedule]
    try:
        return make_schedule(pauses, retry.max_attempts)
    except ValueError as error:
        raise InvalidField("/retry/maxAttempts", str(error)) from error


_CONVERTED: Mapping[str, tuple[str | None, Callable[[Any], object]]] = {
    "target": (None, _as_it_is),
    "steps": (None, _as_it_is),
    "filter": ("filter", lambda document: None if document is None else parse_filter(document)),
    "head_of_line": ("head_of_line", lambda policy: HeadOfLine(policy or HeadOfLine.BLOCK)),
    "retry": ("schedule", _read_schedule),
    "timeout_seconds": ("timeout", lambda seconds: None if seconds is None else timedelta(seconds=seconds)),
}
"""The options that are not attributes of a spec as they are: the attribute, and how it is read."""
