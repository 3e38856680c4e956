"""The books of the intake: every signal that was accepted is recorded, on its way there, poison, or lost.

    answered -> reported (every second) -> awaiting --recorded--> struck out
                                              |                       ^
                             a minute later   +--> poison (in the dead queue)
                             still unrecorded +--> lost (nowhere)

Neither a queue nor a recorder says *which* signals it holds, only how many. So a signal is lost once it must be: for a
while the record queue has been empty, or signals behind it were recorded; no recorder has held a message for long, or
fallen silent; and the dead queue does not hold it. A queue whose leader cannot be reached looks empty, too, so the
record queue has to confirm a message before and after that while. Until all that is certain, what is missing counts as
unaccounted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from broker.store.postgres.database import Database, Session
from broker.store.postgres.statements import Statement, Statements

Range = tuple[int, int]
"""Consecutive ids: the first and the last one."""

LOST_AFTER = timedelta(seconds=45)
"""For how long a signal is missing before the judgement on it begins; with the grace, it is lost within a minute."""
HELD_LONG = timedelta(seconds=5)
"""A message that a recorder has held for longer is held for long. Less than the grace, to be noticed in time."""
_FRESH = timedelta(seconds=5)
"""A recorder that has reported nothing for so long has ended, or hangs."""
_REPORTS = 1000
_ROWS = 100
"""How many reports are entered, and how many rows are looked at, at a time."""


class _Sql(Statements, file="intake_books.sql"):
    report_accepted: Statement
    report_held: Statement
    forget_recorder: Statement
    try_lock: Statement
    take_reports: Statement
    strike_recorded: Statement
    forget_recorders: Statement
    count: Statement
    recorders: Statement
    passed: Statement
    move_old: Statement
    return_poison: Statement
    forget_pending_records: Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDepths:
    """How many messages are ready in the record queue, and in its dead queue."""

    record: int
    dead: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeBalance:
    """Where the accepted signals are that are not recorded.

    Args:
        awaiting: On the way to their record, as far as the books know.
        overdue: Those of `awaiting` that were reported a minute ago or earlier.
        poison: In the dead queue.
        lost: Nowhere.
        held: Messages that recorders hold.
        stuck: Whether a recorder has held one of them for long.
        silent: Whether a recorder that seems to hang may hold more.
        oldest: For how long the oldest signal has been awaiting its record.
    """

    awaiting: int
    overdue: int
    poison: int
    lost: int
    held: int
    stuck: bool
    silent: bool
    oldest: timedelta

    def awaiting_record(self, depths: QueueDepths) -> int:
        """Return how many signals await their record: those in sight, or more if the books know of more."""
        poison = max(0, depths.dead - self.poison)  # not in the books yet
        return max(depths.record + self.held, self.awaiting - self.unaccounted(depths) - poison)

    def unaccounted(self, depths: QueueDepths) -> int:
        """Return how many of the accepted signals are neither recorded, awaiting, poison nor lost.

        That is, how many overdue signals there are beyond what the record queue, the recorders and the dead queue hold.
        """
        if self.silent:
            return 0
        return max(0, self.overdue - depths.record - self.held - max(0, depths.dead - self.poison))


class IntakeBooks:
    """Keeps the books of the intake.

    Args:
        database: Where they are.
        lost_after: For how long a signal must be missing before it can be lost; a sixth of that is the grace.
    """

    def __init__(self, database: Database, *, lost_after: timedelta = LOST_AFTER) -> None:
        self._database = database
        self._age = lost_after
        self._grace = lost_after / 6
        self._strangers = _Strangers(window=1.5 * lost_after)
        self._missing_since: float | None = None
        self._proofs = 0
        """How many of the messages in the record queue are proofs."""

    async def report_accepted(self, ranges: Sequence[Range]) -> None:
        """Report that the throws of the signals in *ranges* were answered."""
        numbers = ",".join(f"[{first},{last}]" for first, last in ranges)
        await self._database.execute(_Sql.report_accepted, numbers=f"{{{numbers}}}")

    async def report_held(self, recorder: str, held: int, *, stuck: bool) -> None:
        """Report how many messages *recorder* holds, and whether it has held one of them for long."""
        await self._database.execute(_Sql.report_held, name=recorder, held=held, stuck=stuck)

    async def forget_recorder(self, recorder: str) -> None:
        """Note that *recorder* has ended and holds nothing."""
        await self._database.execute(_Sql.forget_recorder, name=recorder)

    async def balance(self) -> IntakeBalance:
        """Return where the accepted signals are."""
        async with self._database.transaction() as session:
            return await self._balance(session)

    async def fold(self) -> None:
        """Enter the newest reports and strike out recorded signals; one scheduler at a time does so."""
        async with self._database.transaction() as session:
            if await session.fetchval(_Sql.try_lock):
                await self._fold(session)

    async def judge(self, depths: QueueDepths, *, prove: Callable[[], Awaitable[bool]]) -> Sequence[Range]:
        """Find out what has become of overdue signals, given what the queues hold now; return those lost just now.

        Pending records of poison and of lost signals are forgotten.

        Args:
            depths: What the queues seem to hold. A queue whose leader cannot be reached seems to be empty.
            prove: Publishes a recorded signal again, to prove that the record queue has its leader; returns whether
                it did. Called before and after the grace. It may raise, and then the grace begins anew.
        """
        depths = replace(depths, record=max(0, depths.record - self._proofs))
        async with self._database.transaction() as session:
            balance = await self._balance(session)
            strangers = self._strangers.note(depths.dead - balance.poison, certain=not balance.overdue)
            if balance.poison > depths.dead:
                await session.execute(_Sql.return_poison)
                return ()
            if not await self._are_missing(session, balance, depths):
                self._missing_since, self._proofs = None, 0
                return ()
        now = asyncio.get_running_loop().time()
        if self._missing_since is None:
            await self._prove(prove)
            self._missing_since = now
        if now - self._missing_since < self._grace.total_seconds():
            return ()
        await self._prove(prove)
        async with self._database.transaction() as session:
            if not await session.fetchval(_Sql.try_lock):
                return ()
            return await self._pronounce(session, depths.dead - strangers)

    async def _prove(self, prove: Callable[[], Awaitable[bool]]) -> None:
        try:
            self._proofs += await prove()
        except BaseException:
            self._missing_since, self._proofs = None, 0
            raise

    async def _pronounce(self, session: Session, dead: int) -> Sequence[Range]:
        """Move what is overdue to the lost signals, or to poison if that explains the *dead* messages."""
        await session.execute(_Sql.strike_recorded, limit=None)
        balance = await self._balance(session)
        unexplained = dead - balance.poison
        if unexplained > 0 and balance.overdue > unexplained:
            return ()  # some of them are poison, but it is unknown which
        return await self._move_old(session, "poison" if unexplained > 0 else "lost")

    async def _fold(self, session: Session) -> None:
        await session.execute(_Sql.take_reports, limit=_REPORTS, span=self._age / 12)
        await session.execute(_Sql.strike_recorded, limit=_ROWS)
        await session.execute(_Sql.forget_recorders)

    async def _balance(self, session: Session) -> IntakeBalance:
        rows = {(row["kind"], row["old"]): row for row in await session.fetch(_Sql.count, age=self._age)}
        recorders = await session.fetchrow(_Sql.recorders, age=self._age, fresh=_FRESH)
        assert recorders is not None  # noqa: S101  (an aggregate always has a row)
        count = {key: row["n"] for key, row in rows.items()}
        ages = [row["age"] or 0 for (kind, _), row in rows.items() if kind == "awaiting"]
        overdue = count.get(("awaiting", True), 0)
        return IntakeBalance(
            awaiting=overdue + count.get(("awaiting", False), 0),
            overdue=overdue,
            poison=count.get(("poison", True), 0) + count.get(("poison", False), 0),
            lost=count.get(("lost", True), 0) + count.get(("lost", False), 0),
            held=recorders["held"],
            stuck=recorders["stuck"],
            silent=recorders["silent"],
            oldest=timedelta(seconds=max(0, *ages, 0)),
        )

    async def _are_missing(self, session: Session, balance: IntakeBalance, depths: QueueDepths) -> bool:
        """Return whether overdue signals are out of sight."""
        in_sight = balance.stuck or balance.silent or (depths.record and not await self._are_passed(session))
        return balance.overdue > 0 and not in_sight

    async def _are_passed(self, session: Session) -> bool:
        return bool(await session.fetchval(_Sql.passed, age=self._age, grace=self._grace))

    async def _move_old(self, session: Session, kind: str) -> list[Range]:
        rows = await session.fetch(_Sql.move_old, age=self._age, kind=kind)
        moved = [(row["first_id"], row["last_id"]) for row in rows]
        await session.execute(
            _Sql.forget_pending_records, firsts=[first for first, _ in moved], lasts=[last for _, last in moved]
        )
        return moved if kind == "lost" else []


class _Strangers:
    """Learns how many messages of the dead queue are no signals that the books miss: garbage, say.

    These have been there for *window* without a signal being missed.
    """

    def __init__(self, *, window: timedelta) -> None:
        self._window = window.total_seconds()
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, unclaimed: int, *, certain: bool) -> int:
        """Note so many *unclaimed* messages, *certain* if no signal is overdue; return how many are strangers."""
        now = asyncio.get_running_loop().time()
        if certain:
            self._seen.append((now, unclaimed))
        while len(self._seen) > 1 and self._seen[1][0] < now - self._window:
            self._seen.popleft()
        if not self._seen or now - self._seen[0][0] < self._window:
            return 0
        return max(0, min(count for _, count in self._seen))
