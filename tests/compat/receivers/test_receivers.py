"""Every behaviour of the table, against the real client on the loop that it has in production."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
import uvloop

from broker.deliveries import Outcome, Result
from broker.egress import Guard
from tests.compat.receivers.behaviour import Behaviour
from tests.compat.receivers.reaching import NAMES
from tests.compat.receivers.table import BEHAVIOURS, identified, render
from tests.support.certificates import Authority
from tests.support.dns import name_server
from tests.support.raw_receiver import raw_receiver
from workers.webhooks.client import WebhookClient
from workers.webhooks.dialing import trust
from workers.webhooks.pool import KEEP_ALIVE

AT_ONCE = 40
"""How many receivers are tried at the same time."""
TRIES = 5
"""How often one is tried on a machine that is too slow to keep connections."""
DOCUMENT = Path(__file__).parents[3] / "docs" / "webhooks.md"


@pytest.fixture(scope="module")
def observations(tmp_path_factory):
    """What became of each webhook, by the name of its behaviour."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(observe(Authority(tmp_path_factory.mktemp("authority"))))


async def observe(authority: Authority) -> dict[str, tuple[object, ...]]:
    places = asyncio.Semaphore(AT_ONCE)
    async with name_server() as names:
        for name, addresses in NAMES.items():
            names.resolve_to(name, addresses)
        async with WebhookClient(
            Guard([ip_network("127.0.0.0/8")]),
            concurrency=1000,
            trusted=trust(authority.pem),
            nameservers=[names.address],
        ) as client, asyncio.TaskGroup() as group:  # fmt: skip

            async def observe_one(behaviour: Behaviour, variant: int) -> tuple[object, ...]:
                async with places:
                    return await attempt(client, authority, behaviour, variant)

            tasks = {name: group.create_task(observe_one(*of)) for name, *of in identified()}
    return {name: task.result() for name, task in tasks.items()}


async def attempt(
    client: WebhookClient, authority: Authority, behaviour: Behaviour, variant: int
) -> tuple[object, ...]:
    """Return what became of the webhook; once more if its connection may have been idle for too long to be kept."""
    for _ in range(TRIES):
        observed, seconds = await attempt_once(client, authority, behaviour, variant)
        if seconds < KEEP_ALIVE / 2 or observed == behaviour.expected:
            break
    return observed


async def attempt_once(
    client: WebhookClient, authority: Authority, behaviour: Behaviour, variant: int
) -> tuple[tuple[object, ...], float]:
    """Return what became of the webhook, and for how many seconds at most its connection was idle before it."""
    seconds, clock = 0.0, asyncio.get_running_loop().time
    tls = None if behaviour.tls is None else behaviour.tls(authority)
    async with raw_receiver(behaviour.scripts[variant], tls=tls) as receiver:
        url = behaviour.url.format(base=receiver.base, port=receiver.base.rsplit(":", 1)[1])
        for _ in range(behaviour.before):
            before = await send(client, url, b"{}")
            if before.outcome is not Outcome.SUCCEEDED:
                return ("the webhook before", before), seconds
            answered = clock()
            await asyncio.sleep(0.3)  # for what the receiver does while its connection is idle
            seconds = max(seconds, clock() - answered)
        begun = clock()
        result = await send(client, url, behaviour.body, within=behaviour.within)
        return behaviour.observed(result, requests=len(receiver.heads)), seconds + clock() - begun


async def send(client: WebhookClient, url: str, body: bytes, within: float = 30) -> Result:
    return await client.send(url, body=body, headers={"webhook-id": "7-3"}, timeout=timedelta(seconds=within))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "behaviour"), [(name, behaviour) for name, behaviour, _ in identified()])
def test_what_becomes_of_the_webhook_is_as_the_table_says(observations, name, behaviour):
    assert observations[name] == behaviour.expected


def test_no_behaviour_is_there_twice():
    names = [behaviour.receiver for behaviour in BEHAVIOURS]
    assert len(set(names)) == len(names)


def test_the_document_has_the_table():
    """`python -m tests.compat.receivers` writes it."""
    assert render() in DOCUMENT.read_text()
