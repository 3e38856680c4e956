"""The README's "Running it for real": its commands, as they are printed, on servers of one's own and on one machine."""

from __future__ import annotations

import re
import shlex
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.ports import free_ports
from tests.support.postgres import unmigrated
from tests.support.product import ADMIN_TOKEN, SECRET_KEY, Process, client_of
from tests.support.receiver import receiver
from tests.support.remote import Laptop

pytestmark = pytest.mark.timeout(300)
README = (Path(__file__).parents[2] / "README.md").read_text()
LINES = [
    line.strip().partition("#")[0].rstrip()
    for line in re.search("^## Running it for real$(.*?)^### ", README, re.MULTILINE | re.DOTALL)[1].splitlines()
    if line.startswith("    ")
]


@pytest.mark.slow
async def test_each_process_starts_and_together_they_deliver(postgres_url, rabbitmq_url, tmp_path):
    async with AsyncExitStack() as stack:
        settings = {
            "STORE_URL": (await stack.enter_async_context(unmigrated(postgres_url))).url,
            "TRANSPORT_URL": rabbitmq_url,
            "SECRET_KEYS": SECRET_KEY,
            "ADMIN_TOKEN": ADMIN_TOKEN,
        }
        exported = [line.removeprefix("export SIGNAL_BROKER_") for line in LINES if line.startswith("export ")]
        assert [line.partition("=")[0] for line in exported] == [
            *("TRANSPORT_URL", "STORE_URL", "SECRET_KEYS", "ADMIN_TOKEN")
        ]
        commands = [shlex.split(line) for line in LINES if not line.startswith("export ")]
        assert commands.pop(0) == ["signal-broker", "migrate"]
        done = await Laptop(tmp_path, **settings).call("migrate")
        assert (done.returncode, done.stdout) == (0, "the schema is up to date\n")

        printed = [variable for variable, *_ in commands]
        assert len(set(printed)) == len(printed) == 4, "each has a port of its own"
        ports = dict(zip(printed, free_ports(4), strict=True))
        processes = []
        for number, (variable, program, *arguments) in enumerate(commands):
            assert (variable.partition("=")[0], program) == ("SIGNAL_BROKER_HTTP_PORT", "signal-broker")
            environment = {**settings, "HTTP_PORT": str(ports[variable]), "DATA_DIR": str(tmp_path / "nothing")}
            processes.append(Process(*arguments, environment=environment, log=tmp_path / f"log{number}"))
            await stack.enter_async_context(processes[-1])
        target = await stack.enter_async_context(receiver())
        client = await stack.enter_async_context(client_of(processes[0].url))
        await client.post("/v1/subscriptions", {"name": "a", "target": {"kind": "webhook", "url": target.url("/hook")}})
        await client.post("/v1/signals", {"name": "a"})
        await eventually(lambda: len(target.requests) == 1)
        for process in processes:
            assert await process.stop() == 0
