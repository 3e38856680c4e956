"""Instances of the product, each in a directory of its own, as their users run them: by the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any, Self
from urllib.error import HTTPError

import psutil

from tests.support import commands
from tests.support.product import COMMAND


class Place:
    """A data directory, and the environment of the commands that work there."""

    def __init__(self, directory: Path) -> None:
        self.data = directory / "data"
        own = {"SIGNAL_BROKER_DATA_DIR": str(self.data), "SIGNAL_BROKER_HTTP_PORT": "0"}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SIGNAL_BROKER_")}
        self.environment = inherited | own

    def call(self, *arguments: str, given: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        environment = self.environment | {f"SIGNAL_BROKER_{name}": value for name, value in settings.items()}
        return commands.run(*arguments, environment=environment, given=given)

    def ask(self, *arguments: str, given: str = "") -> Any:
        """Run a command that must succeed without a word on standard error; return the JSON it printed."""
        done = self.call(*arguments, "--json", given=given)
        assert (done.returncode, done.stderr) == (0, ""), done
        return json.loads(done.stdout)

    def refusal(self, *arguments: str, **settings: str) -> str:
        """Run a command that must fail with one line, and return it."""
        done = self.call(*arguments, **settings)
        assert (done.returncode, done.stdout) == (1, ""), done
        assert done.stderr.startswith("Error: ")
        assert done.stderr.count("\n") == 1
        return done.stderr.strip()

    def has_postgres(self) -> bool:
        """Whether the place's PostgreSQL runs."""
        with suppress(FileNotFoundError):
            return psutil.pid_exists(self.postgres())
        return False

    def postgres(self) -> int:
        """Return the process id of the place's PostgreSQL."""
        return int((self.data / "postgres" / "postmaster.pid").read_text().split()[0])


class Run:
    """A `signal-broker run` at a place: entering waits until it is ready, leaving ends it."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.log = place.data.parent / "log"
        self.said = ""

    def __enter__(self) -> Self:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "run"], env=self.place.environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if "curl" in line:
                self.url = self.said.split()[1]
                return self
        self.__exit__()
        raise AssertionError(self.log.read_text()[-2000:])

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.end(signal.SIGTERM)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def end(self, number: signal.Signals) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(30)

    def http(self, path: str, token: str = "", body: object = None) -> int:
        """Return the status of a request."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers), timeout=10) as answer:
                return int(answer.status)
        except HTTPError as error:
            error.close()
            return error.code

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log's lines about *name*."""
        lines = map(json.loads, self.log.read_text().splitlines())
        return [line for line in lines if line["event"] == name]
