"""docs/troubleshooting.md: each command in it works, in its order, and each that a sentence names is one."""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
from pathlib import Path
from tempfile import mkdtemp

import click
import pytest

from broker.deliveries import Outcome, Reason
from broker.topology import TOPOLOGY
from broker.transport.rabbitmq import RabbitTransport
from deploy.cli.main import main
from tests.support.eventually import eventually
from tests.support.instances import Place, Run
from tests.support.rabbitmq_servers import vhost_of
from tests.support.receiver import receiver

pytestmark = pytest.mark.slow

TEXT = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text()
BLOCKS = re.findall(r"^```sh (\w+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
TASKS, ON_RABBITMQ = (
    [line for label, text in BLOCKS if label == wanted for line in text.splitlines()] for wanted in ("task", "rabbitmq")
)
NAMED = sorted(set(re.findall(r"`(?:SIGNAL_BROKER_\w+=\S+ )?(signal-broker [^`]+)`", TEXT)))


def call(run: Run, line: str, ids: dict[str, str]) -> subprocess.CompletedProcess[str]:
    program, *arguments = shlex.split(line)
    if program == "curl":
        line = line.replace("http://127.0.0.1:8080", run.url)
        return subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert program == "signal-broker"
    return run.place.call(*(ids.get(argument, argument) for argument in arguments))


async def test_every_command_works(servers: Path):
    assert len(TASKS) > 30
    place = Place(Path(mkdtemp(dir=servers)))
    with Run(place) as run:
        async with receiver() as target:
            made = await asyncio.to_thread(
                place.ask, "subscribe", "order.#", "--tenant", "globex", "--webhook", target.url("/hook")
            )
            thrown = await asyncio.to_thread(place.ask, "throw", "order.paid", "--tenant", "globex")
            await eventually(lambda: len(target.requests) == 1)
            ids = {"7": str(made["id"]), "34": str(thrown["id"]), "34-7": f"{thrown['id']}-{made['id']}"}
            for line in TASKS:
                done = await asyncio.to_thread(call, run, line, ids)
                assert (done.returncode, done.stderr) == (0, ""), (line, done)


async def test_every_command_on_rabbitmq_works(rabbitmq, rabbitmq_url):
    assert ON_RABBITMQ
    async with RabbitTransport(rabbitmq_url) as transport:
        await transport.declare(TOPOLOGY)
    for line in ON_RABBITMQ:
        program, command, *arguments = shlex.split(line)
        assert program == "rabbitmqctl"
        vhost = ("-p", vhost_of(rabbitmq_url)) if command == "list_queues" else ()
        shown = await asyncio.to_thread(rabbitmq.ctl, command, *vhost, *arguments)
        assert ("signals.record" if vhost else "Alarms") in shown


@pytest.mark.parametrize("line", NAMED)
def test_a_command_that_a_sentence_names_exists_with_its_options(line: str):
    command: click.Command = main
    context = click.Context(main)
    words = shlex.split(line)[1:]
    while isinstance(command, click.Group) and words:
        found = command.get_command(context, words.pop(0))
        assert found is not None
        command = found
    options = {name for option in command.params for name in option.opts}
    assert {word for word in words if word.startswith("--")} <= options


def test_every_reason_and_every_bad_outcome_is_in_it():
    for one in [*Reason, *(set(Outcome) - {Outcome.SUCCEEDED})]:
        assert f"`{one.value}`" in TEXT or f"--outcome {one.value}" in TEXT, one


def test_every_link_leads_to_a_heading():
    headings = re.findall("^#+ (.*)$", TEXT, re.MULTILINE)
    anchors = {re.sub("[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]*)\)", TEXT)) <= anchors
    assert len(headings) > 15
