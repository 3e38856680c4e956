"""Metrics at a port of their own, which a network policy can part from the API."""

from __future__ import annotations

import pytest

from tests.support.exposition import read_samples
from tests.support.product import Process, client_of
from tests.support.waiting import logged


@pytest.mark.slow
@pytest.mark.parametrize("command", [("gateway",), ("worker", "recorder", "deliverer", "scheduler")])
async def test_the_metrics_are_at_their_port_and_nothing_else_is(command, database_url, tmp_path):
    environment = {"STORE_URL": database_url, "DATA_DIR": str(tmp_path), "METRICS_PORT": "0"}
    async with (
        Process(*command, environment=environment, log=tmp_path / "log") as process,
        client_of(process.url) as api,
        client_of(await metrics_url(process)) as scraper,
    ):
        assert scraper.url != api.url
        ready = {(name, value) for name, _, value in await read_samples(scraper) if name == "signal_broker_ready"}
        assert ready == {("signal_broker_ready", 1)}
        for client, path, wanted in [
            (api, "/metrics", 404),
            (api, "/livez", 200),
            (api, "/readyz", 200),
            (scraper, "/livez", 404),
            (scraper, "/readyz", 404),
            (scraper, "/v1/signals", 404),
        ]:
            assert (await client.request("GET", path))[0] == wanted, path
        if command == ("gateway",):
            assert "/metrics" not in (await api.get("/openapi.json"))["paths"]
        assert await process.stop() == 0


async def metrics_url(process):
    """Return where *process* serves its metrics, as its log has it, without the path."""
    lines = await logged(process.log, lambda lines: any(line["event"] == "metrics.served" for line in lines))
    [url] = [line["url"] for line in lines if line["event"] == "metrics.served"]
    return url.removesuffix("/metrics")
