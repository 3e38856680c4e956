"""A consumer of the embedded transport: a session that owns the messages it was handed, and the task that uses it."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections import deque
from collections.abc import Collection, Sequence
from contextlib import suppress
from operator import itemgetter
from typing import NamedTuple

import structlog

from broker.errors import SignalBrokerError
from broker.reasons import reason_of
from broker.store.postgres.database import Database, Session
from broker.transport import HELD_BYTES, Received, Settlement, take_batch
from broker.transport.embedded.properties import read_message
from broker.transport.embedded.queues import Sql

POLL = 1.0
"""Seconds after which a consumer looks into its queue without a notification."""

log = structlog.get_logger()


class _Held(NamedTuple):
    """An unsettled message: its row, and the size of its body."""

    id: int
    size: int


_Waiting = tuple[Settlement, list[int], asyncio.Future[None]]
"""A settlement to execute: what to do, with which tags, and the future of its caller."""


class EmbeddedInbox:
    """Keeps `broker.transport.Inbox`.

    Only the task uses the session. So a caller of `receive` or `settle` may be cancelled at any moment without losing a
    message, and settlements that arrive together share a statement.
    """

    def __init__(self, database: Database, queue: str, prefetch: int, *, poll: float = POLL) -> None:
        self.queue = queue
        self.established = False
        self._database = database
        self._prefetch = prefetch
        self._poll = poll
        self._tags = itertools.count(1)
        self._unsettled: dict[int, _Held] = {}
        self._buffer: deque[Received] = deque()
        self._filled = asyncio.Event()
        self._settling: list[_Waiting] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._suspended = False
        self._task = asyncio.create_task(self._run(), name=f"consume:{queue}")

    @property
    def unsettled(self) -> Collection[int]:
        """The tags of the unsettled messages, in the order in which they came."""
        return self._unsettled.keys()

    async def receive(self, limit: int, *, max_bytes: int = sys.maxsize) -> Sequence[Received]:
        """Wait for the first message, then return up to *limit* and *max_bytes* without waiting for more."""
        while not self._buffer:
            self._filled.clear()
            await self._filled.wait()
        return take_batch(self._buffer, limit, max_bytes=max_bytes)

    async def settle(self, messages: Sequence[Received], settlement: Settlement) -> None:
        """Settle *messages*, all of them the same way."""
        tags = [message.tag for message in messages if message.tag in self._unsettled]
        if tags:
            settled = asyncio.get_running_loop().create_future()
            self._settling.append((settlement, tags, settled))
            self._wake.set()
            await settled

    def suspend(self) -> None:
        """See `broker.transport.Inbox.suspend`."""
        self._suspended = True
        self._wake.set()

    def resume(self) -> None:
        """See `broker.transport.Inbox.resume`."""
        self._suspended = False
        self._wake.set()

    def wake(self) -> None:
        """Look into the queue, where messages may be ready."""
        self._wake.set()

    async def close(self) -> None:
        """Finish settlements in progress and return the other messages to the queue."""
        self._closing = True
        self._wake.set()
        await asyncio.wait({self._task}, timeout=self._database.timeout.total_seconds())
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while not self._closing:
            try:
                async with self._database.dedicated_session() as session:
                    await self._consume(session)
            except SignalBrokerError as error:
                log.warning("consumer.lost", queue=self.queue, error=reason_of(error))
                await asyncio.sleep(self._poll / 2)
            finally:
                self._forget()

    async def _consume(self, session: Session) -> None:
        owner = await session.fetchval(Sql.add_owner)
        self.established = True
        while not self._closing:
            self._wake.clear()
            if self._suspended:
                self._hand_back()
            await self._settle(session, owner)
            if not self._closing:
                await self._claim(session, owner)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll):
                    await self._wake.wait()
        await self._settle(session, owner)
        await session.execute(Sql.give_back, owners=[owner], ids=None)
        await session.execute(Sql.bury)

    def _hand_back(self) -> None:
        """Return the messages that `receive` has not returned yet to the queue."""
        tags = [message.tag for message in self._buffer]
        self._buffer.clear()
        if tags:
            self._settling.append((Settlement.RETURN, tags, asyncio.get_running_loop().create_future()))

    async def _claim(self, session: Session, owner: int) -> None:
        """Fill the prefetch window, if not suspended; with a full one, this only checks the session."""
        free = 0 if self._suspended else self._prefetch - len(self._unsettled)
        room = HELD_BYTES - sum(held.size for held in self._unsettled.values())
        rows = await session.fetch(Sql.claim, queue=self.queue, owner=owner, limit=free if room > 0 else 0, room=room)
        for row in sorted(rows, key=itemgetter("id")):
            tag = next(self._tags)
            self._unsettled[tag] = _Held(row["id"], len(row["body"]))
            message = read_message(row["properties"], row["body"], tag=tag, redelivered=row["returned"] > 0)
            self._buffer.append(message)
        if self._buffer:
            self._filled.set()

    async def _settle(self, session: Session, owner: int) -> None:
        """Execute the waiting settlements; their callers resume once all of them are done."""
        waiting, self._settling = self._settling, []
        try:
            for settlement in Settlement:
                tags = {tag for kind, tags, _ in waiting if kind is settlement for tag in tags} & self._unsettled.keys()
                if tags:
                    await self._execute(session, owner, settlement, [self._unsettled[tag].id for tag in tags])
                    for tag in tags:
                        del self._unsettled[tag]
        finally:
            _answer(waiting)

    async def _execute(self, session: Session, owner: int, settlement: Settlement, ids: list[int]) -> None:
        match settlement:
            case Settlement.ACK:
                await session.execute(Sql.ack, queue=self.queue, owner=owner, ids=ids)
                return
            case Settlement.REJECT:
                await session.execute(Sql.reject, queue=self.queue, owner=owner, ids=ids)
            case Settlement.RETURN:
                await session.execute(Sql.give_back, owners=[owner], ids=ids)
        await session.execute(Sql.bury)

    def _forget(self) -> None:
        """Forget the messages of a lost session: they will be handed out again."""
        self.established = False
        self._unsettled.clear()
        self._buffer.clear()
        _answer(self._settling)
        self._settling = []


def _answer(waiting: list[_Waiting]) -> None:
    for _, _, settled in waiting:
        if not settled.done():
            settled.set_result(None)
