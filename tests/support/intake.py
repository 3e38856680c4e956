"""The books of the intake, in tests: what becomes of signals that are missing."""

from __future__ import annotations

from broker.store.signals.intake_books import IntakeBooks, QueueDepths
from tests.support.eventually import eventually

NOTHING = QueueDepths(record=0, dead=0)


async def prove() -> bool:
    """Have no recorded signal that could be published again."""
    return False


async def lose(books: IntakeBooks, count: int, depths: QueueDepths = NOTHING) -> list[int]:
    """Fold and judge until *count* signals are lost, and return their ids."""
    lost: list[int] = []

    async def judge() -> bool:
        await books.fold()
        for first, last in await books.judge(depths, prove=prove):
            lost.extend(range(first, last + 1))
        return len(lost) >= count

    await eventually(judge)
    return lost


async def judge_often(books: IntakeBooks, depths: QueueDepths = NOTHING) -> None:
    """Let every signal that was accepted become overdue, and judge for longer than the grace: nothing is lost."""

    async def are_overdue() -> bool:
        await books.fold()
        balance = await books.balance()
        return balance.overdue == balance.awaiting

    await eventually(are_overdue)
    for _ in range(20):
        await books.fold()
        assert not await books.judge(depths, prove=prove)
