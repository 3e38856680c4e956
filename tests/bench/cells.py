"""Cells on paper: how many it takes to carry a rate that one cannot, with unequal tenants, and what that costs.

A cell is a RabbitMQ cluster and a PostgreSQL with gateways, recorders, deliverers and schedulers of its own. A tenant
is in one cell. What a cell carries follows from measured figures; the tenants, their ups and downs and the failures are
assumed.

    each hour:  rates change --> cells that are too full give tenants away --> cells fail, and come back an hour later
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tests.bench.results import Run

GOAL = 1_000_000
"""Signals per second, each of which one webhook gets."""
TENANTS, HOURS, SEED = 4_000, 3 * 24, 1
SKEW = 0.35
"""The tenant in place n has a rate in proportion to n to the power of minus this."""
RESTLESSNESS = 0.2
"""The standard deviation of the logarithm of a rate's change in an hour."""
FULL, RELIEVED = 0.5, 0.45
"""A cell that carries more than this share of what it could gives tenants away, until it carries so much."""
FAILURES = 1 / (90 * 24)
"""How often a cell fails in an hour: once in 90 days, for an hour."""
HEADROOM = 1.1
"""How many times as many cells as the rate takes, so that tenants find room."""
CORES = {"postgres": 32, "rabbitmq": 16}
"""Of a cell's primary, and of each of its RabbitMQ nodes, each of which does all of RabbitMQ's work."""
NODES = {"postgres": 2, "rabbitmq": 3}
"""A primary and its standby; a quorum of three."""
PATH = ("accepting.native.cpu", "recording.one-matches", "delivering.deliverer")
"""The rows that tell what CPU time a signal takes that one webhook gets."""


class TooLarge(Exception):
    """Raised when a tenant is larger than a cell may be full: its signals have to be divided among several tenants."""


def cpu_per_signal(run: Run) -> dict[str, float]:
    """Return the microseconds that each component takes for a signal that one webhook gets."""
    used = dict[str, float]()
    for figure in run.figures:
        if figure.name in PATH:
            for component, microseconds in figure.cpu.items():
                used[component] = used.get(component, 0) + microseconds
    return used


def limits_of_cell(run: Run, ceilings: Run) -> dict[str, float]:
    """Return how many signals a second each part of one cell could carry."""
    cpu = cpu_per_signal(run)

    def most(part: str) -> float:
        return max(figure.value for figure in ceilings.figures if figure.name.startswith(f"ceilings.{part}."))

    return {
        "the lock of the numbering": most("numbering-batches"),
        "the lock of the positions": most("positions"),
        "a quorum queue": most("queue"),
        f"a primary of {CORES['postgres']} cores": CORES["postgres"] * 1e6 / cpu["postgres"],
        f"RabbitMQ nodes of {CORES['rabbitmq']} cores": CORES["rabbitmq"] * 1e6 / cpu["rabbitmq"],
    }


@dataclass
class Cell:
    """A cell, and the rates (signals per second) of its tenants."""

    tenants: dict[int, float] = field(default_factory=dict)
    is_down: bool = False

    @property
    def load(self) -> float:
        """What its tenants throw, in signals per second."""
        return sum(self.tenants.values())


@dataclass(kw_only=True)
class Outcome:
    """What came of some hours.

    Args:
        cells: How many cells there are.
        moves: How many tenants were moved.
        thrown: Signals per second, added up over the hours.
        refused: ... of these, those of tenants whose cell was down.
        failures: How many cells failed.
        fullest: The largest share of its capacity that a cell had to carry.
        worst: The largest share of all throws that was refused in an hour.
    """

    cells: int
    moves: int = 0
    thrown: float = 0
    refused: float = 0
    failures: int = 0
    fullest: float = 0
    worst: float = 0


def rates_of(tenants: int, total: float) -> list[float]:
    """Return the rates of so many tenants, the largest one first, which are *total* together."""
    weights = [(number + 1) ** -SKEW for number in range(tenants)]
    whole = sum(weights)
    return [total * weight / whole for weight in weights]


def place(rates: Sequence[float], capacity: float, cells: int) -> list[Cell]:
    """Put tenants, the largest ones first, each into the cell that has least to do.

    Raises:
        TooLarge: One of them alone fills more of a cell than it may.
    """
    if max(rates) > RELIEVED * capacity:
        raise TooLarge(
            f"a tenant throws {max(rates):,.0f} signals/s, and a cell should not carry more than "
            f"{RELIEVED * capacity:,.0f}"
        )
    placed, loads = [Cell() for _ in range(cells)], [0.0] * cells
    for tenant, rate in sorted(enumerate(rates), key=lambda one: -one[1]):
        emptiest = min(range(cells), key=loads.__getitem__)
        placed[emptiest].tenants[tenant] = rate
        loads[emptiest] += rate
    return placed


