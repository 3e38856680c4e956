"""Probes, metrics and logs: what operators have to go by."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from importlib.metadata import version

import pytest

from tests.support.eventually import eventually
from tests.support.exposition import described_metrics, read_samples
from tests.support.product import Process, client_of
from tests.support.proxy import proxy
from tests.support.receiver import Answer
from tests.support.throwing import delivery, recorded, subscribe, throw
from tests.support.waiting import logged

pytestmark = [pytest.mark.slow, pytest.mark.transports("embedded", "rabbitmq")]


async def test_a_running_product_lives_and_is_ready(client):
    assert (await client.get("/livez"))["alive"] is True
    checks = {"running", "transport", "store", "schema", "intake", "recorder", "deliverer", "scheduler"}
    checks |= {"bookkeeper", "pacer", "lease_keeper", "buffer_keeper"}
    assert await client.get("/readyz") == {"ready": True, "checks": dict.fromkeys(checks, True)}
    assert (await client.request("HEAD", "/readyz"))[0] == 200


@asynccontextmanager
async def behind_a_proxy(postgres_url, tmp_path):
    """Yield (client, proxy) of a product that reaches its PostgreSQL through a proxy."""
    async with proxy(postgres_url) as link:
        environment = {"STORE_URL": link.url, "DATA_DIR": str(tmp_path), "STORE_TIMEOUT_SECONDS": "1"}
        async with Process("run", environment=environment, log=tmp_path / "log") as process:
            async with client_of(process.url) as client:
                yield client, link
            assert await process.stop() == 0


async def test_without_its_store_it_is_alive_but_not_ready_and_answers_503(database_url, tmp_path, name):
    async with behind_a_proxy(database_url, tmp_path) as (client, link):
        await throw(client, name)
        link.cut()

        async def probe(path, status):
            return (await client.request("GET", path))[0] == status

        await eventually(lambda: probe("/readyz", 503))
        assert await probe("/livez", 200)
        problem_status, headers, problem = await client.request("POST", "/v1/signals", json={"name": name})
        assert (problem_status, problem["title"]) == (503, "Service Unavailable")
        assert (
            problem["detail"] == "The broker cannot take this now: PostgreSQL does not answer; try again in a moment."
        )
        assert int(headers["Retry-After"]) >= 1
        camunda = await client.post("/engine-rest/signal", {"name": name}, expect=503)
        assert (camunda["code"], "PostgreSQL does not answer" in camunda["message"]) == (None, True)

        link.restore()
        await eventually(lambda: probe("/readyz", 200))
        await recorded(client, (await throw(client, name))["id"])


async def test_while_rabbitmq_blocks_publishers_it_is_alive_but_not_ready_and_answers_503(
    rabbitmq, rabbitmq_url, database_url, tmp_path, name
):
    environment = {"STORE_URL": database_url, "TRANSPORT_URL": rabbitmq_url, "DATA_DIR": str(tmp_path)}
    async with (
        Process("run", environment=environment, log=tmp_path / "log") as process,
        client_of(process.url) as client,
    ):

        async def probe(path, status):
            return (await client.request("GET", path))[0] == status

        await throw(client, name)
        try:
            await asyncio.to_thread(rabbitmq.raise_memory_alarm)
            # RabbitMQ tells a connection that it is blocked when it publishes.
            status, headers, _ = await client.request("POST", "/v1/signals", json={"name": name})
            assert (status, headers["Retry-After"]) == (503, "1")
            await eventually(lambda: probe("/readyz", 503))
            assert await probe("/livez", 200)
            problem = await client.post("/v1/signals", {"name": name}, expect=503)
            assert "RabbitMQ cannot be reached, or takes no messages; try again" in problem["detail"]
        finally:
            await asyncio.to_thread(rabbitmq.clear_memory_alarm)
        await eventually(lambda: probe("/readyz", 200))
        await recorded(client, (await throw(client, name))["id"])


async def samples(client):
    """Return every sample: (name, labels in order) -> value."""
    return {(name, *sorted(labels.values())): value for name, labels, value in await read_samples(client)}


async def test_metrics_come_in_the_format_that_is_asked_for(client):
    for accept, wanted in [("*/*", "text/plain"), ("application/openmetrics-text", "application/openmetrics-text")]:
        status, headers, body = await client.request("GET", "/metrics", headers={"Accept": accept})
        assert (status, headers["Content-Type"].partition(";")[0]) == (200, wanted)
        assert body.endswith(b"# EOF\n") == (accept == wanted)


async def test_metrics_count_what_happens(database_url, tmp_path, webhooks, name):
    """In a process of this test's own: elsewhere something is recorded that another test has thrown."""
    wanted = {
        ("signal_broker_signals_accepted_total", "broadcast", "native"): 1,
        ("signal_broker_signals_refused_total", "400", "native"): 1,
        ("signal_broker_signals_refused_total", "400", "camunda"): 1,
        ("signal_broker_accept_seconds_count", "native"): 1,
        ("signal_broker_signals_recorded_total",): 1,
        ("signal_broker_deliveries_matched_total",): 1,
        ("signal_broker_attempts_total", "succeeded", "webhook"): 1,
        ("signal_broker_deliveries_delivered_total", "webhook"): 1,
    }
    environment = {"STORE_URL": database_url, "DATA_DIR": str(tmp_path)}
    async with (
        Process("run", environment=environment, log=tmp_path / "log") as process,
        client_of(process.url) as client,
    ):
        subscription = await subscribe(client, name, webhooks.url("/hook"))
        await delivery(client, await throw(client, name), subscription, "delivered")
        await client.post("/v1/signals", {}, expect=400)
        await client.post("/engine-rest/signal/", {}, expect=400)

        async def counted():
            found = await samples(client)
            return {key: found.get(key, 0) for key in wanted} == wanted

        await eventually(counted)


