"""Ending: attempts with effects beyond their delivery, on concurrency slots, circuits and ordering groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from broker.circuits import Phase, is_up
from broker.deliveries import DeliveryState, DueAttempt, Outcome
from broker.store.deliveries.admission import admit_waiting, disable_subscriptions, free_slots, lock_admission
from broker.store.deliveries.attempts import Ended, end
from broker.store.deliveries.circuits import judge_circuits
from broker.store.deliveries.ordering import advance_groups_of
from broker.store.postgres.database import Database, Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """What the end of an attempt brought about beyond its delivery.

    Args:
        due_attempts: Attempts that may be made now, because it freed a concurrency slot or was first of its group.
        disabled: Whether it disabled its subscription.
        circuit: The phase of its target's circuit, if it opened or closed it.
    """

    due_attempts: Sequence[DueAttempt] = ()
    disabled: bool = False
    circuit: Phase | None = None


NO_EFFECTS = Effects()


def affects_others(ended: Ended) -> bool:
    """Return whether the end of an attempt may have effects beyond its delivery."""
    return _advances_group(ended) or _affects_subscription(ended)


def can_hand_on(ended: Ended) -> bool:
    """Return whether an attempt has succeeded, and its end has no other effect than to advance its ordering group."""
    return ended.in_group and ended.state is DeliveryState.DELIVERED and not _affects_subscription(ended)


def _affects_subscription(ended: Ended) -> bool:
    """Return whether the end of an attempt has effects on slots or circuits, or disables its subscription."""
    return (
        ended.admitted.slot
        or ended.result.outcome is Outcome.GONE
        or any(
            admitted.circuit or (address is not None and is_up(result) is False)
            for address, result, admitted in ended.calls
        )
    )


def _advances_group(ended: Ended) -> bool:
    """Return whether the next delivery of the same ordering group may go now."""
    return ended.in_group and ended.ends_delivery


async def end_with_effects(database: Database, batch: Sequence[Ended], *, rescue_after: timedelta) -> list[Effects]:
    """End the attempts of *batch*: free their concurrency slots, judge their circuits, advance their ordering groups.

    An attempt that was overtaken leaves its delivery alone. *rescue_after*: when the message of a delivery that may go
    now is given up for lost.
    """
    async with database.transaction() as session:
        return await end_in(session, batch, rescue_after=rescue_after)


async def end_in(session: Session, batch: Sequence[Ended], *, rescue_after: timedelta) -> list[Effects]:
    """Do what `end_with_effects` does, as a part of a transaction."""
    with_slots = [ended.due for ended in batch if ended.admitted.slot]
    limited = Counter(due.subscription_id for due in with_slots)
    gone = {ended.due.subscription_id for ended in batch if ended.result.outcome is Outcome.GONE}
    over = [ended for ended in batch if _advances_group(ended)]
    states = await lock_admission(session, limited.keys() | gone)
    changed = await judge_circuits(session, batch)
    disabled = await disable_subscriptions(session, gone)
    await end(session, batch)
    await free_slots(session, with_slots)
    waiting = {key: count for key, count in limited.items() if key in states and states[key]["held"]}
    due_attempts = await admit_waiting(session, waiting, rescue_after=rescue_after) if waiting else []
    due_attempts += await _advance(session, over, rescue_after)
    return _effects(batch, due_attempts, disabled, changed)


async def advance_after(database: Database, batch: Sequence[Ended], *, rescue_after: timedelta) -> list[Effects]:
    """Advance the ordering groups of attempts whose ends are stored."""
    async with database.transaction() as session:
        due_attempts = await _advance(session, batch, rescue_after)
    return _effects(batch, due_attempts, set(), {})


async def _advance(session: Session, over: Sequence[Ended], rescue_after: timedelta) -> list[DueAttempt]:
    keys = [(ended.due.signal_id, ended.due.subscription_id) for ended in over]
    return await advance_groups_of(session, keys, rescue_after=rescue_after)


def _effects(
    batch: Sequence[Ended], due_attempts: Iterable[DueAttempt], disabled: set[int], changed: Mapping[int, Phase]
) -> list[Effects]:
    """Return the effects of each attempt; of several of one subscription, the first one gets those that they share."""
    by_subscription: dict[int, list[DueAttempt]] = {}
    for due in due_attempts:
        by_subscription.setdefault(due.subscription_id, []).append(due)
    effects = []
    for position, ended in enumerate(batch):
        key = ended.due.subscription_id
        effects.append(
            Effects(due_attempts=by_subscription.pop(key, ()), disabled=key in disabled, circuit=changed.get(position))
        )
        disabled.discard(key)
    return effects
