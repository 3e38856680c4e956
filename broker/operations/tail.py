"""Tails: signals are followed as they are recorded, by many at a time.

A single task reads them from the store for all followers, and only while there are any. Each follower has a buffer of
its own; one that overflows ends with `Lagged`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple
from weakref import WeakValueDictionary

import structlog

from broker.access import Permission, Principal
from broker.errors import StoreUnavailable
from broker.names import matches
from broker.offloading import Offloader
from broker.operations.answers import render_signal
from broker.signals import Signal
from broker.store.signals.signals import SignalStore

_LOOK_EVERY = 0.1
"""Seconds between looks for new signals, when there was none."""
_PAUSE = 1.0
"""Seconds until the next look when PostgreSQL is away."""
_PAGE = 500
_AT_ONCE = 4
"""How many at a time have a page of what was recorded before they followed."""
_ENDING_SECONDS = 1.0
_MOST_BEHIND = 10_000
"""How many signals the reader of all may be behind one who has just caught up, without telling that one some twice."""
_PIECE = 1 << 16
"""How many bytes are sent at once, unless it is a single event."""
_MOST = 1_000
_MOST_BYTES = 4 << 20
"""How many events, and bytes of them, a follower may have unread, unless it is a single one."""

log = structlog.get_logger()


class Event(NamedTuple):
    """A recorded signal, as those who follow get it: its id, and one line of JSON, as the API shows it."""

    signal_id: int
    document: bytes


@dataclass(frozen=True)
class Wanted:
    """The signals a follower asked for: those that *by* may read, narrowed to a name or pattern, and to a tenant."""

    by: Principal
    name: str | None = None
    tenant_id: str | None = None

    def includes(self, signal: Signal) -> bool:
        """Return whether *signal* is one of these."""
        throw = signal.throw
        return (
            (self.name is None or matches(self.name, throw.name))
            and (self.tenant_id is None or throw.tenant_id == self.tenant_id)
            and self.by.reach.reads(throw)
            and self.by.may(Permission.READ, throw.name)
        )


class Lagged(Exception):
    """Raised when a follower has read too slowly: what came after its last event is not there any more."""


class Ended(Exception):
    """Raised when nothing more will come, because the process stops."""


class Follower:
    """One who follows: events wait here until they are read."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._events: deque[Event] = deque()
        self._bytes = 0
        self._lagged = False
        self._ended = False
        self._changed = asyncio.Event()

    def wants(self, signal: Signal) -> bool:
        """Return whether it is to be offered *signal*."""
        return not self._lagged and self._wanted.includes(signal)

    def offer(self, event: Event) -> None:
        """Take *event* if there is room for it."""
        size = len(event.document)
        if self._lagged:
            return
        if self._events and (len(self._events) >= _MOST or self._bytes + size > _MOST_BYTES):
            self._lagged = True
        else:
            self._events.append(event)
            self._bytes += size
        self._changed.set()

    def end(self) -> None:
        """Let it read what is there, and nothing more."""
        self._ended = True
        self._changed.set()

    async def pages(self) -> AsyncGenerator[list[Event], None]:
        """Yield the events as they come: at least one, and not much more than `_PIECE` bytes at a time.

        Raises:
            Lagged: Events had to be left out after the last ones that were yielded.
            Ended: Nothing more comes.
        """
        while True:
            while not self._events:
                if self._lagged:
                    raise Lagged
                if self._ended:
                    raise Ended
                self._changed.clear()
                await self._changed.wait()
            events = _take_piece(self._events)
            self._bytes -= sum(len(event.document) for event in events)
            yield events


