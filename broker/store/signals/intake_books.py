"""The books of the intake: every signal that was accepted is recorded, on its way there, poison, or lost.

    answered -> reported (every second) -> awaiting --recorded--> struck out
                                            ^ |                       ^
                        purged or recovered | +--> poison (in the dead queue, where it was seen)
                                            +-+    ^
                             a minute later   |    | it was seen after all
                             still unrecorded +--> lost (nowhere)

Neither the record queue nor a recorder says *which* signals it holds, only how many. So a signal is lost once it must
be: for a while the record queue has been empty, or signals behind it were recorded; no recorder has held a message for
long, lost its consumer lately, or stopped reporting; the queue has no other consumers; and it was not seen in the dead
queue. That queue is read message by message, because its length says nothing: it holds foreign messages and repeats as
well. A queue whose leader cannot be reached looks empty, too, even while it confirms what is published; what a leader
handed out to a consumer that it cannot reach is neither ready nor held; and of two shards one may be far behind. So a
proof, a message behind all others in each shard of the record queue, has to reach every recorder first. Until then a
missing signal awaits its record; after that, until all conditions hold, it counts as unaccounted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from broker.store.postgres.database import Database, Row, Session
from broker.store.postgres.statements import Statement, Statements
from broker.store.signals.looks import Looks

Range = tuple[int, int]
"""Consecutive ids: the first and the last one."""

LOST_AFTER = timedelta(seconds=45)
"""For how long a signal is missing before the judgement on it begins; with the grace, it is lost within a minute."""
HELD_LONG = timedelta(seconds=5)
"""A message that a recorder has held for longer is held for long. Less than the grace, to be noticed in time."""
_FRESH = timedelta(seconds=5)
"""A recorder that has reported nothing for so long has ended, or hangs."""
_PATIENCE = 4
"""After how many times the grace a proof is published again that no recorder was handed out."""
_REPORTS = 1000
_ROWS = 100
"""How many reports are entered, and how many rows are looked at, at a time."""


class _Sql(Statements, file="intake_books.sql"):
    report_accepted: Statement
    report_held: Statement
    forget_recorder: Statement
    next_proof: Statement
    proven: Statement
    try_lock: Statement
    take_reports: Statement
    strike_recorded: Statement
    forget_recorders: Statement
    count: Statement
    recorders: Statement
    passed: Statement
    lose_old: Statement
    find_poison: Statement
    return_poison: Statement
    forget_pending_records: Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDepths:
    """How many messages are ready in the record queue and in its dead queue, and how many consumers the former has."""

    record: int
    dead: int
    consumers: int = 0


@dataclass(frozen=True, slots=True)
class Sight:
    """What a look into the dead queue has shown.

    Args:
        ids: The ids of the signals that were seen.
        complete: Whether every message was seen.
    """

    ids: Collection[int]
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeBalance:
    """Where the accepted signals are that are not recorded.

    Args:
        awaiting: On the way to their record, as far as the books know.
        overdue: Those of `awaiting` that were reported a minute ago or earlier.
        passed: Those of `overdue` that were reported before the last proof that a recorder was handed out.
        poison: Seen in the dead queue.
        lost: Nowhere.
        held: Messages that recorders hold.
        stuck: Whether a recorder has held one of them for long.
        silent: Whether a recorder that seems to hang may hold more.
        recorders: How many recorders report.
        oldest: For how long the oldest signal has been awaiting its record.
    """

    awaiting: int
    overdue: int
    passed: int
    poison: int
    lost: int
    held: int
    stuck: bool
    silent: bool
    recorders: int
    oldest: timedelta

    def has_stranger(self, depths: QueueDepths) -> bool:
        """Return whether the record queue has more consumers than recorders report, such as one without PostgreSQL."""
        return depths.consumers > self.recorders

    def awaiting_record(self, depths: QueueDepths) -> int:
        """Return how many signals await their record: those in sight, or more if the books know of more."""
        poison = max(0, depths.dead - self.poison)  # not in the books yet
        return max(depths.record + self.held, self.awaiting - self.unaccounted(depths) - poison)

    def unaccounted(self, depths: QueueDepths) -> int:
        """Return how many of the accepted signals are neither recorded, awaiting, poison nor lost.

        That is, how many overdue signals there are that a proof has passed, beyond what the record queue and the
        recorders hold. Of others it is not known: the queue may only seem to be empty.
        """
        if self.silent or self.has_stranger(depths):
            return 0
        return max(0, self.passed - depths.record - self.held)


@dataclass(slots=True, kw_only=True)
class _Case:
    """Signals are missing.

    Args:
        number: That of its proofs.
        since: Since when.
        proofs: How many were published.
        rounds: How many times some were published together, one and one more for each recorder.
        proven_at: When each recorder had been handed out one, or when it was found that there was nothing to publish.
    """

    number: int
    since: float
    proofs: int = 0
    rounds: int = 0
    proven_at: float | None = None


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
        self._looks = Looks(self._grace)
        self._case: _Case | None = None

    async def report_accepted(self, ranges: Sequence[Range]) -> None:
        """Report that the throws of the signals in *ranges* were answered."""
        numbers = ",".join(f"[{first},{last}]" for first, last in ranges)
        await self._database.execute(_Sql.report_accepted, numbers=f"{{{numbers}}}")

    async def report_held(self, recorder: str, held: int, *, stuck: bool, proof: int = 0) -> None:
        """Report how many messages *recorder* holds, and whether it has held one of them for long.

        *proof* is the number of the last proof that it was handed out.
        """
        await self._database.execute(_Sql.report_held, name=recorder, held=held, stuck=stuck, proof=proof)

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

    async def judge(
        self, depths: QueueDepths, *, prove: Callable[[int], Awaitable[int]], look: Callable[[], Awaitable[Sight]]
    ) -> Sequence[Range]:
        """Find out what has become of overdue signals, given what the queues hold now; return those lost just now.

        Pending records of poison and of lost signals are forgotten.

        Args:
            depths: What the queues seem to hold. A queue whose leader cannot be reached seems to be empty.
            prove: Publishes a recorded signal again to each shard, as a proof of that number; returns how many messages
                that were. The recorder that got one of each shard reports it. It may raise.
            look: Looks into the dead queue. Called when it is not empty and may hold signals that the books miss, or no
                longer hold poison that they know. It may raise, and then nothing is lost yet.
        """
        proofs = 0 if self._case is None else self._case.proofs
        depths = replace(depths, record=max(0, depths.record - proofs))
        balance = await self.balance()
        overdue, poison, lost = balance.overdue > 0, balance.poison > 0, balance.lost > 0
        if self._looks.are_due(depths.dead, overdue=overdue, poison=poison, lost=lost):
            await self._look(depths.dead, look)
            balance = await self.balance()
        async with self._database.transaction() as session:
            if not await self._are_missing(session, balance, depths):
                self._case = None
                return ()
        case = self._case = self._case or _Case(
            number=await self._database.fetchval(_Sql.next_proof), since=asyncio.get_running_loop().time()
        )
        reached = balance.recorders if depths.consumers else 1  # the store hands out to those that it reaches
        if not await self._is_certain(case, prove, reached) or not self._looks.may_begin(depths.dead):
            return ()
        if not await self._look(depths.dead, look):
            return ()
        async with self._database.transaction() as session:
            if not await session.fetchval(_Sql.try_lock):
                return ()
            await session.execute(_Sql.strike_recorded, limit=None)
            age = max(self._age, timedelta(seconds=asyncio.get_running_loop().time() - case.since))
            return await self._forget_pending(session, await session.fetch(_Sql.lose_old, age=age))

    async def _look(self, dead: int, look: Callable[[], Awaitable[Sight]]) -> bool:
        """Enter what the dead queue holds; return whether all of it is known now.

        One scheduler looks at a time: two at once would each see a part.
        """
        async with self._database.transaction() as session:
            if not await session.fetchval(_Sql.try_lock):
                return False
            sight = await look() if dead else Sight((), complete=True)
            ids = list(sight.ids)
            await self._forget_pending(session, await session.fetch(_Sql.find_poison, ids=ids))
            if sight.complete:
                await session.execute(_Sql.return_poison, ids=ids)
            await session.execute(_Sql.strike_recorded, limit=None)
            self._looks.note(dead, overdue=(await self._balance(session)).overdue > 0)
        return sight.complete

    async def _forget_pending(self, session: Session, rows: Sequence[Row]) -> list[Range]:
        """Let no later signal wait for those in *rows* of ranges, and return the ranges."""
        moved = [(row["first_id"], row["last_id"]) for row in rows]
        await session.execute(
            _Sql.forget_pending_records, firsts=[first for first, _ in moved], lasts=[last for _, last in moved]
        )
        return moved

    async def _is_certain(self, case: _Case, prove: Callable[[int], Awaitable[int]], recorders: int) -> bool:
        """Return whether signals have been missing for the grace since all that the queue held was handed out.

        By then a recorder has recorded what it got, or has held it for long. A proof has to reach so many *recorders*.
        """
        now, grace = asyncio.get_running_loop().time(), self._grace.total_seconds()
        if case.proven_at is None and await self._database.fetchval(_Sql.proven, proof=case.number) >= recorders:
            case.proven_at = now
        elif case.proven_at is None and now - case.since >= case.rounds * _PATIENCE * grace:  # they may be lost as well
            published = sum([await prove(case.number) for _ in range(recorders + 1)])
            case.proofs += published
            case.rounds += 1
            case.proven_at = None if published else now
        return case.proven_at is not None and now - case.proven_at >= grace

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
            passed=sum(row["passed"] for key, row in rows.items() if key == ("awaiting", True)),
            poison=count.get(("poison", True), 0) + count.get(("poison", False), 0),
            lost=count.get(("lost", True), 0) + count.get(("lost", False), 0),
            held=recorders["held"],
            stuck=recorders["stuck"],
            silent=recorders["silent"],
            recorders=recorders["heard"],
            oldest=timedelta(seconds=max(0, *ages, 0)),
        )

    async def _are_missing(self, session: Session, balance: IntakeBalance, depths: QueueDepths) -> bool:
        """Return whether overdue signals are out of sight."""
        hidden = balance.stuck or balance.silent or balance.has_stranger(depths)
        in_sight = hidden or (depths.record and not await self._are_passed(session))
        return balance.overdue > 0 and not in_sight

    async def _are_passed(self, session: Session) -> bool:
        return bool(await session.fetchval(_Sql.passed, age=self._age, grace=self._grace))
