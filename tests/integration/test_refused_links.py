"""Why RabbitMQ cannot be reached is told in its own words, in one line, by every command that needs it."""

from __future__ import annotations

import asyncio
import gc
from contextlib import closing
from datetime import timedelta

import aio_pika  # noqa: TID251  (its own objects matter)
import pytest

from broker.errors import Unavailable
from broker.topology import TOPOLOGY
from broker.transport.rabbitmq import RabbitTransport
from tests.support.certificates import Authority
from tests.support.rabbitmq_users import user
from tests.support.remote import Laptop

pytestmark = pytest.mark.slow


async def refusal(tmp_path, url):
    """Return the line with which `topology --apply` ends."""
    operator = Laptop(tmp_path, TRANSPORT_URL=url, CONFIRM_TIMEOUT_SECONDS="2")
    line = await operator.refusal("topology", "--apply")
    assert line.startswith("the topology was not declared within 2 s: ")
    return line


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("guest:guest", "guest:hunter2"), "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN"),
        (("guest:guest", "nobody:hunter2"), "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN"),
        (("/test-", "/other-"), "NOT_ALLOWED - vhost other-"),
        (("amqp://", "amqps://"), "SSL"),
    ],
    ids=["password", "user", "vhost", "no TLS"],
)
async def test_a_wrong_url_is_told_in_rabbitmqs_words(rabbitmq_url, tmp_path, change, words):
    assert words in (line := await refusal(tmp_path, rabbitmq_url.replace(*change)))
    assert "hunter2" not in line


async def test_a_vhost_that_the_user_may_not_use_is_told(rabbitmq, rabbitmq_url, tmp_path):
    async with user(rabbitmq, rabbitmq_url, "gateway") as url:
        with rabbitmq.vhost() as other:
            line = await refusal(tmp_path, url[: url.rindex("/")] + other[other.rindex("/") :])
    assert "NOT_ALLOWED - access to vhost " in line


def test_a_link_that_never_came_up_leaves_nothing_to_be_closed_by_its_finalizer():
    async def try_in_vain():
        serving = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        url = f"amqp://127.0.0.1:{serving.sockets[0].getsockname()[1]}/"
        async with serving, RabbitTransport(url, declare_timeout=timedelta(seconds=0.5)) as transport:
            with pytest.raises(Unavailable):
                await transport.declare(TOPOLOGY)

    gc.disable()
    try:
        with closing(asyncio.new_event_loop()) as loop:
            loop.run_until_complete(try_in_vain())
            made = [one for one in gc.get_objects() if isinstance(one, aio_pika.Connection) and one.loop is loop]
            assert made
            assert all(connection.is_closed for connection in made)
    finally:
        gc.enable()


async def test_a_certificate_that_is_not_trusted_is_told(tmp_path):
    context = Authority(tmp_path).serving("127.0.0.1")
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        assert "certificate verify failed" in await refusal(tmp_path, f"amqps://127.0.0.1:{port}/")