class Feed:
    """Passes recorded signals on to all who follow."""

    def __init__(self, signals: SignalStore) -> None:
        self._signals = signals
        self._followers: set[Follower] = set()
        self._reading: asyncio.Task[None] | None = None
        self._begun = asyncio.Event()
        self._ended = False
        self._offloader = Offloader()
        self._limits: set[asyncio.Timeout] = set()
        self._catching_up = asyncio.Semaphore(_AT_ONCE)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """Of the principals who are catching up."""

    @property
    def followers(self) -> int:
        """How many follow, those included who are catching up."""
        return len(self._limits)

    def end(self) -> None:
        """Let all who follow read what they have, for a second, and nothing more."""
        self._ended = True
        for follower in self._followers:
            follower.end()
        for limit in self._limits:
            limit.reschedule(asyncio.get_running_loop().time() + _ENDING_SECONDS)

    @asynccontextmanager
    async def follow(
        self, wanted: Wanted, *, after_id: int | None = None
    ) -> AsyncIterator[AsyncGenerator[list[Event], None]]:
        """Yield what yields the *wanted* signals in the order of their recording, some at a time, as they come.

        They are those that are recorded from now on (perhaps some that were recorded a moment ago, which the reader
        had not come to yet), or after the signal with the id *after_id*. Reading them raises
        `Lagged` if that is too slow, `Ended`, and `StoreUnavailable` if what was recorded before cannot be read.

        Raises:
            Ended: Nothing more comes.
            TimeoutError: The process stops, and what there is was not read in time.
        """
        async with asyncio.timeout(None) as limit:
            self._limits.add(limit)
            try:
                if after_id is not None:
                    async with aclosing(self._resumed(wanted, after_id)) as pages:
                        yield pages
                else:
                    follower = Follower(wanted)
                    async with self._following(follower), aclosing(follower.pages()) as pages:
                        yield pages
            finally:
                self._limits.discard(limit)

    async def _resumed(self, wanted: Wanted, after_id: int) -> AsyncGenerator[list[Event], None]:
        """Yield what is recorded already, and then what comes: without a gap, and seldom one twice."""
        newest = await self._signals.last_id()
        seen: deque[int] = deque([after_id], maxlen=_MOST_BEHIND)
        async with aclosing(self._recorded(wanted, after_id)) as pages:
            async for page in pages:
                seen += [event.signal_id for event in page]
                yield page
        follower = Follower(wanted)
        async with self._following(follower):  # whose reader may be behind
            told = set(seen)
            # What came in the meantime; before the newest one then, everything was read.
            async with aclosing(self._recorded(wanted, newest or after_id)) as pages:
                async for page in pages:
                    yield [event for event in page if event.signal_id not in told]
                    told |= {event.signal_id for event in page}
            async with aclosing(follower.pages()) as pages:
                async for page in pages:
                    yield [event for event in page if event.signal_id not in told]

    async def _recorded(self, wanted: Wanted, after_id: int | None) -> AsyncGenerator[list[Event], None]:
        """Yield what is recorded already; a principal has one page at a time, until it was read."""
        turn = self._turns.setdefault(wanted.by.key, asyncio.Lock())
        while after_id is not None:
            async with turn, self._catching_up:
                if self._ended:
                    raise Ended
                page = await self._signals.page(
                    after_id=after_id, limit=_PAGE, by=wanted.by, name=wanted.name, tenant_id=wanted.tenant_id
                )
                events: deque[Event] = deque()
                for signal in page.items:
                    events.append(await self._event(signal))
                while events:
                    yield _take_piece(events)
                after_id = page.following

    @asynccontextmanager
    async def _following(self, follower: Follower) -> AsyncIterator[None]:
        """Let *follower* get what is recorded while the block runs."""
        if self._ended:
            raise Ended
        if self._reading is None:
            self._begun.clear()
            self._reading = asyncio.create_task(self._read())
        self._followers.add(follower)
        try:
            await self._begun.wait()
            yield
        finally:
            self._followers.discard(follower)
            if not self._followers and self._reading is not None:
                self._reading.cancel()
                self._reading = None

    async def _read(self) -> None:
        """Read what is recorded from now on, and offer it to those who follow."""
        last_id: int | None = None
        while True:
            try:
                if last_id is None:
                    last_id = await self._signals.last_id()
                    self._begun.set()
                elif last_id == await self._signals.last_id():
                    await asyncio.sleep(_LOOK_EVERY)
                else:
                    last_id = await self._offer(last_id)
            except StoreUnavailable as error:
                log.warning("tail.postponed", error=str(error))
                await asyncio.sleep(_PAUSE)

    async def _offer(self, after_id: int) -> int:
        """Offer what is recorded after a signal; return the id of the last one."""
        page = await self._signals.page(after_id=after_id, limit=_PAGE)
        for signal in page.items:
            wanting = [follower for follower in self._followers if follower.wants(signal)]
            if wanting:
                event = await self._event(signal)
                for follower in wanting:
                    follower.offer(event)
            await asyncio.sleep(0)  # others go on between them
        return page.items[-1].id if page.items else page.following or after_id

    async def _event(self, signal: Signal) -> Event:
        size = len(signal.throw.payload)
        return Event(signal.id, await self._offloader.run(partial(_render, signal), size=size))


def _take_piece(events: deque[Event]) -> list[Event]:
    """Take the first of *events*: at least one, and not much more than `_PIECE` bytes."""
    piece, size = [], 0
    while events and size < _PIECE:
        event = events.popleft()
        piece.append(event)
        size += len(event.document)
    return piece


def _render(signal: Signal) -> bytes:
    return render_signal(signal).replace(b"\n", b" ").replace(b"\r", b" ")  # between tokens: strings hold none
