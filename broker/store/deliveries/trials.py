"""Trials: of all deliveries that wait for a target, one goes to try it; once it has succeeded, the others follow.

However many wait, a target that is down costs one delivery for each window of its circuit (`broker.circuits`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta

from broker.store.deliveries.admission import lock_free_admission
from broker.store.deliveries.circuits import TargetKey
from broker.store.postgres.database import Database, Row, Session
from broker.store.postgres.statements import Statement, Statements
from broker.store.rows import read_subscription

_LIMIT = 200
"""How many circuits one sweep looks at."""
_SUBSCRIPTIONS = 1_000
"""How many subscriptions one search for what is forsaken looks at."""
_PATIENCE = timedelta(seconds=10)
"""For how long a delivery that was let go may be on its way to the target, until another one is let go."""


class _Sql(Statements, file="trials.sql"):
    find: Statement
    lock: Statement
    begin_trials: Statement
    note_idle: Statement
    catch_up: Statement
    find_forsaken: Statement


class TrialStore:
    """Lets deliveries go that wait for targets."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen = 0
        """The last subscription that `find_forsaken` has looked at."""

    async def sweep(self) -> int:
        """Let deliveries go to try their targets, and all that wait for those that succeeded; return how many targets.

        Subscriptions on which another session decides at this moment are left out.
        """
        found = await self._database.fetch(_Sql.find, limit=_LIMIT, patience=_PATIENCE.total_seconds())
        if not found:
            return 0
        async with self._database.transaction() as session:
            locked = await lock_free_admission(session, {row["subscription_id"] for row in found})
            circuits = [row for row in found if row["subscription_id"] in locked]
            closed = await _lock(session, [row for row in circuits if row["closed"]], closed=True)
            open_ = await _lock(session, [row for row in circuits if not row["closed"]], closed=False)
            tried = await _begin_trials(session, [row for row in circuits if _key(row) in open_])
            if closed:
                await session.execute(_Sql.catch_up, subscription_ids=[key.subscription_id for key in closed])
            idle = [*closed, *(open_ - tried)]
            if idle:
                await session.execute(_Sql.note_idle, **_columns(idle))
        return len(closed) + len(tried)

    async def find_forsaken(self) -> int:
        """Let what waits for circuits that are not there any more go on; return for how many subscriptions.

        Each call looks at the next few subscriptions that have waiting deliveries.
        """
        rows = await self._database.fetch(_Sql.find_forsaken, after=self._seen, limit=_SUBSCRIPTIONS)
        self._seen = rows[-1]["id"] if len(rows) == _SUBSCRIPTIONS else 0
        forsaken = [row["id"] for row in rows if row["forsaken"]]
        if forsaken:
            async with self._database.transaction() as session:
                locked = await lock_free_admission(session, forsaken)
                await session.execute(_Sql.catch_up, subscription_ids=list(locked))
        return len(forsaken)


def _key(row: Row) -> TargetKey:
    return TargetKey(row["subscription_id"], row["address"])


def _columns(keys: Collection[TargetKey]) -> dict[str, list[int] | list[str]]:
    return {
        "subscription_ids": [subscription_id for subscription_id, _ in keys],
        "addresses": [address for _, address in keys],
    }


async def _lock(session: Session, rows: Sequence[Row], *, closed: bool) -> set[TargetKey]:
    """Lock the circuits in *rows*, as far as they still are as they were."""
    if not rows:
        return set()
    found = await session.fetch(_Sql.lock, **_columns([_key(row) for row in rows]), closed=[closed] * len(rows))
    return {_key(row) for row in found}


async def _begin_trials(session: Session, rows: Sequence[Row]) -> set[TargetKey]:
    """Let one delivery go for each of the targets in *rows*; return those for which one was waiting."""
    steps = {}
    for row in rows:
        targets = read_subscription(row["subscription"]).spec.targets
        positions = [position for position, target in enumerate(targets) if target.circuit == row["address"]]
        if positions:  # else it is a former target
            steps[_key(row)] = positions[-1]
    if not steps:
        return set()
    found = await session.fetch(_Sql.begin_trials, **_columns(steps), steps=list(steps.values()))
    return {_key(row) for row in found}
