"""A product that traces, as its variables say."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.collector import Collected, Collector
from tests.support.eventually import eventually
from tests.support.product import Process, client_of
from tests.support.receiver import receiver

CALLER = f"00-{'a' * 32}-{'b' * 16}-01"
SERVING = "POST /v1/signals"
NUMBERING = "signal_broker.number"
PUBLISHING = "publish signals.record"
RECORDING = "record signals.record"


@asynccontextmanager
async def traced_product(
    monkeypatch: pytest.MonkeyPatch,
    database_url: str,
    directory: Path,
    endpoint: str,
    *arguments: str,
    **variables: str,
) -> AsyncIterator[Process]:
    """Run a product that exports to *endpoint*, and yield it, with a client and a receiver of webhooks.

    *arguments* are those of ``signal-broker run``, *variables* are OpenTelemetry's, and settings without their prefix.
    """
    named = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "50", **variables}
    for key in [key for key in named if key.startswith("OTEL_")]:
        monkeypatch.setenv(key, named.pop(key))
    environment = {"STORE_URL": database_url, "DATA_DIR": str(directory), **named}
    async with (
        Process("run", *arguments, environment=environment, log=directory / "log") as process,
        client_of(process.url) as client,
        receiver() as webhooks,
    ):
        process.client, process.webhooks = client, webhooks
        yield process


def set_variables(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    """Set OpenTelemetry's *variables*, and no others, for one test, which may take them away itself."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    for name in ("OTEL_SERVICE_NAME", "OTEL_SPAN_LINK_COUNT_LIMIT"):  # defaults that are set are unset afterwards
        monkeypatch.setenv(name, "x")
        del os.environ[name]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


async def one(spans: Collector, name: str) -> Collected:
    """Return the only span of that *name*, once it is there."""
    [span] = await eventually(lambda: spans.named(name))
    return span


async def some(spans: Collector, name: str, count: int) -> list[Collected]:
    """Return the *count* spans of that *name*, once they are there."""
    found = await eventually(lambda: spans.named(name) if len(spans.named(name)) >= count else None)
    assert len(found) == count
    return found
