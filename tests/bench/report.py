"""The figures of a run: as tables on a terminal, and in the sections of the documentation that are made of them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from tests.bench import cells
from tests.bench.results import Run
from tests.bench.rows import Figure, Group

STAGES = {
    "accept": "accepting.native.cpu",
    "accept in batches": "accepting.batch.cpu",
    "record, nothing matches": "recording.nothing-matches",
    "record, one matches": "recording.one-matches",
    "deliver once": "delivering.deliverer",
}
"""What happens to a signal, and the rows that tell how much CPU time it takes."""
PATH = ("accept", "record, one matches", "deliver once")
"""The stages of a signal that one webhook gets."""
COMPONENTS = {
    "gateway": "gateway",
    "recorder": "recorder",
    "scheduler": "scheduler",
    "deliverer": "deliverer",
    "rabbitmq": "RabbitMQ",
    "postgres": "PostgreSQL",
}
ENOUGH_ROUNDS = 3
"""Fewer have no median worth the name."""
SUMMARY = {
    "accepting.bare.cpu": "CPU per request of a bare aiohttp handler that parses JSON",
    "accepting.plain.cpu": "... of plain aiohttp + aio-pika, one confirmed publish",
    "accepting.faststream.cpu": "... of FastAPI + FastStream, one confirmed publish",
    "accepting.native.cpu": "... of the gateway, `POST /v1/signals`",
    "accepting.camunda.cpu": "... of the gateway, `POST /engine-rest/signal`",
    "accepting.batch.cpu": "CPU per signal of the gateway in batches of 100",
    "recording.nothing-matches": "recorded from a backlog by one recorder",
    "delivering.consume": "posted from a queue by a plain aio-pika consumer",
    "delivering.deliverer": "webhooks delivered from a backlog by one deliverer",
    "latency.answer.p99": "from throw to answer at half of the highest rate, p99",
    "latency.webhook.p99": "from throw to webhook at half of the deliverer's highest rate, p99",
    "isolation.alone.p99": "20 webhooks at 200 deliveries/s, from throw to arrival, p99",
    "isolation.beside.p99": "... next to one that never answers",
    "fanning.1.last": "one signal to 10,000 webhooks, until the last one",
    "books.ledger": "the ledger over a million deliveries",
}
"""The rows that the README has, and what it calls them."""
_NEWLINE = "\n"
_SECTION = re.compile(r"(<!-- bench: ([a-z]+) -->\n).*?(<!-- bench: end -->)", re.DOTALL)


def show(group: Group, figures: Sequence[Figure]) -> None:
    """Print the figures of a group."""
    table = Table(title=group.title)
    for column in ("row", "what", "median", "of its baseline", "target", "CPU per signal"):
        table.add_column(column, justify="right" if column in {"median", "of its baseline"} else "left")
    for figure in figures:
        if figure.shown:
            table.add_row(figure.name, figure.what, _value(figure), _ratio(figure), figure.target or "", _cpu(figure))
    Console(width=200).print(table)
    sys.stdout.flush()


def fill(text: str, run: Run, groups: Iterable[Group], apart: Sequence[Run] = ()) -> str:
    """Return the text of a document with its sections made anew, ``<!-- bench: NAME --> ... <!-- bench: end -->``.

    Args:
        text: The document.
        run: The newest whole run.
        groups: The groups there are. One that is measured apart has a section of its name.
        apart: Runs of groups that are measured apart, the newest one last.
    """

    def section(found: re.Match[str]) -> str:
        match found[2]:
            case "run":
                made: Iterable[str] = [_run(run)]
            case "figures":
                made = _tables(run, groups)
            case "cpu":
                made = _cpu_table(run)
            case "summary":
                made = _summary(run)
            case "cells":
                made = cells.describe(run, _newest(apart, "ceilings"))
            case name:
                made = _apart(_newest(apart, name), [group for group in groups if group.name == name])
        return f"{found[1]}{_NEWLINE.join(made)}\n{found[3]}"

    return _SECTION.sub(section, text)


def _newest(runs: Iterable[Run], group: str) -> Run:
    """Return the newest run that has figures of a group."""
    return [run for run in runs if any(figure.name.startswith(f"{group}.") for figure in run.figures)][-1]


def _apart(run: Run, groups: Iterable[Group]) -> Iterable[str]:
    yield _run(run)
    yield from _tables(run, groups)


def _run(run: Run) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in run.versions.items())
    missing = f" Not measured there: {', '.join(run.missing)}." if run.missing else ""
    busy = "" if run.busy is None else f" Load average of the machine before: {run.busy:.1f}."
    preliminary = " **One short run: a first look, no figures to rely on.**" if run.rounds < ENOUGH_ROUNDS else ""
    return (
        f"Measured on {run.date[:10]} at commit {run.commit}, on {run.machine}, which ran everything (load, product,\n"
        f"servers, receivers). Rounds: {run.rounds}, of {run.seconds:g} s each.{preliminary}{busy} {versions}.\n"
        f"Closed loops by {run.load}.{missing}"
    )


def _tables(run: Run, groups: Iterable[Group]) -> Iterable[str]:
    for group in groups:
        figures = [figure for figure in run.figures if figure.name.startswith(f"{group.name}.") and figure.shown]
        if figures:
            yield f"\n### {group.title}\n"
            yield "| row | what | median | of its baseline |"
            yield "|---|---|---|---|"
            for figure in figures:
                name = figure.name.removeprefix(f"{group.name}.")
                yield f"| `{name}` | {figure.what} | {_value(figure)} | {_compared(run, figure)} |"


def _compared(run: Run, figure: Figure) -> str:
    baseline = _find(run, figure.baseline or "")
    if figure.ratio is None or baseline is None:
        return ""
    named = f"`{baseline.name.partition('.')[2]}`" if baseline.shown else _value(baseline)
    target = f" (target: {figure.target})" if figure.target else ""
    return f"{_ratio(figure)} of {named}{target}"


def _cpu_table(run: Run) -> Iterable[str]:
    used = {stage: figure.cpu for stage, name in STAGES.items() if (figure := _find(run, name)) is not None}
    yield f"| us of CPU | {' | '.join(STAGES)} | one core carries |"
    yield f"|{'---|' * (len(STAGES) + 2)}"
    for component, name in COMPONENTS.items():
        cells = [f"{used[stage][component]:,.0f}" if component in used.get(stage, {}) else "" for stage in STAGES]
        whole = sum(used[stage].get(component, 0) for stage in PATH if stage in used)
        carries = f"{1e6 / whole:,.0f} signals/s" if whole else ""
        yield f"| {name} | {' | '.join(cells)} | {carries} |"


def _summary(run: Run) -> Iterable[str]:
    yield "| what | median |"
    yield "|---|---|"
    for name, what in SUMMARY.items():
        if figure := _find(run, name):
            yield f"| {what} | {_value(figure)} |"


def _find(run: Run, name: str) -> Figure | None:
    return next((figure for figure in run.figures if figure.name == name), None)


def _value(figure: Figure) -> str:
    digits = 0 if figure.value >= 100 else 1 if figure.value >= 10 else 2
    return f"{figure.value:,.{digits}f} {figure.unit}"


def _ratio(figure: Figure) -> str:
    return "" if figure.ratio is None else f"{figure.ratio:.2f}"


def _cpu(figure: Figure) -> str:
    return ", ".join(f"{component} {used:,.0f} us" for component, used in figure.cpu.items())
