"""What webhook receivers do when they should answer 200."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.chaos.faults.fault import Fault
from tests.support.receiver import Answer

if TYPE_CHECKING:
    from tests.chaos.stack import Stack


def answer(name: str, mood: Answer, *, seconds: float) -> Fault:
    """Return the fault in which every webhook is answered as *mood* says."""

    @asynccontextmanager
    async def inflict(stack: Stack) -> AsyncIterator[None]:
        stack.receiver.mood = mood
        try:
            yield
        finally:
            stack.receiver.mood = None

    return Fault(name=f"receivers {name}", inflict=inflict, seconds=seconds)


FAULTS = [
    answer("hang", Answer(fate="hang", status=0), seconds=8),
    answer("drip", Answer(status=500, body=b"slowly" * 10, pace=0.5), seconds=8),
    answer("reset", Answer(fate="close"), seconds=8),
    answer("500", Answer(status=500), seconds=8),
    answer("503", Answer(status=503, headers={"Retry-After": "1"}), seconds=8),
    answer("302", Answer(status=302, headers={"Location": "/elsewhere"}), seconds=8),
    answer("404", Answer(status=404), seconds=8),
    answer("garbage", Answer(fate="garbage"), seconds=8),
    answer("100 MB", Answer(fate="flood"), seconds=5),
]
