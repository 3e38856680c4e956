"""The README's commands do what it says: `make run`, the walk-through pasted as it stands, and every task."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.ports import free_ports

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```sh (\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(label: str) -> str:
    """Everything that the README wants pasted under *label*."""
    return "\n".join(text for name, text in BLOCK.findall((ROOT / "README.md").read_text()) if name == label)


class MakeRun:
    """`make run` in a terminal of its own."""

    def __init__(self, port: int, directory: Path, log: Path) -> None:
        self.log = log
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("SIGNAL_BROKER_", "MAKE"))},
            "SIGNAL_BROKER_HTTP_PORT": str(port),
            "SIGNAL_BROKER_DATA_DIR": str(directory),
        }
        with log.open("w") as file:
            self.process = subprocess.Popen(
                ["make", "run"],
                cwd=ROOT,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                start_new_session=True,
            )
        self.lines = []
        with self.process.stdout as output:
            for line in output:
                self.lines.append(line.strip())
                if line.strip().startswith("curl"):
                    break

    def interrupt(self) -> None:
        """Press Ctrl-C, and wait until the last process of the terminal is gone."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(timeout=30)


@pytest.fixture(scope="module")
def ports():
    return free_ports(2)


@pytest.fixture(scope="module")
def directory(servers):
    return servers / "readme"


@pytest.fixture(scope="module")
def running(ports, directory, servers):
    run = MakeRun(ports[0], directory, servers / "readme.log")
    yield run
    run.interrupt()


@pytest.fixture(scope="module")
def paste(running, ports):
    """Return a function that pastes text of the README into a shell."""
    token = next(line.removeprefix("admin token ") for line in running.lines if line.startswith("admin token"))

    def paste(text: str) -> str:
        text = text.replace("TOKEN=sb_...", f"TOKEN={token}")
        text = text.replace("127.0.0.1:8080", f"127.0.0.1:{ports[0]}").replace(
            "127.0.0.1:9000", f"127.0.0.1:{ports[1]}"
        )
        done = subprocess.run(
            ["bash", "-e", "-c", text],
            cwd=ROOT,
            env=running.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return paste


@pytest.fixture(scope="module")
def receiver(ports, tmp_path_factory):
    command = blocks("receiver").replace("9000", str(ports[1])).split()
    output = tmp_path_factory.mktemp("receiver") / "output"
    with output.open("w") as file, subprocess.Popen(command, cwd=ROOT, stdout=file) as process:
        yield output
        process.terminate()


def wait_for(check, within=60):
    end = time.monotonic() + within
    while not (found := check()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def test_make_run_says_where_it_is_and_how_to_begin(running, ports):
    *installing, ready, console, docs, token, _, curl = running.lines
    assert all(line.startswith("installing ") for line in installing), "the first time, on a fresh machine"
    assert ready == f"ready http://127.0.0.1:{ports[0]}"
    assert console == f"console http://127.0.0.1:{ports[0]}/console"
    assert docs == f"docs http://127.0.0.1:{ports[0]}/docs"
    assert token.startswith("admin token sb_")
    answer = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, timeout=20, check=False)
    assert answer.stdout.startswith("HTTP/1.1 202"), answer.stdout


def test_the_first_minute_goes_as_the_readme_says(paste, receiver, running, ports):
    throw, look = blocks("first").split("curl -s http://127.0.0.1:8080/v1/deliveries/2-1")
    subscription, signal_ = (json.loads(answer) for answer in paste(throw).replace("}{", "}\n{").splitlines())
    assert subscription["secret"].startswith("whsec_")

    delivered = wait_for(lambda: receiver.read_text().strip())
    expected = f"{signal_['id']}-{subscription['id']}"
    assert delivered.startswith(f'{expected} {{"id":{signal_["id"]},"name":"policy.changed","scope":"broadcast"')
    assert delivered.endswith('"payload":{"policy": 42}}')

    token_line = next(line for line in throw.splitlines() if line.startswith("TOKEN="))
    look = f"{token_line}\ncurl -s http://127.0.0.1:8080/v1/deliveries/{expected}{look}"

    def settled():
        delivery, ledger = (json.loads(answer) for answer in paste(look).replace("}{", "}\n{").splitlines())
        outcomes = [attempt["outcome"] for attempt in delivery["attempts"]]
        return ledger if outcomes[-1:] == ["succeeded"] and ledger["deliveries"]["delivered"] else None

    ledger = wait_for(settled)
    assert (ledger["matched"], ledger["unaccounted"]) == (1, 0)


def test_what_is_parked_since_the_receiver_was_down_arrives_when_it_is_redriven(paste, tmp_path):
    (port,) = free_ports(1)
    token, subscribe, throw, *_ = blocks("first").split("\n\n")
    retry = f'"retry": {{"schedule": [3600]}}, "target": {{"kind": "webhook", "url": "http://127.0.0.1:{port}/"}}'
    subscribe = subscribe.replace("policy.#", "claim.#")
    subscription = json.loads(paste(f"{token}\n{re.sub('.target.: [{].*?[}]', retry, subscribe)}"))
    signal_ = json.loads(paste(f"{token}\n{throw.replace('policy.changed', 'claim.paid')}"))
    delivery = f"{signal_['id']}-{subscription['id']}"
    listing = f".venv/bin/signal-broker deliveries list --state parked --subscription {subscription['id']}"
    wait_for(lambda: delivery in paste(listing))

    output = tmp_path / "output"
    command = blocks("receiver").replace("9000", str(port)).split()
    with output.open("w") as file, subprocess.Popen(command, cwd=ROOT, stdout=file) as process:
        try:
            wait_for(lambda: _answers(port))
            paste(blocks("redrive").replace("--subscription 1 ", f"--subscription {subscription['id']} "))
            assert wait_for(lambda: output.read_text().strip()).startswith(delivery)
        finally:
            process.terminate()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("command", [line for line in blocks("task").splitlines() if line])
def test_every_task_works_as_pasted(paste, command):
    assert paste(command)


def test_ctrl_c_ends_it_cleanly_and_started_again_it_has_its_data(running, ports, directory, servers):
    with urllib.request.urlopen(f"http://127.0.0.1:{ports[0]}/readyz", timeout=5) as answer:
        assert answer.status == 200
    running.interrupt()
    assert '"event":"process.stopped"' in running.log.read_text()
    with pytest.raises(ProcessLookupError):
        os.killpg(running.process.pid, 0)

    again = MakeRun(ports[0], directory, servers / "readme-again.log")
    again.interrupt()
    assert again.lines[3].startswith("admin token the one printed at the first start; `")
    assert again.lines[3].endswith("signal-broker token create me --permission admin` makes another")
