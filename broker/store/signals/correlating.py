"""Correlating: a message is recorded at once, with the subscriptions that it was correlated with and no others."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from broker.matching import Matcher
from broker.signals import Signal, Throw
from broker.store.partitions.partitions import PartitionStore
from broker.store.postgres.database import Database, Session, Unplaced
from broker.store.postgres.statements import Statement, Statements
from broker.store.rows import read_candidate
from broker.store.signals.matches import Limits, Matches, Outdated
from broker.store.signals.recording import Overtaken, record
from broker.store.signals.signals import IdempotencyKey
from broker.subscriptions import Subscription

_LAST_NUMBER = (1 << 63) - 1
_SURROGATE = re.compile("[\ud800-\udfff]")


_CONDITIONS = {
    "execution_id": "execution_id = :execution_id",
    "business_key": "name = :name AND business_key = :business_key",
    "keys": "correlation_keys @> :keys::jsonb",
}
"""What subscriptions have that a message may name, each as an index has it; those first that few have in common."""


class _Sql(Statements, file="correlating.sql"):
    find: Statement
    find_in_executions: Statement
    find_outside: Statement
    owed: Statement
    was_accepted: Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What a message names of the subscription that it is for, besides its name; None names nothing.

    Args:
        in_execution: Whether it waits in an execution.
        execution_id: The execution.
        business_key: Its business key.
        keys: Its correlation keys, as far as they are named; any JSON.
    """

    in_execution: bool
    execution_id: str | None = None
    business_key: str | None = None
    keys: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Correlatable:
    """A subscription that a message may be correlated with, and its version, which changes whenever it does."""

    subscription: Subscription
    version: int


@dataclass(frozen=True, slots=True)
class Receiver:
    """What a message was correlated with: a subscription, with its tenant and its execution, if it has them."""

    id: int
    tenant_id: str | None
    execution_id: str | None


class CorrelationStore:
    """Finds what messages can be correlated with, and records them.

    Args:
        database: Where the subscriptions are.
        matcher: Evaluates their filters.
    """

    def __init__(self, database: Database, *, matcher: Matcher) -> None:
        self._database = database
        self._matcher = matcher
        self._limits = Limits()

    async def find(self, throw: Throw, named: Named, *, most: int) -> tuple[list[Correlatable], bool]:
        """Return up to *most* subscriptions of exactly its name that *throw* can be correlated with now.

        Return also whether these are all: the filters are looked at of the first *most* that have what is *named*.
        """
        chosen = _choose(named)
        if chosen is None:
            return [], True
        statement, given = chosen
        rows = await self._database.fetch(statement, name=throw.name, most=most + 1, **given)
        versions = {row["id"]: row["version"] for row in rows[:most]}
        candidates = [read_candidate(row) for row in rows[:most]]
        signal = Signal(id=_LAST_NUMBER, created_at=datetime.now(UTC), throw=throw)
        async with self._matcher.slice() as turn:
            matched = await self._matcher.match(signal, candidates, turn)
        fit = sorted(matched.matching, key=lambda subscription: subscription.id)
        return [Correlatable(one, versions[one.id]) for one in fit], len(rows) <= most

    async def record(
        self,
        signal: Signal,
        correlated: Sequence[Correlatable],
        *,
        rescue_after: timedelta,
        first: Callable[[Session], Awaitable[bool]] | None = None,
    ) -> bool:
        """Record *signal*, owed to those *correlated*; return whether that happened: all of them still receive it.

        Otherwise nothing happened. *rescue_after*: how long the deliveries wait for their messages. *first* is done
        first in the same transaction; if it returns False, nothing is recorded.
        """
        matches = Matches(
            signals=[signal],
            left=[],
            versions={one.subscription.id: one.version for one in correlated},
            matching=[(signal, one.subscription) for one in correlated],
            exceeded=[],
        )
        while True:
            try:
                async with self._database.transaction() as session:
                    if first is not None and not await first(session):
                        return False
                    await _record_all(session, matches, rescue_after, self._limits)
            except (Outdated, Overtaken):
                return False
            except Unplaced:
                if not await PartitionStore(self._database).cover([signal.id]):
                    raise
            else:
                return True

    async def owed(self, signal_id: int) -> list[Receiver] | None:
        """Return what a recorded message was correlated with; None if there is no such message."""
        rows = await self._database.fetch(_Sql.owed, signal_id=signal_id)
        owed = [Receiver(row["id"], row["tenant_id"], row["execution_id"]) for row in rows if row["id"] is not None]
        return owed if rows else None

    async def was_accepted(self, key: IdempotencyKey) -> bool:
        """Return whether a message with that *key* was recorded, or buffered, within the time that the key counts."""
        return bool(await self._database.fetchval(_Sql.was_accepted, principal=key.principal, key=key.key))


async def _record_all(session: Session, matches: Matches, rescue_after: timedelta, limits: Limits) -> None:
    """Record a signal that is owed to all that *matches* says.

    Raises:
        Outdated: One of them no longer receives it, or asks for other signals now.
        Overtaken: It was recorded just now.
    """
    recorded = await record(session, matches, strictly=True, rescue_after=rescue_after, limits=limits)
    if recorded.repeats:
        raise Overtaken
    if len(recorded.due_attempts) < len(matches.matching):
        raise Outdated


def _choose(named: Named) -> tuple[Statement, dict[str, object]] | None:
    """Return the statement that finds what is *named*, and its parameters; None: no subscription can have it."""
    if not named.in_execution:
        return _Sql.find_outside, {}
    given: dict[str, object] = {}
    if named.execution_id is not None:
        given["execution_id"] = named.execution_id
    if named.business_key is not None:
        given["business_key"] = named.business_key
    if named.keys:
        if not all(map(_is_storable, (*named.keys, *named.keys.values()))):
            return None
        given["keys"] = json.dumps(named.keys)
    if not given:
        return _Sql.find_in_executions, {}
    found, *others = (_CONDITIONS[name] for name in given)
    return _Sql.find.naming(found=found, named=" AND ".join(others) or "true"), given


def _is_storable(value: Any) -> bool:
    """Return whether a correlation key can have this name, or this value."""
    if isinstance(value, str):
        return "\0" not in value and not _SURROGATE.search(value)
    return value is None or isinstance(value, bool | int | float)
