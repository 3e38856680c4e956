"""A real Prometheus scrapes every role while signals are thrown; it has data for the dashboard and takes the alerts."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

import aiohttp
import pytest
import pytest_asyncio

from tests.support.dashboard import VARIABLES, queries, with_values
from tests.support.deployment import DEPLOY
from tests.support.eventually import eventually
from tests.support.postgres import fresh_database
from tests.support.product import Client, Process, client_of
from tests.support.prometheus import Prometheus, promtool, running_prometheus
from tests.support.queues import declare
from tests.support.receiver import Answer, Receiver, receiver
from tests.support.throwing import FAR, subscribe

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("prometheus_programs"),
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(300),
]

ALERTS = DEPLOY / "alerts.yaml"
ROLES = {
    "gateway": ("gateway",),
    "recorder": ("worker", "recorder"),
    "deliverer": ("worker", "deliverer"),
    "scheduler": ("worker", "scheduler"),
    "handlers": ("worker", "handlers", "--app", "tests.support.shop:handlers"),
}
EMPTY = {"Failing requests": "no request fails", "Policies that lose messages": "there is no such policy"}
"""Panels that have nothing to show while all is well, and why."""
ONCE = {"schedule": []}
"""A retry policy of a single attempt."""


@dataclass
class Site:
    """A product of one process a role, the traffic on it, and the Prometheus that scrapes it."""

    prometheus: Prometheus
    targets: dict[str, str]

    async def is_scraped(self) -> bool:
        """Return whether the last scrape of every role was a success."""
        found = (await self.prometheus.ask("targets"))["activeTargets"]
        return {target["labels"]["component"] for target in found if target["health"] == "up"} == self.targets.keys()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def site(prometheus_programs, store_server, rabbitmq, tmp_path_factory) -> AsyncIterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    async with AsyncExitStack() as stack:
        store_url = await stack.enter_async_context(fresh_database(store_server))
        transport_url = stack.enter_context(rabbitmq.vhost())
        context = stack.enter_context(pytest.MonkeyPatch.context())
        context.setenv("SHOP_APP", "shop-of-prometheus")
        context.setenv("SHOP_SIGNAL", "shop")
        environment = {"STORE_URL": store_url, "TRANSPORT_URL": transport_url, "DATA_DIR": str(directory)}
        processes = {
            role: await stack.enter_async_context(
                Process(*arguments, environment=environment, log=directory / f"{role}.log")
            )
            for role, arguments in ROLES.items()
        }
        client = await stack.enter_async_context(client_of(processes["gateway"].url))
        webhooks = await stack.enter_async_context(receiver())
        queue = await declare(transport_url)
        targets = {role: process.url.removeprefix("http://") for role, process in processes.items()}
        prometheus = await stack.enter_async_context(running_prometheus(directory, targets, ALERTS))
        site = Site(prometheus, targets)
        await eventually(site.is_scraped)  # before anything dies: only then is that an increase
        await stack.enter_async_context(traffic(client, webhooks, queue))
        yield site


@asynccontextmanager
async def traffic(client: Client, webhooks: Receiver, queue: str) -> AsyncIterator[None]:
    """Let signals be thrown for receivers of every kind: good ones, bad ones, gone ones and paused ones."""
    refusing = webhooks.answer("/refusing", Answer(status=500))
    await subscribe(client, "shop.paid", webhooks.url("/taking"), maxPerSecond=20)
    await subscribe(client, "shop.paid", refusing, retry=ONCE)
    await subscribe(client, "shop.paid", refusing, retry=FAR)
    await subscribe(client, "shop.paid", webhooks.answer("/gone", Answer(status=410)))
    paused = await subscribe(client, "shop.paid", webhooks.url("/paused"))
    await client.post(f"/v1/subscriptions/{paused['id']}/pause", {})
    for target in ({"kind": "queue", "queue": queue}, {"kind": "pull"}):
        await client.post("/v1/subscriptions", {"name": "shop.paid", "target": target}, expect=201)

    async def throw_on() -> None:
        while True:
            payload = {"order": 1, "url": webhooks.url("/shop")}
            await client.post("/v1/signals", {"name": "shop.paid", "payload": payload}, expect=202)
            await client.post("/v1/signals", {"payload": 1}, expect=400)
            await asyncio.sleep(0.05)

    task = asyncio.create_task(throw_on())
    try:
        yield
        assert not task.done(), task.result()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_it_scrapes_every_role(site):
    await eventually(site.is_scraped)
    assert site.targets.keys() == ROLES.keys()


async def test_it_counts_the_processes_of_every_role(site):
    await eventually(site.is_scraped)
    series = await site.prometheus.query("sum by (role, component) (signal_broker_role)")
    counted = {(one["metric"]["component"], one["metric"]["role"]): one["value"][1] for one in series}
    assert counted == {(role, role): "1" for role in ROLES}


@pytest.mark.parametrize("role", ROLES)
async def test_promtool_finds_nothing_wrong_with_the_metrics_of_a_role(site, role):
    async with aiohttp.ClientSession() as session, session.get(f"http://{site.targets[role]}/metrics") as answer:
        text = await answer.read()
    assert b"signal_broker_ready" in text
    assert await asyncio.to_thread(promtool, "check", "metrics", given=text) == ""


async def test_it_evaluates_every_alert_and_those_fire_that_should(site):
    async def firing() -> set[str]:
        (group,) = (await site.prometheus.ask("rules", type="alert"))["groups"]
        assert {rule["lastError"] for rule in group["rules"] if rule["health"] == "err"} == set()
        evaluated = all(rule["health"] == "ok" for rule in group["rules"])
        return {rule["name"] for rule in group["rules"] if rule["state"] == "firing"} if evaluated else set()

    assert await eventually(firing) <= {"SignalBrokerDeliveriesDie", "SignalBrokerDeadLetters"}


@pytest.mark.parametrize("query", queries(), ids=str)
async def test_a_query_of_the_dashboard_has_data(site, query):
    expression = with_values(query.expression, __rate_interval="1m")

    async def has_data() -> bool:
        series = await site.prometheus.query(expression)
        return any(not math.isnan(float(value)) for value in (one["value"][1] for one in series))

    if query.panel in EMPTY:
        await site.prometheus.query(expression)
    else:
        await eventually(has_data, within=90)


@pytest.mark.parametrize("variable", ["namespace", "job", "instance"])
async def test_a_variable_of_the_dashboard_has_values(site, variable):
    asked = re.fullmatch(r"label_values\((.+), (\w+)\)", VARIABLES[variable]["query"]["query"])
    found = await site.prometheus.ask(f"label/{asked[2]}/values", **{"match[]": with_values(asked[1])})
    wanted = {"namespace": ["signal-broker"], "job": ["signal-broker"], "instance": sorted(site.targets.values())}
    assert sorted(found) == wanted[variable]


async def test_a_panel_of_a_process_shows_the_chosen_one_alone(site):
    chosen = site.targets["recorder"]
    (memory,) = (query.expression for query in queries() if query.panel == "Memory")
    (series,) = await site.prometheus.query(with_values(memory, instance=chosen))
    assert series["metric"] == {"instance": chosen}
