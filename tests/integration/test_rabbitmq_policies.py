"""Policies of RabbitMQ by which queues lose signals: the doctor and the scheduler name them."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from structlog.testing import capture_logs
from yarl import URL

from broker import metrics
from broker.errors import Nacked, Unavailable
from broker.settings import Settings
from broker.topology import RECORD, TOPOLOGY, Queue, dead_letters
from broker.transport.rabbitmq import RabbitTransport
from broker.transport.rabbitmq.management import Management
from deploy.cli.messaging_checks import examine_policies
from tests.support.eventually import eventually
from tests.support.messaging import holds, publish
from tests.support.rabbitmq_servers import vhost_of
from tests.support.rabbitmq_users import user
from workers.measurer import Measurer

pytestmark = pytest.mark.slow

DEAD = dead_letters(RECORD)
TIMEOUT = timedelta(seconds=10)
EVERY = ".*"
GUARD = ("signal-broker", r"^(signals\.record|deliveries\.attempt)", {"overflow": "reject-publish"})
"""The policy that the runbook advises."""


@pytest.fixture
async def transport(rabbitmq_url, management):
    async with RabbitTransport(rabbitmq_url, management=management) as transport:
        await transport.declare(TOPOLOGY)
        await found(transport, "ok", "none takes anything from the queues")
        yield transport


async def findings(transport):
    return [finding async for finding in examine_policies(transport, [], TIMEOUT)]


async def found(transport, level, *words):
    """Wait until a finding of that level has all of *words*."""

    async def check():
        return [
            finding
            for finding in await findings(transport)
            if finding.level == level and all(word in finding.detail for word in words)
        ]

    return await eventually(check)


async def limit(rabbitmq, url, **definition):
    """Set an operator policy for all queues."""
    arguments = ("-p", vhost_of(url), "strict", EVERY, json.dumps(definition))
    await asyncio.to_thread(rabbitmq.ctl, "set_operator_policy", *arguments)


def reported(queue, setting):
    labels = {"queue": queue, "setting": setting}
    return metrics.REGISTRY.get_sample_value("signal_broker_losing_policies", labels)


async def fill(transport, queue):
    """Return how many messages *queue* has taken before it refused one."""
    for accepted in range(100):
        try:
            await publish(transport, b"poison", key=queue)
        except Nacked:
            return accepted
    raise AssertionError(f"{queue} refuses nothing")


async def test_a_policy_that_loses_signals_is_named_until_another_keeps_it_away(
    transport, rabbitmq, rabbitmq_url, database
):
    rabbitmq.set_policy(rabbitmq_url, "tidy", EVERY, {"message-ttl": 50})
    await publish(transport, b"a signal", key=RECORD)
    for queue in (RECORD, DEAD):
        await holds(transport, queue, 0)
    await found(
        transport, "fail", f"policy 'tidy' sets message-ttl = 50 for {DEAD}: messages that wait longer than 50 ms"
    )
    await found(transport, "fail", f"for {RECORD}: messages that wait longer than 50 ms go to the dead queue")
    measurer = Measurer(database, transport, Settings())
    with capture_logs() as logs:
        await measurer.look_for_hazards()
        await measurer.look_for_hazards()
    named = {line["queue"] for line in logs if (line["event"], line["log_level"]) == ("policy.found", "error")}
    assert {RECORD, DEAD} <= named
    assert len([line for line in logs if line.get("queue") == DEAD]) == 1
    assert reported(RECORD, "message-ttl = 50") == 1

    rabbitmq.set_policy(rabbitmq_url, *GUARD, priority=1000)
    await found(transport, "ok")
    await measurer.look_for_hazards()
    assert reported(RECORD, "message-ttl = 50") is None


async def test_the_guard_of_the_runbook_keeps_what_an_operator_policy_limits(transport, rabbitmq, rabbitmq_url):
    await limit(rabbitmq, rabbitmq_url, **{"max-length": 5})
    await found(transport, "fail", f"operator policy 'strict' sets max-length = 5 for {DEAD}: beyond 5 messages")
    await found(transport, "warn", f"for {RECORD}: it refuses messages while it has 5 messages")
    rabbitmq.set_policy(rabbitmq_url, *GUARD, priority=1000)
    await found(transport, "warn", f"for {DEAD}: it refuses messages")
    await holds(transport, DEAD, await fill(transport, DEAD))
    await limit(rabbitmq, rabbitmq_url, expires=600_000)
    await found(transport, "fail", f"or operator policy 'strict' sets expires = 600000 for {DEAD}")


async def test_what_cannot_be_seen_is_told_with_the_reason(transport, rabbitmq, rabbitmq_url, management, database):
    async with user(rabbitmq, rabbitmq_url, "scheduler") as url:
        async with RabbitTransport(url, management=management) as limited:
            await found(limited, "warn", "cannot be seen", f"{management} answers 401: the user needs the tag")
            await asyncio.to_thread(rabbitmq.ctl, "set_user_tags", urlsplit(url).username, "management")
            await found(limited, "ok")
            assert await limited.hazards([Queue("does.not.exist")], timeout=TIMEOUT) == []
        async with RabbitTransport(url, management="http://127.0.0.1:1") as blind:
            await found(blind, "warn", "cannot be seen", "http://127.0.0.1:1: ", "rabbitmqctl list_queues")
            measurer = Measurer(database, blind, Settings())
            with capture_logs() as logs:
                await measurer.look_for_hazards()
                await measurer.look_for_hazards()
            assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["policies.unseen"]


async def test_the_management_api_of_another_rabbitmq_says_nothing_about_the_queues(rabbitmq_url, management):
    elsewhere = URL(rabbitmq_url).with_path("/nowhere")
    async with Management([elsewhere], management, timeout=TIMEOUT) as other:
        for ask in (other.hazards([Queue(RECORD)]), other.gaps(TOPOLOGY), other.total(RECORD)):
            with pytest.raises(Unavailable, match="knows no vhost 'nowhere': is it another RabbitMQ's"):
                await ask
