"""What a benchmark measures: groups of rows, each row beside its baseline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.support.postgres import PostgresServer
from tests.support.rabbitmq_servers import Rabbit

RABBITMQ, POSTGRESQL = "RabbitMQ", "PostgreSQL"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing that is measured.

    Args:
        name: By which it is chosen; begins with its group's name and a dot.
        what: What the tables call it.
        unit: Of its value.
        baseline: The row that it is compared with, if any.
        target: What its ratio to the baseline should be, if that is decided: ``<= 1.5``, for example.
        shown: Whether the tables have a line for it; otherwise it is only there as the baseline of another row.
    """

    name: str
    what: str
    unit: str
    baseline: str | None = None
    target: str | None = None
    shown: bool = True


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What one round measured of a row.

    Args:
        row: The row's name.
        value: In the row's unit.
        cpu: CPU time per signal in microseconds, by component; where it was measured.
    """

    row: str
    value: float
    cpu: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What a group works with.

    Args:
        directory: For logs and data.
        rounds: How often each row is measured, in turn with the others.
        seconds: How long each load lasts.
        wanted: The names of the rows to measure.
        postgres: The server, if the group needs one.
        rabbit: The server, if the group needs one.
    """

    directory: Path
    rounds: int
    seconds: float
    wanted: Collection[str]
    postgres: PostgresServer | None = None
    rabbit: Rabbit | None = None

    def wants(self, prefix: str) -> bool:
        """Return whether one of the rows is wanted whose names are *prefix*, or go on after it with a dot."""
        return any(_is_within(name, prefix) for name in self.wanted)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rows that are measured together.

    Args:
        name: By which it is chosen.
        title: What the tables call it.
        needs: The servers that it needs.
        rows: Its rows.
        measure: Yields samples of the wanted rows, in any order and number; of none that cannot be measured here.
        apart: Whether it takes so long that it is measured only if it is selected.
    """

    name: str
    title: str
    needs: frozenset[str]
    rows: Sequence[Row]
    measure: Callable[[Bench], AsyncIterator[Sample]]
    apart: bool = False


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What came of a row: the medians of its samples.

    Args:
        name: The row's.
        what: The row's.
        unit: The row's.
        value: In that unit.
        cpu: CPU time per signal in microseconds, by component.
        baseline: The row that it is compared with.
        ratio: Its value divided by the baseline's.
        target: What the ratio should be.
        shown: Whether the tables have a line for it.
    """

    name: str
    what: str
    unit: str
    value: float
    cpu: Mapping[str, float]
    baseline: str | None
    ratio: float | None
    target: str | None
    shown: bool


def choose(groups: Iterable[Group], selection: Sequence[str]) -> dict[str, set[str]]:
    """Return the names of the selected rows and of their baselines, by group; if nothing is selected, of all groups.

    Those that are measured apart are to be selected.

    Args:
        groups: The groups there are.
        selection: Names of groups, of rows, or what names of rows begin with, up to a dot.

    Raises:
        LookupError: Nothing has such a name; the message lists the known ones.
    """
    groups = list(groups)
    rows = {row.name: row for group in groups for row in group.rows}
    usual = {row.name for group in groups if not group.apart for row in group.rows}
    for selected in selection:
        if not any(_is_within(name, selected) for name in rows):
            raise LookupError(f"{selected} is no group or row of the benchmark; there are:\n{_list(groups)}")
    names = {name for name in rows if any(_is_within(name, selected) for selected in selection)} or usual
    names |= {baseline for name in names if (baseline := rows[name].baseline)}
    chosen = {group.name: names & {row.name for row in group.rows} for group in groups}
    return {name: wanted for name, wanted in chosen.items() if wanted}


def _is_within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def _list(groups: Iterable[Group]) -> str:
    return "\n".join(f"  {group.name}: {', '.join(row.name for row in group.rows if row.shown)}" for group in groups)


def summarize(rows: Iterable[Row], samples: Iterable[Sample]) -> Iterator[Figure]:
    """Yield a figure for each row that has samples."""
    by_row: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_row[sample.row].append(sample)
    values = {name: median(sample.value for sample in its) for name, its in by_row.items()}
    for row in rows:
        if row.name in values:
            baseline = values.get(row.baseline or "")
            yield Figure(
                name=row.name,
                what=row.what,
                unit=row.unit,
                value=values[row.name],
                cpu=_median_cpu(by_row[row.name]),
                baseline=row.baseline,
                ratio=values[row.name] / baseline if baseline else None,
                target=row.target,
                shown=row.shown,
            )


def _median_cpu(samples: Sequence[Sample]) -> dict[str, float]:
    components = {component for sample in samples for component in sample.cpu}
    return {
        component: median(sample.cpu[component] for sample in samples if component in sample.cpu)
        for component in sorted(components)
    }
