"""``make bench-memory``: how much memory each role needs for signals of a megabyte beside small ones.

Each role is a process of its own, on RabbitMQ or on the embedded transport, and meets all at once what the one before
it left. What is printed is the peak of the resident set (VmHWM).
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvloop

from tests.bench.receiving import receiving
from tests.support.eventually import eventually
from tests.support.postgres import PostgresServer, fresh_database, postgres_server
from tests.support.product import COMMAND, Client, Process, client_of
from tests.support.rabbitmq import rabbitmq_server

LARGE = 1_000_000
CONNECTIONS = 64
SMALL_PER_LARGE = 3
LATER = timedelta(seconds=2)


def payload() -> str:
    """Return a megabyte that cannot be compressed much."""
    return base64.b64encode(os.urandom(LARGE * 3 // 4)).decode()


def peak(process: Process) -> float:
    """Return the largest resident set that *process* has had, in MiB."""
    status = Path(f"/proc/{process.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


async def throw(client: Client, count: int) -> int:
    """Throw *count* large signals, every tenth of them for later, and small ones beside them; return how many."""
    texts = [payload() for _ in range(8)]
    numbers = iter(range(count * (1 + SMALL_PER_LARGE)))

    async def caller() -> None:
        for number in numbers:
            large = number % (1 + SMALL_PER_LARGE) == 0
            document: dict[str, object] = {
                "name": "bench",
                "payload": {"number": number, "text": texts[number % 8] if large else "x" * 500},
            }
            if number % (10 * (1 + SMALL_PER_LARGE)) == 0:
                document["deliverAt"] = (datetime.now(UTC) + LATER).isoformat()
            data = json.dumps(document).encode()
            while True:
                status, headers, _ = await client.request(
                    "POST", "/v1/signals", data=data, headers={"Content-Type": "application/json"}
                )
                if status == 202:
                    break
                assert status == 503, status
                await asyncio.sleep(int(headers["Retry-After"]))

    await asyncio.gather(*(caller() for _ in range(CONNECTIONS)))
    return count * (1 + SMALL_PER_LARGE)


@asynccontextmanager
async def running(directory: Path, environment: dict[str, str], *arguments: str) -> AsyncIterator[Process]:
    """Run a process that was not forked from this one, and print its peak at the end."""
    log = directory / f"{arguments[-1]}.log"
    async with Process(*arguments, environment=environment, log=log, command=COMMAND) as process:
        before, start = peak(process), time.monotonic()
        yield process
        seconds = time.monotonic() - start
        print(f"{' '.join(arguments):18} {before:5.0f} -> {peak(process):5.0f} MiB in {seconds:.1f} s", flush=True)
        await process.stop()


async def measure(directory: Path, postgres: PostgresServer, amqp: str | None, count: int, *, one: bool) -> None:
    """Let *count* large signals pass through every role, one after the other; or through *one* process with all."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(fresh_database(postgres))
        environment = {"STORE_URL": database, "LOG_LEVEL": "warning", "DATA_DIR": str(directory)}
        if amqp is not None:
            environment["TRANSPORT_URL"] = amqp
        receiver = await stack.enter_async_context(receiving())
        arguments = ("run",) if one else ("gateway",)
        gateway = await stack.enter_async_context(running(directory, environment, *arguments))
        client = await stack.enter_async_context(client_of(gateway.url))
        for spec in ({}, {"filter": {"number": [{"operator": "NUM_GTE", "value": "0"}]}}):
            target = {"kind": "webhook", "url": receiver.url}
            await client.post("/v1/subscriptions", {"name": "bench", "target": target, **spec})
        thrown = await throw(client, count)
        print(f"gateway after {thrown} throws: {peak(gateway):.0f} MiB", flush=True)

        async def ledger_has(state: str, number: int) -> bool:
            books = await client.get("/v1/ledger")
            return bool(number <= (books["recorded"] if state == "recorded" else books["deliveries"][state]))

        if one:
            await eventually(lambda: ledger_has("delivered", 2 * thrown), within=3600, every=0.5)
        else:
            async with running(directory, environment, "worker", "recorder"):
                await eventually(lambda: ledger_has("recorded", thrown), within=3600, every=0.2)
            async with running(directory, environment, "worker", "scheduler"):
                await asyncio.sleep(LATER.total_seconds())

                async def has_released() -> bool:
                    return not (await client.get("/v1/signals?state=scheduled&limit=1"))["items"]

                await eventually(has_released, within=3600, every=0.2)
                async with running(directory, environment, "worker", "deliverer"):
                    await eventually(lambda: ledger_has("delivered", 2 * thrown), within=3600, every=0.5)
        await asyncio.gather(*(client.get("/v1/signals?limit=1000") for _ in range(4)))
        print(f"gateway after lists of 1000: {peak(gateway):.0f} MiB", flush=True)


def main() -> None:
    """Start the servers, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signals", type=int, default=10_000, help="how many signals of a megabyte")
    parser.add_argument("--embedded", action="store_true", help="use the embedded transport")
    parser.add_argument("--one", action="store_true", help="run all roles in one process")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="signal-broker-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        (directory / "rmq").mkdir()
        with postgres_server(directory / "pg") as postgres:
            if given.embedded:
                uvloop.run(measure(directory, postgres, None, given.signals, one=given.one))
                return
            with rabbitmq_server(directory / "rmq") as rabbit, rabbit.vhost() as amqp:
                uvloop.run(measure(directory, postgres, amqp, given.signals, one=given.one))


if __name__ == "__main__":
    main()