def rebalance(cells: Sequence[Cell], capacity: float) -> int:
    """Move tenants out of cells that are too full, into those that have least to do; return how many."""
    moves, loads = 0, [cell.load for cell in cells]
    for number, cell in enumerate(cells):
        if loads[number] <= FULL * capacity or cell.is_down:
            continue
        for tenant, rate in sorted(cell.tenants.items(), key=lambda one: -one[1]):
            if loads[number] <= RELIEVED * capacity:
                break
            emptiest = min((n for n, other in enumerate(cells) if not other.is_down), key=loads.__getitem__)
            if loads[emptiest] + rate > RELIEVED * capacity:
                continue
            cells[emptiest].tenants[tenant] = cell.tenants.pop(tenant)
            loads[number], loads[emptiest] = loads[number] - rate, loads[emptiest] + rate
            moves += 1
    return moves


def simulate(
    capacity: float, *, total: float = GOAL, tenants: int = TENANTS, hours: int = HOURS, seed: int = SEED
) -> Outcome:
    """Return what comes of some hours of *total* signals per second, in cells that could carry *capacity* each."""
    rng = random.Random(seed)
    usual = rates_of(tenants, total)
    cells = place(usual, capacity, cells=int(HEADROOM * total / (RELIEVED * capacity)) + 1)
    outcome = Outcome(cells=len(cells))
    for _ in range(hours):
        for cell in cells:
            cell.is_down = rng.random() < FAILURES
            for tenant, rate in cell.tenants.items():  # it is drawn back to what is usual for it
                cell.tenants[tenant] = (rate * usual[tenant]) ** 0.5 * rng.lognormvariate(0, RESTLESSNESS)
        outcome.fullest = max(outcome.fullest, max(cell.load for cell in cells) / capacity)
        outcome.moves += rebalance(cells, capacity)
        thrown, refused = sum(cell.load for cell in cells), sum(cell.load for cell in cells if cell.is_down)
        outcome.thrown, outcome.refused = outcome.thrown + thrown, outcome.refused + refused
        outcome.failures += sum(cell.is_down for cell in cells)
        outcome.worst = max(outcome.worst, refused / thrown)
    return outcome


def cores_for(run: Run, total: float, cells: int) -> Mapping[str, float]:
    """Return how many cores *total* signals a second take of each component, over all cells, half of them idle."""
    cpu = cpu_per_signal(run)
    servers = {name: float(CORES[name] * NODES[name] * cells) for name in CORES}
    return {name: total * used / 1e6 / FULL for name, used in cpu.items() if name not in servers} | servers


def describe(run: Run, ceilings: Run) -> Iterator[str]:
    """Yield the lines of the tables of what cells would do, by the figures of two runs."""
    limits = limits_of_cell(run, ceilings)
    capacity = min(limits.values())
    yield "| one cell is limited by | signals/s |"
    yield "|---|---|"
    for part, limit in sorted(limits.items(), key=lambda one: one[1]):
        yield f"| {part} | {limit:,.0f} |"
    outcome = simulate(capacity)
    cores = cores_for(run, GOAL, outcome.cells)
    yield ""
    yield f"| {GOAL:,} signals/s of {TENANTS:,} tenants, for {HOURS // 24} days | |"
    yield "|---|---|"
    yield f"| cells | {outcome.cells} |"
    yield f"| planned load of a cell | {FULL * capacity:,.0f} signals/s |"
    yield f"| the largest tenant | {rates_of(TENANTS, GOAL)[0]:,.0f} signals/s |"
    yield f"| the fullest cell at its worst | {outcome.fullest:.0%} of its limit |"
    yield f"| tenants moved | {outcome.moves / HOURS * 24:,.0f} per day |"
    yield f"| failures of a cell, of an hour each | {outcome.failures} |"
    share = outcome.refused / outcome.thrown
    yield f"| throws refused because of them | {share:.2%}, at worst {outcome.worst:.1%} for an hour |"
    yield f"| one broadcast to all cells | {outcome.cells} throws |"
    yield f"| a broadcast to all in 1,000 signals | {outcome.cells / 1000:.0%} more for each cell |"
    for component, count in cores.items():
        yield f"| cores for {component} | {count:,.0f} |"
