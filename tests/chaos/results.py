"""What is kept of runs of `make chaos`, as JSON, so that they can be added up."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.chaos.experiment import Outcome


@dataclass(frozen=True, kw_only=True)
class Row:
    """A fault of a run, as it is kept; times are in seconds.

    Args:
        fault: Its name.
        lasted: How long it took.
        outage: The longest time without accepted throws.
        ready: How long after its end every process was ready; None: not in time.
        settled: How long after the load everything was delivered; None: not in time.
        thrown: Throws.
        accepted: Throws that were answered with a 2xx.
        failed: Throws that were not, by status.
        owed: Deliveries.
        lost: Signals that were accepted and are not recorded.
        repeats: What was taken more than once, by kind.
        violations: How many there were.
        sentences: The first of each kind.
    """

    fault: str
    lasted: float
    outage: float
    ready: float | None
    settled: float | None
    thrown: int
    accepted: int
    failed: Mapping[str, int]
    owed: int
    lost: int
    repeats: Mapping[str, int]
    violations: int
    sentences: Sequence[str]

    @classmethod
    def of_failure(cls, fault: str, error: Exception) -> Self:
        """Return the row of a fault whose books could not even be compared."""
        return cls(
            fault=fault,
            lasted=0,
            outage=0,
            ready=None,
            settled=None,
            thrown=0,
            accepted=0,
            failed={},
            owed=0,
            lost=0,
            repeats={},
            violations=1,
            sentences=[f"the books could not be compared: {error!r}"],
        )


def kinds(violations: Iterable[str]) -> Iterator[str]:
    """Yield the first of each kind of *violations*, and how many more there are: they differ in their numbers."""
    alike: dict[str, list[str]] = defaultdict(list)
    for violation in violations:
        alike[re.sub("[0-9]+", "", violation)[:60]].append(violation)
    for first, *others in alike.values():
        yield f"{first[:300]} (and {len(others)} more)" if others else first[:300]


def row_of(outcome: Outcome) -> Row:
    """Return what is kept of *outcome*."""
    books = outcome.books
    return Row(
        fault=", then ".join(outcome.faults),
        lasted=outcome.lasted,
        outage=outcome.outage,
        ready=outcome.ready,
        settled=outcome.settled,
        thrown=books.thrown,
        accepted=books.accepted,
        failed=dict(books.failed),
        owed=books.owed,
        lost=books.lost,
        repeats=dict(books.repeats),
        violations=len(outcome.violations),
        sentences=list(kinds(outcome.violations)),
    )


@dataclass(kw_only=True)
class Run:
    """A run of `make chaos`, whole or until it was interrupted.

    Args:
        seed: Of its schedule.
        version: The product's commit.
        rabbitmq: RabbitMQ's version and number of nodes.
        rate: Throws per second.
        skipped: Faults that this machine could not inflict.
        rows: What came of each fault.
    """

    seed: int
    version: str
    rabbitmq: str
    rate: float
    skipped: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)


def load_runs(path: Path) -> list[Run]:
    """Return the runs kept in *path*, which need not be there."""
    if not path.exists():
        return []
    documents: list[dict[str, Any]] = json.loads(path.read_text())
    return [Run(**document | {"rows": [Row(**row) for row in document["rows"]]}) for document in documents]


def save_runs(path: Path, runs: Iterable[Run]) -> None:
    """Keep *runs* in *path*."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps([asdict(run) for run in runs], indent=1) + "\n")
    new.replace(path)
