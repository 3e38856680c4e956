"""Network namespaces: places on this machine with an address each, between which a test can block the way."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class Namespaces:
    """Namespaces whose addresses this machine reaches by a bridge; *addresses* belong to them in this order."""

    def __init__(self, prefix: str, network: str, count: int) -> None:
        self._bridge = prefix
        self._names = [f"{prefix}{number}" for number in range(1, count + 1)]
        self._gateway = f"{network}.1"
        self.addresses = [f"{network}.{10 + number}" for number in range(1, count + 1)]

    def enter(self, number: int) -> Sequence[str]:
        """Return the command that runs another one in the namespace of that *number*, from 0."""
        return ("ip", "netns", "exec", self._names[number])

    def part(self, one: int, other: int) -> None:
        """Drop what these two send each other; both still reach everything else."""
        self._route("add", one, other)

    def rejoin(self, one: int, other: int) -> None:
        """Let these two reach each other again."""
        self._route("del", one, other)

    def _route(self, what: str, one: int, other: int) -> None:
        for here, there in ((one, other), (other, one)):
            _run(*self.enter(here), "ip", "route", what, "blackhole", f"{self.addresses[there]}/32")

    def create(self) -> None:
        """Make the bridge and the namespaces."""
        _run("ip", "link", "add", self._bridge, "type", "bridge")
        _run("ip", "address", "add", f"{self._gateway}/24", "dev", self._bridge)
        _run("ip", "link", "set", self._bridge, "up")
        for name, address in zip(self._names, self.addresses, strict=True):
            _run("ip", "netns", "add", name)
            _run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
            _run("ip", "link", "set", name, "master", self._bridge, "up")
            for command in (f"address add {address}/24 dev eth0", "link set eth0 up", "link set lo up"):
                _run("ip", "-netns", name, *command.split())

    def remove(self) -> None:
        """Remove what `create` made, or a part of it."""
        for name in self._names:
            _run("ip", "netns", "delete", name, check=False)
        _run("ip", "link", "delete", self._bridge, check=False)


def _run(*command: str, check: bool = True) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


@contextmanager
def namespaces(count: int) -> Iterator[Namespaces | None]:
    """Yield so many namespaces; None on a machine that does not let us make any (it takes root, and Linux)."""
    if os.geteuid() or not shutil.which("ip"):
        yield None
        return
    number = os.getpid()
    made = Namespaces(f"sbc{number}n", f"10.{213 + number % 8}.{number // 8 % 256}", count)
    try:
        made.create()
    except RuntimeError:
        made.remove()
        yield None
        return
    try:
        yield made
    finally:
        made.remove()
