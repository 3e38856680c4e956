"""Matches: signals are matched with subscriptions before the transaction that records them, which confirms the result.

A subscription that was created, or changed, before a signal was accepted is read here as it is then: that is committed
before the signal gets its id, and the signal is read after that. What changes later may be seen or not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from broker.matching import Matcher
from broker.signals import Scope, Signal
from broker.slices import Slice
from broker.store.postgres.database import Database, Session
from broker.store.subscriptions.candidates import Candidates, find_candidates, find_changed
from broker.subscriptions import Subscription

Pairs = list[tuple[Signal, Subscription]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one recording does.

    Args:
        pairs: How many pairs of a signal and a subscription are matched for one transaction.
        seconds: How long that takes at most; one signal is always matched.
        deliveries: How many deliveries one transaction records, unless a single signal is owed to more.
        rows: How many of them one statement inserts or returns.
        wide: How many subscriptions are read at most of a name, or of an execution, and
        candidates: how many are read together. A signal that more may match is wide (see `broker.store.signals.wide`).
        chunk: How many subscriptions one transaction decides about for a wide signal.
    """

    pairs: int = 50_000
    seconds: float = 0.5
    deliveries: int = 2_000
    rows: int = 5_000
    wide: int = 12_000
    candidates: int = 30_000
    chunk: int = 2_500


@dataclass(frozen=True, slots=True, kw_only=True)
class Matches:
    """What signals match.

    Args:
        signals: The signals, in the order of their ids.
        left: Those that are not matched yet.
        versions: The versions of all subscriptions that were looked at, by their ids.
        matching: The pairs that match.
        exceeded: The pairs whose filters exceeded their budgets.
        wide: Whether there is only one signal, and it is wide: only the subscriptions were matched that filters find.
        everything: Whether not even these were matched, as they are too many.
        doubtful: Those of `left`, by their ids, that may be wide.
    """

    signals: Sequence[Signal]
    left: Sequence[Signal]
    versions: Mapping[int, int]
    matching: Pairs
    exceeded: Pairs
    wide: bool = False
    everything: bool = False
    doubtful: frozenset[int] = frozenset()

    def only(self, signal_ids: Collection[int]) -> Matches:
        """Return the signals with these ids, and what they match."""
        return replace(
            self,
            signals=[signal for signal in self.signals if signal.id in signal_ids],
            matching=[pair for pair in self.matching if pair[0].id in signal_ids],
            exceeded=[pair for pair in self.exceeded if pair[0].id in signal_ids],
        )


class Outdated(Exception):
    """Raised when a subscription asks for other signals than when they were matched; that has to be repeated."""


async def find_matches(database: Database, matcher: Matcher, signals: Sequence[Signal], limits: Limits) -> Matches:
    """Match as many of *signals* as one transaction should record: those first that few subscriptions may match.

    So one that is owed to few does not wait until those before it are recorded that are owed to many. Those that may be
    wide come last, each alone.
    """
    async with matcher.slice() as turn:
        asked, doubtful = signals, set[int]()
        while True:
            candidates = await find_candidates(
                database, asked, turn, matcher=matcher, most=limits.wide, total=limits.candidates
            )
            complete = [signal for signal in asked if candidates.are_complete(signal)]
            if not candidates.are_cut:
                doubtful |= {signal.id for signal in asked} - {signal.id for signal in complete}
            if complete or len(asked) == 1:
                break
            asked = asked[: max(1, len(asked) // 8) if candidates.are_cut else 1]  # fewer may have less together
        if complete:
            matches = await _match(matcher, complete, candidates, limits, turn)
        else:
            matches = await _find_filtered(database, matcher, asked[0], limits, turn, most=limits.wide)
    known = {signal.id for signal in matches.signals}
    return replace(
        matches,
        left=[signal for signal in signals if signal.id not in known],
        doubtful=frozenset(doubtful - known),
    )


async def find_filtered(database: Database, matcher: Matcher, signal: Signal, limits: Limits) -> Matches:
    """Match a wide *signal* with the subscriptions that filters find, of which there were not many before."""
    async with matcher.slice() as turn:
        return await _find_filtered(database, matcher, signal, limits, turn)


async def _find_filtered(
    database: Database, matcher: Matcher, signal: Signal, limits: Limits, turn: Slice, *, most: int | None = None
) -> Matches:
    matches = Matches(signals=[signal], left=[], versions={}, matching=[], exceeded=[], wide=True, everything=True)
    if signal.throw.scope is Scope.EXECUTION:
        return matches
    total = None if most is None else limits.candidates
    candidates = await find_candidates(
        database, [signal], turn, matcher=matcher, most=most, total=total, only_filtered=True
    )
    if not candidates.are_complete(signal):
        return matches
    return replace(await _match(matcher, [signal], candidates, limits, turn), wide=True)


async def _match(
    matcher: Matcher, signals: Sequence[Signal], candidates: Candidates, limits: Limits, turn: Slice
) -> Matches:
    matching: Pairs = []
    exceeded: Pairs = []
    matched: list[Signal] = []
    pairs = 0
    began = perf_counter()
    counts = {signal.id: candidates.count(signal) for signal in signals}
    for signal in sorted(signals, key=lambda one: (counts[one.id], one.id)):
        pairs += counts[signal.id]
        if matched and (pairs > limits.pairs or perf_counter() - began > limits.seconds):
            break
        if not counts[signal.id]:
            matched.append(signal)
            continue
        result = await matcher.match(signal, candidates.of(signal), turn)
        signal.context.forget()  # a parsed payload takes many times the memory of its text
        owed = len(matching) + len(exceeded) + len(result.matching) + len(result.exceeded)
        if matched and owed > limits.deliveries:
            break
        matching += [(signal, subscription) for subscription in result.matching]
        exceeded += [(signal, subscription) for subscription in result.exceeded]
        matched.append(signal)
    return Matches(
        signals=sorted(matched, key=lambda signal: signal.id),
        left=[],
        versions=candidates.versions,
        matching=sorted(matching, key=lambda pair: pair[0].id),
        exceeded=exceeded,
    )


async def confirm(session: Session, matches: Matches, *, strictly: bool) -> Matches:
    """Return *matches* with the subscriptions as they are now.

    *strictly*: whether it counts if one asks for other signals now. If that changes again and again, what it was when
    the signals were matched is right as well.

    Raises:
        Outdated: One of the subscriptions asks for other signals now.
    """
    matched = {subscription.id: subscription for _, subscription in (*matches.matching, *matches.exceeded)}
    if not matched:
        return matches
    changed = await find_changed(session, {key: matches.versions[key] for key in matched})
    if strictly and any(
        (now.spec, now.disabled_because) != (matched[now.id].spec, matched[now.id].disabled_because)
        for now in changed.values()
    ):
        raise Outdated
    return replace(
        matches, matching=_brought_up(matches.matching, changed), exceeded=_brought_up(matches.exceeded, changed)
    )


def _brought_up(pairs: Pairs, changed: Mapping[int, Subscription]) -> Pairs:
    """Return *pairs* with the *changed* subscriptions, without those that another signal consumed."""
    if not changed:
        return pairs
    return [
        (signal, now)
        for signal, subscription in pairs
        if (now := changed.get(subscription.id, subscription)).consumed_by in {None, signal.id}
    ]
