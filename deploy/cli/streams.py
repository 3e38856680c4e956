"""Following signals over HTTP: the events of ``GET /v1/signals/tail``, each once, across lost connections."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from aiohttp import ClientError, StreamReader

from broker.integers import MAX_ID
from deploy.cli.api import Api, Query
from deploy.cli.output import say
from deploy.cli.problems import ANSWER_SECONDS, ApiError

_PATH = "/v1/signals/tail"
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 20.0
"""Seconds before the product is called again, while it does not answer: twice as many each time."""
_REMEMBERED = 20_000
"""Of so many of the latest signals it is known that they came, so that none comes twice."""
_MOST_BYTES = 64 << 20
"""Bytes of the largest line that is an event's; a signal's payload is smaller by far."""
_IN_BETWEEN = (408, 429)
"""Statuses from 400 to 499 that say nothing about the request."""


@dataclass(frozen=True, slots=True)
class Event:
    """A server-sent event (the HTML standard, section 9.2).

    Args:
        id: Its id, as it was sent; None: it has none.
        name: What kind of event it is.
        data: What it says.
    """

    id: bytes | None
    name: bytes
    data: bytes


class Latest:
    """The signals that came lately.

    Attributes:
        last_id: The id of the last one, or what it was before the first one.
    """

    def __init__(self, after_id: int) -> None:
        self.last_id = after_id
        self._ids: set[int] = set()
        self._order: deque[int] = deque()

    def takes(self, signal_id: int) -> bool:
        """Return whether the signal with this id did not come before; it is the last one then."""
        if signal_id in self._ids:
            return False
        if len(self._order) == _REMEMBERED:
            self._ids.remove(self._order.popleft())
        self._ids.add(signal_id)
        self._order.append(signal_id)
        self.last_id = signal_id
        return True


class Outage:
    """The time from when the connection is lost until the product answers again, in which it is called in vain.

    Attributes:
        pause: Seconds until it is called once more.
    """

    def __init__(self) -> None:
        self.pause = _FIRST_PAUSE
        self._begun = False
        self._told = False

    def end(self) -> None:
        """The product has answered."""
        if self._told:
            say("connected again", err=True)
        self._begun, self._told = True, False

    def explain(self, error: Exception) -> str:
        """Return why the connection is lost, by the *error* of the request or of reading its answer.

        Raises:
            ApiError: Calling again is of no use, or the product has never answered.
        """
        if isinstance(error, ApiError) and (not self._begun or _is_final(error)):
            raise error
        if isinstance(error, TimeoutError):
            return f"nothing came for {ANSWER_SECONDS} s"
        return "it broke off" if isinstance(error, ClientError) else str(error)

    async def wait(self, reason: str, last_id: int) -> None:
        """Wait until the product may be called once more."""
        if not self._told:
            self._told = True
            say(f"the connection is lost ({reason}); trying again, after signal {last_id}", err=True)
        await asyncio.sleep(self.pause * random.uniform(0.5, 1.0))  # noqa: S311  (so that not all come back together)
        self.pause = min(2 * self.pause, _LONGEST_PAUSE)


class Lagged(Exception):
    """Raised when the product has told signals, and left out those that follow: they are recorded."""


async def follow(api: Api, query: Query, after_id: int) -> AsyncGenerator[tuple[int, bytes], None]:
    """Yield the signals that are recorded after the one with the id *after_id*, in that order, each once.

    They are yielded as their id with themselves as JSON. *query* narrows them, as it does the tail. When the connection
    is lost it is made again, as often as it takes, and the user is told.

    Raises:
        ApiError: The product did not answer the first time, refuses, or is none.
    """
    latest, outage = Latest(after_id), Outage()
    while True:
        reason = "it was ended"
        try:
            async with (
                api.stream(_PATH, query, headers={"Last-Event-ID": str(latest.last_id)}) as content,
                aclosing(_read_signals(content, api, latest)) as signals,
            ):
                outage.end()
                async for signal in signals:
                    outage.pause = _FIRST_PAUSE
                    yield signal
        except Lagged:
            continue
        except (ApiError, ClientError, TimeoutError) as error:
            reason = outage.explain(error)
        await outage.wait(reason, latest.last_id)
        api.find_again()


async def _read_signals(content: StreamReader, api: Api, latest: Latest) -> AsyncGenerator[tuple[int, bytes], None]:
    is_new = False
    async with aclosing(read_events(content)) as events:
        async for event in events:
            if event.name == b"lagged" and is_new:
                raise Lagged
            if event.name != b"message":
                continue
            signal_id = _signal_id(event, api)
            if latest.takes(signal_id):
                is_new = True
                yield signal_id, event.data


async def read_events(content: StreamReader) -> AsyncGenerator[Event, None]:
    """Yield the events of a stream. What is begun when it ends is none."""
    fields: dict[bytes, bytes] = {}
    async with aclosing(_read_lines(content)) as lines:
        async for line in lines:
            name, _, value = line.partition(b":")
            if not line:
                if b"data" in fields:
                    yield Event(fields.get(b"id"), fields.get(b"event", b"message"), fields[b"data"])
                fields = {}
            elif name in {b"id", b"event"}:
                fields[name] = value.removeprefix(b" ")
            elif name == b"data":
                fields[name] = b"\n".join([*([fields[name]] if name in fields else []), value.removeprefix(b" ")])


async def _read_lines(content: StreamReader) -> AsyncGenerator[bytes, None]:
    begun = bytearray()
    async for piece in content.iter_any():
        *ends, rest = piece.split(b"\n")
        for end in ends:
            begun += end
            yield bytes(begun.removesuffix(b"\r"))
            begun = bytearray()
        begun += rest
        if len(begun) > _MOST_BYTES:
            raise ApiError(f"an event has more than {_MOST_BYTES >> 20} MiB; is the URL right?", 200)


def _signal_id(event: Event, api: Api) -> int:
    digits = event.id or b""
    if not digits.isdigit() or len(digits) > len(str(MAX_ID)):
        raise ApiError(f"{api.product.url} sent an event that is no signal; is the URL right?", 200)
    return int(digits)


def _is_final(error: ApiError) -> bool:
    """Return whether asking again is of no use: the product refuses, or something else answers in its place."""
    status = error.status
    return status is not None and (200 <= status < 300 or 400 <= status < 500) and status not in _IN_BETWEEN
