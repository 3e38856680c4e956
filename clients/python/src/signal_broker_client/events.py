"""Server-sent events, as the tail of signals has them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple, cast

from .documents import Signal
from .errors import ClientError, Unreadable
from .requests import MAX_ANSWER_BYTES


class Event(NamedTuple):
    """An event: its kind, its id and its data."""

    kind: str
    id: str | None
    data: str


class EventReader:
    """Reads events from the pieces of a stream. Comments only show that it lives."""

    def __init__(self) -> None:
        self._rest = b""

    def read(self, piece: bytes) -> Iterator[Event]:
        """Yield the events that *piece* completes.

        Raises:
            ClientError: An event is longer than any signal.
        """
        *blocks, self._rest = (self._rest + piece).split(b"\n\n")
        if len(self._rest) > MAX_ANSWER_BYTES:
            raise ClientError(f"an event is longer than {MAX_ANSWER_BYTES} bytes")
        for block in blocks:
            event = _event(block.decode(errors="replace"))
            if event is not None:
                yield event


def read_signal(data: str) -> Signal:
    """Return the signal that the *data* of an event is.

    Raises:
        Unreadable: It is none.
    """
    try:
        return cast(Signal, json.loads(data))
    except (ValueError, RecursionError):
        raise Unreadable("an event is no signal: is the URL that of a signal-broker?") from None


def _event(block: str) -> Event | None:
    fields: dict[str, str] = {}
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        fields[name] = f"{fields[name]}\n{value}" if name == "data" and "data" in fields else value
    return Event(fields.get("event", "message"), fields.get("id"), fields["data"]) if "data" in fields else None
