"""CPU time of the components of a stack, each a tree of processes, over the time of a load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.bench.rows import Bench


@dataclass
class Usage:
    """What `measuring` yields: seconds of CPU by component, once its block is left."""

    seconds: dict[str, float] = field(default_factory=dict)

    def per(self, count: float) -> dict[str, float]:
        """Return the microseconds of CPU that each of *count* signals took, by component."""
        return {component: seconds / count * 1e6 for component, seconds in self.seconds.items()} if count else {}


@contextmanager
def measuring(pids: Mapping[str, int | None]) -> Iterator[Usage]:
    """Measure the process trees that begin at *pids*, by component; what has no pid is left out."""
    known = {component: pid for component, pid in pids.items() if pid is not None}
    before, usage = {component: _seconds(pid) for component, pid in known.items()}, Usage()
    yield usage
    usage.seconds = {component: _seconds(pid) - before[component] for component, pid in known.items()}


def servers_of(bench: Bench) -> dict[str, int | None]:
    """Return the pids of the servers, so far as they are our own."""
    return {
        "rabbitmq": bench.rabbit.pid if bench.rabbit else None,
        "postgres": postmaster(bench.directory / "pg") if bench.postgres else None,
    }


def without_gateway(pids: Mapping[str, int | None]) -> dict[str, int | None]:
    """Return *pids* of a stack whose gateway has done its part."""
    return {component: pid for component, pid in pids.items() if component != "gateway"}


def postmaster(data_dir: Path) -> int | None:
    """Return the pid of the embedded PostgreSQL that has its data in *data_dir*, if there is one."""
    file = data_dir / "postgres" / "postmaster.pid"
    return int(file.read_text().split()[0]) if file.exists() else None


def _seconds(pid: int) -> float:
    """Return the CPU time of a tree of processes, of those included that have ended and that *pid* has waited for."""
    root = psutil.Process(pid)
    times = root.cpu_times()
    total = float(times.children_user + times.children_system)
    for process in [root, *root.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total
