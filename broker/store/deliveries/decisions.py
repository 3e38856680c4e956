"""Decisions: whether a delivery that is redriven is owed at all, if it is dead because a filter exceeded its budget."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from broker.deliveries import EXCEEDED
from broker.matching import Exceeded, Matcher
from broker.store.deliveries.owing import consume
from broker.store.postgres.database import Database
from broker.store.postgres.statements import Statement, Statements
from broker.store.rows import read_signal, read_subscription
from broker.subscriptions import Subscription

_SECONDS = 1.0
"""How long decisions are made at a time, the time that others get meanwhile included."""

Key = tuple[int, int]


class _Sql(Statements, file="decisions.sql"):
    undecided: Statement
    signal: Statement
    subscriptions: Statement
    end: Statement


class Decided(NamedTuple):
    """What was decided of some deliveries.

    Args:
        owed: Those that may be redriven, in their order: it is known that they are owed.
        looked: How many were looked at, the first ones.
    """

    owed: list[Key]
    looked: int


class Decisions:
    """Decides whether signals match subscriptions whose filters exceeded their budgets, by the filters as they are now.

    Args:
        database: Where the deliveries are.
        matcher: Evaluates filters, by turns with what else uses it.
    """

    def __init__(self, database: Database, matcher: Matcher) -> None:
        self._database = database
        self._matcher = matcher

    async def decide(self, keys: Sequence[Key], *, dry_run: bool = False) -> Decided:
        """Decide which of the deliveries with these *keys* are owed; cancel the others, unless it is a *dry_run*.

        A delivery is not owed if the filter does not match the signal, or another signal has consumed the subscription.
        If the filter exceeds its budget again, the delivery stays dead.
        """
        undecided = await self._undecided(keys)
        if not undecided:
            return Decided(list(keys), len(keys))
        owed, mismatches, looked, clock = list[Key](), dict[Key, str](), 0, asyncio.get_running_loop().time
        subscriptions = await self._subscriptions(sorted({subscription_id for _, subscription_id in undecided}))
        end = clock() + _SECONDS
        for key in keys:
            looked += 1
            if key not in undecided:
                owed.append(key)
                continue
            with suppress(Exceeded):
                mismatch = await self._mismatch(key[0], subscriptions[key[1]], dry_run=dry_run)
                if mismatch is None:
                    owed.append(key)
                else:
                    mismatches[key] = mismatch
            if clock() > end:
                break
        if mismatches and not dry_run:
            await self._database.execute(
                _Sql.end,
                signal_ids=[signal_id for signal_id, _ in mismatches],
                subscription_ids=[subscription_id for _, subscription_id in mismatches],
                reasons=list(mismatches.values()),
                exceeded=EXCEEDED,
            )
        return Decided(owed, looked)

    async def _undecided(self, keys: Sequence[Key]) -> set[Key]:
        rows = await self._database.fetch(
            _Sql.undecided,
            signal_ids=[signal_id for signal_id, _ in keys],
            subscription_ids=[subscription_id for _, subscription_id in keys],
            exceeded=EXCEEDED,
        )
        return {(row["signal_id"], row["subscription_id"]) for row in rows}

    async def _subscriptions(self, ids: Sequence[int]) -> dict[int, Subscription]:
        rows = await self._database.fetch(_Sql.subscriptions, subscription_ids=ids)
        return {row["id"]: read_subscription(row) for row in rows}

    async def _mismatch(self, signal_id: int, subscription: Subscription, *, dry_run: bool) -> str | None:
        """Return why the signal is not owed; a `once` subscription that it matches is consumed by it."""
        row = await self._database.fetchrow(_Sql.signal, signal_id=signal_id)
        if row is None:
            return None  # it was dropped just now, and its deliveries with it
        signal = read_signal(row)
        async with self._matcher.slice() as turn:
            mismatch = await self._matcher.mismatch(subscription, signal, turn)
        if mismatch is None and subscription.spec.once and not dry_run and subscription.consumed_by is None:
            async with self._database.transaction() as session:
                if not await consume(session, {subscription.id: signal}):
                    return "another signal consumed the subscription"
        return mismatch
