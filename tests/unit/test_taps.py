"""When a copy for taps is published again, and when it is given up. The transport here only says what becomes of it."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from broker import taps
from broker.errors import Nacked, Unconfirmed
from broker.messages import signal_message
from broker.signals import Signal, Throw
from broker.taps import Taps
from tests.support.eventually import eventually

PATIENCE = 0.5


class Server:
    """Fails publishes with *error*, while there is one; `published` has the ids, repeats included."""

    def __init__(self):
        self.error = None
        self.published = []

    def publish(self, message, **_):
        self.published.append(message.headers["signal-id"])
        confirm = asyncio.get_running_loop().create_future()
        if self.error is None:
            confirm.set_result(None)
        else:
            confirm.set_exception(self.error)
        return confirm


@pytest.fixture
def server():
    return Server()


@pytest.fixture
async def publisher(server, monkeypatch):
    monkeypatch.setattr(taps, "RETRY_PAUSE", 0.005)
    monkeypatch.setattr(taps, "PATIENCE", PATIENCE)
    return Taps(server, timeout=timedelta(seconds=0.05))


def send(publisher, signal_id, name=None):
    signal = Signal(id=signal_id, created_at=datetime.now(UTC), throw=Throw(name=name or f"n{signal_id}"))
    publisher.send(signal_message(signal), signal)


async def test_a_copy_is_published_until_shortly_before_its_time_is_over(server, publisher, monkeypatch):
    """What is back only then gets it: pauses that go on doubling would give up long before."""
    monkeypatch.setattr(taps, "LONGEST_PAUSE", 0.02)
    server.error = Unconfirmed("no confirm")
    clock = asyncio.get_running_loop().time
    began, last = clock(), 0.0

    published = 0
    send(publisher, 1)
    while publisher.waiting:
        if len(server.published) > published:
            published, last = len(server.published), clock() - began
        await asyncio.sleep(0.001)
    assert PATIENCE - 0.1 < last < PATIENCE + 0.1


async def test_a_copy_that_is_not_confirmed_is_published_ever_more_rarely_until_it_is(server, publisher):
    """A node that hangs is given up after some time, far longer than a throw takes."""
    server.error = Unconfirmed("no confirm")
    send(publisher, 1)
    await eventually(lambda: len(server.published) == 6)  # after 0.005 + 0.01 + ... + 0.08 s
    server.error = None
    await eventually(lambda: len(server.published) == 7)
    await asyncio.sleep(PATIENCE)
    assert len(server.published) == 7


async def test_once_one_was_given_up_others_are_published_twice(server, publisher):
    """Each time repeats them to the healthy taps of the same exchange."""
    server.error = Unconfirmed("no confirm")
    send(publisher, 1)
    await eventually(lambda: publisher.waiting == 0)
    server.published.clear()
    for signal_id in (2, 3):
        send(publisher, signal_id)
    await eventually(lambda: publisher.waiting == 0)
    assert sorted(server.published) == [2, 2, 3, 3]


async def test_a_second_nack_is_final(server, publisher):
    server.error = Nacked("refused")
    send(publisher, 1)
    await eventually(lambda: publisher.waiting == 0)
    assert server.published == [1, 1]
    send(publisher, 2)
    assert server.published == [1, 1, 2]
    await eventually(lambda: publisher.waiting == 0)


async def test_what_waits_is_bounded_in_bytes(server, publisher, monkeypatch):
    monkeypatch.setattr(taps, "MOST_BYTES", 3 * taps.HEADERS_BYTES)
    server.error = Unconfirmed("no confirm")
    for signal_id in range(1, 6):
        send(publisher, signal_id)
    assert server.published == [1, 2, 3]
