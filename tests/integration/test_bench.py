"""The benchmark measures: a short form of it, so that it does not rot. Nothing here depends on how fast anything is."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest

from tests.bench import accepting, latency, load
from tests.bench.__main__ import main, measure
from tests.bench.baselines import running as running_baseline
from tests.bench.load import DUE, Order, post
from tests.bench.programs import run
from tests.bench.progress import SignalsLostError
from tests.bench.receiving import receiving
from tests.bench.rows import Bench
from tests.bench.verifying import verify
from tests.support.product import client_of

pytestmark = pytest.mark.slow

FIGURE = {"name", "what", "unit", "value", "cpu", "baseline", "ratio", "target", "shown"}


@pytest.fixture
def bench(servers, store_server, rabbitmq):
    """What groups work with, for a fraction of a second each."""
    return Bench(directory=servers, rounds=1, seconds=0.3, wanted=(), postgres=store_server, rabbit=rabbitmq)


def test_a_run_is_written_as_json_with_a_figure_for_each_row(tmp_path, capsys):
    file = tmp_path / "run.json"
    assert main(["--rows", "filters", "--rounds", "1", "--json", str(file)]) == 0
    assert "a filter with five conditions" in capsys.readouterr().out
    (run,) = json.loads(file.read_text())
    assert run.keys() == {
        "date",
        "commit",
        "machine",
        "versions",
        "load",
        "rounds",
        "seconds",
        "figures",
        "missing",
        "busy",
    }
    assert [figure["name"] for figure in run["figures"]] == [
        "filters.json",
        "filters.five",
        "filters.further",
        "filters.any",
    ]
    assert all(figure.keys() == FIGURE and figure["value"] > 0 for figure in run["figures"])
    assert run["missing"] == []


async def test_a_gateway_is_measured_beside_its_baseline_and_everything_accepted_is_found_recorded(bench):
    wanted = {"accepting.bare.rate", "accepting.plain.cpu", "accepting.native-quiet.cpu", "accepting.batch-quiet.rate"}
    figures = {
        figure.name: figure for figure in await measure(accepting.GROUP, Bench(**vars(bench) | {"wanted": wanted}))
    }
    assert figures.keys() == wanted
    assert all(figure.value > 0 for figure in figures.values())
    native = figures["accepting.native-quiet.cpu"]
    assert native.ratio == native.value / figures["accepting.plain.cpu"].value
    assert native.cpu["gateway"] == native.value
    assert native.cpu.keys() <= {"gateway", "rabbitmq", "postgres"}


async def test_latencies_are_measured_of_the_product_and_of_rabbitmq_alone(bench):
    wanted = {row.name for row in latency.GROUP.rows if "webhook" not in row.name}
    figures = await measure(latency.GROUP, Bench(**vars(bench) | {"wanted": wanted}))
    assert {figure.name for figure in figures} == wanted
    assert all(figure.value > 0 for figure in figures)


async def test_a_latency_counts_from_when_its_request_was_due():
    """A server that stalls holds up what is due meanwhile: that is in the latencies, not left out."""

    async def stall_once(reader, writer):
        pause = 0.5
        while await reader.readuntil(b"\r\n\r\n"):
            await reader.readexactly(2)
            await asyncio.sleep(pause)
            pause = 0
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def handle(reader, writer):
        try:
            await stall_once(reader, writer)
        except asyncio.IncompleteReadError:
            writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        url = "http://{}:{}/".format(*server.sockets[0].getsockname())
        answers = await post(Order(url=url, body="{}", seconds=0.5, rate=40, connections=1))
    assert answers.answered == 20
    assert sum(latency > 0.2 for latency in answers.latencies) >= 10


async def test_a_request_tells_when_it_was_due():
    async with receiving() as receiver:
        body = json.dumps({"due": 0}).replace("0", DUE.decode())
        answers = await post(Order(url=receiver.url, body=body, seconds=0.2, rate=50))
    assert answers.answered == receiver.requests == len(receiver.latencies) == 10
    assert all(0 <= seconds < 60 for seconds in receiver.latencies)


@pytest.mark.parametrize("has_wrk", [True, False])
async def test_a_closed_loop_is_made_with_wrk_or_without(has_wrk, monkeypatch):
    if not has_wrk:
        monkeypatch.setattr(load, "WRK", None)
    async with running_baseline("bare") as bare:
        answers = await post(Order(url=bare.url, body="{}", seconds=1))
    assert answers.answered > 0
    assert answers.failed == 0
    assert answers.ceiling > 0


_INTERRUPTED = """
import signal
from tests.bench.programs import write_json
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
write_json("x" * 20_000_000)
signal.setitimer(signal.ITIMER_REAL, 0)
"""


async def test_a_large_document_arrives_whole_although_its_writes_are_interrupted(monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    assert len(await run(sys.executable, "-c", _INTERRUPTED)) == len('""') + 20_000_000


async def test_signals_that_are_missing_are_a_failure(product, monkeypatch):
    monkeypatch.setattr("tests.bench.progress.PATIENCE", 1)
    async with client_of(product.url) as client:
        await verify(client)
        with pytest.raises(SignalsLostError):
            await verify(client, accepted=1_000_000)
