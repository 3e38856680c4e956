"""What the chart runs, run here as a node would: the commands, settings, probes and grace periods of its pods."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from pathlib import Path

import aiohttp
import pytest

from broker.settings import PREFIX
from tests.support.collector import collector
from tests.support.eventually import eventually
from tests.support.helm import Manifest, containers, is_hook, needs_helm, of_kind, processes, render
from tests.support.ports import free_ports
from tests.support.product import Process, client_of

pytestmark = [pytest.mark.slow, needs_helm]


def rendered(database_url: str, rabbitmq_url: str, **values: object) -> list[Manifest]:
    http, metrics = free_ports(2)
    ports = {"SIGNAL_BROKER_HTTP_PORT": http, "SIGNAL_BROKER_METRICS_PORT": metrics}
    urls = {"SIGNAL_BROKER_STORE_URL": database_url, "SIGNAL_BROKER_TRANSPORT_URL": rabbitmq_url}
    return render("minimal", {"settings": ports, "secrets": urls, **values})


def environment(documents: list[Manifest]) -> dict[str, str]:
    """Return the settings that all containers get, without their prefix."""
    (config,) = [d for d in of_kind(documents, "ConfigMap") if not is_hook(d)]
    (secret,) = [d for d in of_kind(documents, "Secret") if not is_hook(d)]
    entries = config["data"] | {name: b64decode(value).decode() for name, value in secret["data"].items()}
    return {name.removeprefix(PREFIX): value for name, value in entries.items()}


async def answered(url: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status


async def passes(url: str) -> bool:
    return await answered(url) == 200


async def test_the_jobs_of_the_chart_succeed(database_url: str, rabbitmq_url: str, tmp_path: Path):
    documents = rendered(database_url, rabbitmq_url)
    for job in of_kind(documents, "Job"):
        (container,) = containers(job)
        process = Process(*container["args"], environment=environment(documents), log=tmp_path / "log")
        await process.launch()
        assert await asyncio.wait_for(process.process.wait(), 60) == 0, (tmp_path / "log").read_text()


@pytest.mark.parametrize("role", ["gateway", "recorder", "deliverer", "scheduler"])
async def test_a_process_of_the_chart_passes_its_probes_and_ends_within_its_grace_period(
    role: str, database_url: str, rabbitmq_url: str, tmp_path: Path
):
    documents = rendered(database_url, rabbitmq_url)
    pod = processes(documents)[role]["spec"]
    (container,) = pod["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    process = Process(*container["args"], environment=environment(documents), log=tmp_path / "log")
    async with process:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = container[probe]["httpGet"]
            url = f"http://127.0.0.1:{ports[asked['port']]}{asked['path']}"
            await eventually(lambda url=url: passes(url))
        assert await answered(f"http://127.0.0.1:{ports['metrics']}/metrics") == 200
        assert await answered(f"http://127.0.0.1:{ports['http']}/metrics") == 404
        assert await process.stop(within=pod["terminationGracePeriodSeconds"]) == 0


async def test_a_gateway_of_the_chart_sends_its_traces_to_the_collector_that_is_set(
    database_url: str, rabbitmq_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with collector() as spans:
        tracing = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": spans.url,
            "OTEL_SERVICE_NAME": "signals",
            "OTEL_BSP_SCHEDULE_DELAY": 50,
        }
        documents = rendered(database_url, rabbitmq_url, tracing=tracing)
        (container,) = processes(documents)["gateway"]["spec"]["containers"]
        for variable in container["env"]:
            monkeypatch.setenv(variable["name"], variable.get("value", "the-pod"))
        settings = environment(documents)
        async with (
            Process(*container["args"], environment=settings, log=tmp_path / "log") as process,
            client_of(process.url, settings["ADMIN_TOKEN"]) as client,
        ):
            await client.post("/v1/signals", {"name": "a"}, expect=202)
            (published,) = await eventually(lambda: spans.named("publish signals.record"))
        assert published.resource["service.name"] == "signals"
