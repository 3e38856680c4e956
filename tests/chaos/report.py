"""The report of `make chaos`: runs are kept as JSON, added up, and told in docs/reliability.md."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Self

from tests.chaos.stack import Outcome

MOST_SENTENCES = 20
"""How many violations of one fault are kept word by word."""


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
        sentences: The first of them.
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
        sentences=outcome.violations[:MOST_SENTENCES],
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


def render(runs: Sequence[Run]) -> str:
    """Return docs/reliability.md for *runs*."""
    rows = [row for run in runs for row in run.rows]
    recoveries = [row.ready for row in rows if row.ready is not None]
    failed, repeats = _sum(row.failed for row in rows), _sum(row.repeats for row in rows)
    figures = {
        "runs": len(runs),
        "RabbitMQ": "; ".join(
            f"{version}: {sum(len(run.rows) for run in runs if run.rabbitmq == version)} faults"
            for version in sorted({run.rabbitmq for run in runs})
        ),
        "throws per second": ", ".join(f"{rate:g}" for rate in sorted({run.rate for run in runs})),
        "faults": len(rows),
        "signals thrown": f"{sum(row.thrown for row in rows):,}",
        "... of these accepted (2xx)": f"{sum(row.accepted for row in rows):,}",
        "... of these **lost**": sum(row.lost for row in rows),
        "deliveries owed": f"{sum(row.owed for row in rows):,}",
        "violations": sum(row.violations for row in rows),
        "failed requests, by status": _list(failed),
        "repeats, by kind of receiver": _list(repeats),
        "seconds until ready after a fault's end": f"{median(recoveries):.1f} (median), {max(recoveries):.1f} (most)"
        if recoveries
        else "-",
        "longest time without accepted throws": f"{max((row.outage for row in rows), default=0):.1f} s",
    }
    lines = [_INTRODUCTION, "## Figures", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {figure} |" for name, figure in figures.items()]
    lines += ["", "## By fault", "", _COLUMNS, _HEAD, f"|{'---|' * _HEAD.count(' | ')}---|"]
    by_fault: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_fault[row.fault].append(row)
    single, double = ([name for name in sorted(by_fault) if ("+" in name) is doubled] for doubled in (False, True))
    lines += [_fault_line(name, by_fault[name]) for name in single + double]
    lines += ["", "## Runs", "", "| seed | commit | RabbitMQ | faults | thrown | lost | violations |", f"|{'---|' * 7}"]
    lines += [
        f"| {run.seed} | {run.version} | {run.rabbitmq} | {len(run.rows)} | {sum(row.thrown for row in run.rows):,}"
        f" | {sum(row.lost for row in run.rows)} | {sum(row.violations for row in run.rows)} |"
        for run in runs
    ]
    if skipped := sorted({name for run in runs for name in run.skipped}):
        lines += ["", f"Not inflicted, because the machine did not allow it: {', '.join(skipped)}."]
    if violated := [row for row in rows if row.violations]:
        lines += ["", "## Violations", ""]
        lines += [f"- {row.fault} ({row.violations}): {'; '.join(row.sentences[:3])}" for row in violated]
    return "\n".join(lines) + "\n"


def _fault_line(name: str, rows: Sequence[Row]) -> str:
    ready = [row.ready for row in rows if row.ready is not None]
    outages = [row.outage for row in rows]
    late = len(rows) - len(ready)
    cells = [
        name,
        len(rows),
        f"{median(row.lasted for row in rows):.0f}",
        f"{median(outages):.1f} / {max(outages):.1f}",
        (f"{median(ready):.1f} / {max(ready):.1f}" if ready else "-") + (f" ({late} not in time)" if late else ""),
        _list(_sum(row.failed for row in rows)),
        _list(_sum(row.repeats for row in rows)),
        sum(row.lost for row in rows),
        sum(row.violations for row in rows),
    ]
    return f"| {' | '.join(map(str, cells))} |"


def _sum(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    return sum((Counter(count) for count in counts), Counter())


def _list(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {count:,}" for name, count in sorted(counts.items())) or "none"


_INTRODUCTION = """\
# Reliability

What a 2xx promises is tested by breaking things. `make chaos` runs the product as a production would (two gateways,
two recorders, two deliverers and a scheduler, each a process of its own) on a RabbitMQ cluster and a PostgreSQL of
its own, throws signals at a steady rate whatever becomes of them, and inflicts one fault after the other, sometimes
two at once. A fault is drawn from a schedule that is always the same for one seed. This page is generated by the runs
(`--report`).

After each fault the books of the callers and of the receivers are compared with the product's, id by id. It is a
violation

- if an accepted signal is not recorded, or is recorded twice, or under another id than was answered;
- if a subscription (a webhook for everything, a queue, a webhook with a filter, an ordered webhook) did not get a
  signal that it is owed, or got another one, or if a tap missed an accepted broadcast;
- if a signal that was thrown after another one's answer has a lower id, or came before it with the same ordering key;
- if a request got anything but a 2xx, a 503 with `Retry-After`, or (from a killed gateway) nothing, or had to wait
  for it too long;
- if the ledger does not balance at any moment, or names a loss or poison;
- if a process ended by itself, if not all were ready 10 s after the fault's end, or if a throw failed after that.

Repeats are no violation: deliveries are made at least once.

Run it with `make chaos ARGS="--faults 40 --seed 7 --rate 200"`; `--help` names the options. Network namespaces, a
small file system for PostgreSQL's log, and another RabbitMQ in a folder need root on Linux. What cannot be had is
skipped, and said.
"""
_COLUMNS = """\
Seconds as median / most of all times. *outage*: without accepted throws. *ready*: from the fault's end until every
process was ready.
"""
_HEAD = "| fault | times | lasted | outage | ready | failed requests | repeats | lost | violations |"
