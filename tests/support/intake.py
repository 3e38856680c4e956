"""The books of the intake, in tests: what becomes of signals that are missing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from broker.store.signals.intake_books import IntakeBooks, QueueDepths, Sight
from tests.support.eventually import eventually

NOTHING = QueueDepths(record=0, dead=0)


async def prove(_: int) -> bool:
    """Have no recorded signal that could be published again."""
    return False


def seeing(*ids: int, complete: bool = True) -> Callable[[], Awaitable[Sight]]:
    """Return a look into a dead queue that holds the signals *ids*."""

    async def look() -> Sight:
        return Sight(ids, complete=complete)

    return look


async def lose(
    books: IntakeBooks,
    count: int,
    depths: QueueDepths = NOTHING,
    look: Callable[[], Awaitable[Sight]] = seeing(),  # noqa: B008  (it has no state)
) -> list[int]:
    """Fold and judge until *count* signals are lost, and return their ids."""
    lost: list[int] = []

    async def judge() -> bool:
        await books.fold()
        for first, last in await books.judge(depths, prove=prove, look=look):
            lost.extend(range(first, last + 1))
        return len(lost) >= count

    await eventually(judge)
    return lost


async def judge_often(
    books: IntakeBooks,
    depths: QueueDepths = NOTHING,
    look: Callable[[], Awaitable[Sight]] = seeing(),  # noqa: B008  (it has no state)
) -> None:
    """Let every signal that was accepted become overdue, and judge for longer than the grace: nothing is lost."""

    async def are_overdue() -> bool:
        await books.fold()
        balance = await books.balance()
        return balance.overdue == balance.awaiting

    await eventually(are_overdue)
    for _ in range(20):
        await books.fold()
        assert not await books.judge(depths, prove=prove, look=look)