RARE = {
    "signal_broker_losing_policies",
    "signal_broker_most_dead_deliveries",
    "signal_broker_oldest_leasable_seconds",
}
"""Metrics that have no series in a product without trouble."""


async def test_a_product_exports_every_metric_of_the_table(database_url, tmp_path, webhooks, name):
    environment = {"STORE_URL": database_url, "DATA_DIR": str(tmp_path), "STORE_POOL_SIZE": "12"}
    async with (
        Process("run", environment=environment, log=tmp_path / "log") as process,
        client_of(process.url) as client,
    ):
        subscription = await subscribe(client, name, webhooks.url("/hook"))
        await delivery(client, await throw(client, name), subscription, "delivered")

        async def exported():
            found = await read_samples(client)
            bases = {re.sub("_(bucket|count|sum)$", "", sample) for sample, _, _ in found}
            return described_metrics().keys() - bases == RARE and found

        labels = {}
        for sample, named, _ in await eventually(exported):
            labels.setdefault(re.sub("_(bucket|count|sum)$", "", sample), set()).update(named.keys() - {"le"})
        assert {one: labels.get(one, set()) for one in described_metrics().keys() - RARE} == {
            one: known for one, known in described_metrics().items() if one not in RARE
        }
        samples = {(sample, *sorted(named.values())): value for sample, named, value in await read_samples(client)}
        assert samples["signal_broker_check_passed", "store"] == 1
        assert samples["signal_broker_store_connections_limit",] == 12
        assert samples["signal_broker_confirm_seconds_count",] == 1
        assert samples["signal_broker_numbering_seconds_count",] == 1
        assert samples["signal_broker_batch_messages_count", "signals.record"] == 1
        assert samples["signal_broker_build_info", version("signal-broker")] == 1
        assert samples["signal_broker_loop_lag_seconds_count",] > 0
        roles = {labels[0] for sample, *labels in samples if sample == "signal_broker_role"}
        assert roles == {"gateway", "recorder", "deliverer", "scheduler"}


EVENTS = {"delivery.attempted", "signal.accepted", "signal.recorded"}


def events_of(signal, lines):
    """Return what the lines about *signal* tell of."""
    return {line["event"] for line in lines if line.get("signal_id") == signal["id"]}


async def test_logs_are_json_lines_that_say_which_signal_and_which_delivery(client, product, webhooks, name):
    subscription = await subscribe(client, name, webhooks.url("/hook"))
    signal = await throw(client, name)
    await delivery(client, signal, subscription, "delivered")

    lines = await logged(product.log, lambda lines: events_of(signal, lines) == EVENTS)
    [attempted] = [line for line in lines if line.get("delivery_id") == f"{signal['id']}-{subscription['id']}"]
    assert attempted["event"] == "delivery.attempted"
    assert attempted["subscription_id"] == subscription["id"]
    assert all({"event", "level", "timestamp"} <= set(line) for line in lines)
    assert "request.failed" not in {line["event"] for line in lines}


async def test_an_attempt_that_failed_leaves_a_warning(client, product, webhooks, name):
    webhooks.answer("/hook", Answer(status=400), Answer())
    subscription = await subscribe(client, name, webhooks.url("/hook"), retry={"schedule": [0]})
    signal = await throw(client, name)
    await delivery(client, signal, subscription, "delivered")

    def attempts(lines):
        return [
            line for line in lines if (line["event"], line.get("signal_id")) == ("delivery.attempted", signal["id"])
        ]

    lines = attempts(await logged(product.log, lambda lines: len(attempts(lines)) == 2))
    assert [(line["level"], line["outcome"]) for line in lines] == [("warning", "refused"), ("info", "succeeded")]


async def test_no_token_and_no_secret_gets_into_the_logs(client, product, webhooks, name):
    made = await client.post("/v1/tokens", {"name": name, "permissions": ["signals:throw"]})
    subscription = await subscribe(client, name, webhooks.url("/hook"))
    await client.caller(made["token"] + "x").post("/v1/signals", {"name": name}, expect=401)
    signal = await client.caller(made["token"]).post("/v1/signals", {"name": name}, expect=202)
    await delivery(client, signal, subscription, "delivered")
    await logged(product.log, lambda lines: events_of(signal, lines) == EVENTS)

    log = product.log.read_text()

    assert made["token"] not in log
    assert subscription["secret"] not in log
