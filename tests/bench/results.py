"""What is kept of runs of `make bench`, as JSON: each with where and how it was made."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from broker.store.postgres.database import Database
from tests.bench.load import tool
from tests.bench.rows import POSTGRESQL, RABBITMQ, Bench, Figure

ROOT = Path(__file__).parents[2]
LIBRARIES = ("aiohttp", "aio-pika", "aiormq", "asyncpg", "uvloop")


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run of `make bench`.

    Args:
        date: When it began, ISO 8601.
        commit: The product's; with ``+`` if there were changes beside it.
        machine: Its cores and memory.
        versions: Of Python, the servers and the libraries.
        load: What made the closed loops: wrk, or our own.
        rounds: How often each row was measured, at most.
        seconds: How long each load lasted.
        figures: One for each row.
        missing: Names of rows that could not be measured there.
        busy: The machine's load average before it began, if that was noted.
    """

    date: str
    commit: str
    machine: str
    versions: Mapping[str, str]
    load: str
    rounds: int
    seconds: float
    figures: Sequence[Figure]
    missing: Sequence[str]
    busy: float | None = None


async def describe(bench: Bench) -> dict[str, Any]:
    """Return everything about a run but its figures."""
    versions = {"Python": platform.python_version()}
    if bench.rabbit is not None:
        versions[RABBITMQ] = bench.rabbit.ctl("version").strip()
    if bench.postgres is not None:
        async with Database(bench.postgres.url, size=1) as database:
            versions[POSTGRESQL] = str(await database.fetchval("SHOW server_version"))
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": _machine(),
        "versions": versions | {name: version(name) for name in LIBRARIES},
        "load": tool(bench.seconds),
        "rounds": bench.rounds,
        "seconds": bench.seconds,
        "busy": round(os.getloadavg()[0], 2),
    }


def _commit() -> str:
    commit = _git("rev-parse", "--short", "HEAD") or "unknown"
    return f"{commit}+" if _git("status", "--porcelain", "--untracked-files=no") else commit


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{len(os.sched_getaffinity(0))} cores ({_processor()}), {memory:.0f} GiB of memory"


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", file.read_text()) if file.exists() else None
    return found[1] if found else platform.machine()


def load_runs(path: Path) -> list[Run]:
    """Return the runs kept in *path*, which need not be there."""
    if not path.exists():
        return []
    documents: list[dict[str, Any]] = json.loads(path.read_text())
    return [
        Run(**document | {"figures": [Figure(**figure) for figure in document["figures"]]}) for document in documents
    ]


def save_runs(path: Path, runs: Iterable[Run]) -> None:
    """Keep *runs* in *path*."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps([_document(run) for run in runs], indent=1) + "\n")
    new.replace(path)


def _document(run: Run) -> dict[str, Any]:
    document = asdict(run)
    for figure in document["figures"]:
        figure["value"] = _rounded(figure["value"])
        figure["ratio"] = figure["ratio"] and _rounded(figure["ratio"])
        figure["cpu"] = {component: _rounded(used) for component, used in figure["cpu"].items()}
    return document


def _rounded(number: float) -> float:
    """Return *number* with four digits that count: the others are noise."""
    return float(f"{number:.4g}")
