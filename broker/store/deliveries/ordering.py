"""Lines in PostgreSQL: the deliveries of an ordered subscription with one ordering key, which go one after the other.

    thrown -> answered -------------------> recorded -----------------------------------------> promoted -> delivered
              (`expect`: who is thrown      (`line_up`: it gets its turn, unless a signal        when the one before
              later waits for it)           is expected that was thrown before it)               has ended

Turns are in the order of ids, and so in the order in which throws were answered, as far as that can be told: a throw
that was not answered when a later one was recorded comes after it, and does so in every line.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta

from broker.deliveries import DueAttempt
from broker.store.postgres.database import Database, Session
from broker.store.postgres.statements import load
from broker.store.rows import read_due

_SQL = load("broker.store.deliveries", "ordering")
_KEYS = 100
"""How many keys one sweep settles."""
_GROUPS = 200
"""How many lines one sweep looks at."""

Group = tuple[int, str]
"""A subscription's id and an ordering key."""

_START: Group = (0, "")


class OrderingStore:
    """Expects signals, and sees to it that no line stands still for nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen = _START

    async def expect(self, batch: Sequence[tuple[int, str]]) -> list[None]:
        """Note that the throws of these signals (ids, ordering keys) are about to be answered."""
        await self._database.execute(_SQL.expect, [signal_id for signal_id, _ in batch], [key for _, key in batch])
        return [None] * len(batch)

    async def sweep(self, *, rescue_after: timedelta) -> list[DueAttempt]:
        """Let go on what stands still though it may go; return the attempts that may be made now.

        That is: signals for later whose moment has come get into their lines; so do those whose predecessors came in
        another way than expected; and lines go on whose dead delivery was redriven, say. Each call looks at the next
        few of the lines in which somebody waits.
        """
        keys = [row["ordering_key"] for row in await self._database.fetch(_SQL.keys_to_settle, _KEYS)]
        lines = await self._idle()
        if not keys and not lines:
            return []
        async with self._database.transaction() as session:
            await lock_keys(session, {*keys, *(key for _, key in lines)})
            await session.execute(_SQL.line_up, keys)
            return await promote(session, {*lines, *await give_turns(session, keys)}, rescue_after=rescue_after)

    async def _idle(self) -> list[Group]:
        rows = await self._database.fetch(_SQL.idle_lines, *self._seen, _GROUPS)
        self._seen = (rows[-1]["subscription_id"], rows[-1]["ordering_key"]) if len(rows) == _GROUPS else _START
        return [(row["subscription_id"], row["ordering_key"]) for row in rows if row["idle"]]

    async def expected_for(self) -> timedelta:
        """Return for how long the longest expected signal has been expected."""
        seconds = await self._database.fetchval(_SQL.expected_for)
        return timedelta(seconds=float(seconds or 0))

    async def forget_expected(self, *, older_than: timedelta | None = None) -> int:
        """Forget expected signals that are recorded, and those *older_than* that; return how many were not recorded."""
        return int(await self._database.fetchval(_SQL.forget_expected, older_than))


async def lock_keys(session: Session, keys: Collection[str]) -> None:
    """Lock ordering keys until the transaction of *session* is over."""
    if keys:
        await session.execute(_SQL.lock_keys, keys)


async def cease_expecting(session: Session, signal_ids: Collection[int]) -> None:
    """Note that these signals are recorded."""
    await session.execute(_SQL.cease_expecting, signal_ids)


async def give_turns(session: Session, keys: Collection[str]) -> set[Group]:
    """Give the deliveries of locked *keys* their turns, as far as they are certain; return their lines."""
    rows = await session.fetch(_SQL.give_turns, keys) if keys else []
    return {(row["subscription_id"], row["ordering_key"]) for row in rows}


async def promote(session: Session, lines: Iterable[Group], *, rescue_after: timedelta) -> list[DueAttempt]:
    """Let the next delivery of each of *lines* go whose turn it is; their keys are locked. Return the attempts."""
    pairs = sorted(lines)
    if not pairs:
        return []
    return read_due(
        await session.fetch(
            _SQL.promote,
            [subscription_id for subscription_id, _ in pairs],
            [key for _, key in pairs],
            rescue_after.total_seconds(),
        )
    )


async def move_on(
    session: Session, deliveries: Collection[tuple[int, int]], *, rescue_after: timedelta
) -> list[DueAttempt]:
    """Let go on the lines of *deliveries* (signals, subscriptions) that have ended; return the attempts."""
    if not deliveries:
        return []
    ids = [signal_id for signal_id, _ in deliveries], [subscription_id for _, subscription_id in deliveries]
    lines = {(row["subscription_id"], row["ordering_key"]) for row in await session.fetch(_SQL.lines_of, *ids)}
    await lock_keys(session, {key for _, key in lines})
    return await promote(session, lines, rescue_after=rescue_after)
