"""The figures of a run: as tables on a terminal, and in the sections of the documentation that are made of them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

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
SUMMARY = (
    "accepting.bare.cpu",
    "accepting.plain.cpu",
    "accepting.faststream.cpu",
    "accepting.native.cpu",
    "accepting.camunda.cpu",
    "accepting.batch.cpu",
    "recording.nothing-matches",
    "delivering.deliverer",
    "latency.answer.p99",
    "latency.webhook.p99",
    "isolation.beside.p99",
    "fanning.1.last",
    "books.ledger",
)
"""The rows that the README has."""
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


def fill(text: str, run: Run, groups: Iterable[Group]) -> str:
    """Return the text of a document with its sections made anew, ``<!-- bench: NAME --> ... <!-- bench: end -->``."""
    sections = {
        "run": _run(run),
        "figures": "\n".join(_tables(run, groups)),
        "cpu": "\n".join(_cpu_table(run)),
        "summary": "\n".join(_summary(run)),
    }
    return _SECTION.sub(lambda found: f"{found[1]}{sections[found[2]]}\n{found[3]}", text)


def _run(run: Run) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in run.versions.items())
    missing = f" Not measured there: {', '.join(run.missing)}." if run.missing else ""
    return (
        f"Measured on {run.date[:10]} at commit {run.commit}, on {run.machine}, which ran everything (load, product,\n"
        f"servers, receivers). Medians of {run.rounds} rounds of {run.seconds:g} s. {versions}.\n"
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
                yield f"| `{name}` | {figure.what} | {_value(figure)} | {_compared(figure)} |"


def _compared(figure: Figure) -> str:
    if figure.ratio is None or figure.baseline is None:
        return ""
    baseline = figure.baseline.partition(".")[2]
    target = f" (target: {figure.target})" if figure.target else ""
    return f"{_ratio(figure)} of `{baseline}`{target}"


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
    yield "| what | median | of its baseline |"
    yield "|---|---|---|"
    for name in SUMMARY:
        if figure := _find(run, name):
            baseline = _find(run, figure.baseline or "")
            compared = f"{_ratio(figure)} of {baseline.what}" if baseline else ""
            yield f"| {figure.what} | {_value(figure)} | {compared} |"


def _find(run: Run, name: str) -> Figure | None:
    return next((figure for figure in run.figures if figure.name == name), None)


def _value(figure: Figure) -> str:
    digits = 0 if figure.value >= 100 else 1 if figure.value >= 10 else 2
    return f"{figure.value:,.{digits}f} {figure.unit}"


def _ratio(figure: Figure) -> str:
    return "" if figure.ratio is None else f"{figure.ratio:.2f}"


def _cpu(figure: Figure) -> str:
    return ", ".join(f"{component} {used:,.0f} us" for component, used in figure.cpu.items())
