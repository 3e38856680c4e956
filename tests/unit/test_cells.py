"""The simulation of cells keeps its own books: nothing is placed twice, overfull, or lost when tenants move."""

from __future__ import annotations

import pytest

from tests.bench.__main__ import HISTORY, HISTORY_APART
from tests.bench.cells import (
    FULL,
    RELIEVED,
    Cell,
    TooLarge,
    cores_for,
    cpu_per_signal,
    describe,
    limits_of_cell,
    place,
    rates_of,
    rebalance,
    simulate,
)
from tests.bench.results import load_runs


def test_rates_are_unequal_and_add_up():
    rates = rates_of(100, 1000.0)
    assert sum(rates) == pytest.approx(1000)
    assert rates == sorted(rates, reverse=True)
    assert rates[0] / rates[99] == pytest.approx(5.01, abs=0.01)


def test_every_tenant_is_in_one_cell_and_none_is_too_full():
    rates = rates_of(1000, 10_000.0)
    cells = place(rates, capacity=2500, cells=10)
    assert sorted(tenant for cell in cells for tenant in cell.tenants) == list(range(1000))
    assert sum(cell.load for cell in cells) == pytest.approx(10_000)
    assert max(cell.load for cell in cells) <= RELIEVED * 2500


def test_a_tenant_that_no_cell_can_carry_is_refused():
    with pytest.raises(TooLarge, match=r"^a tenant throws 600 signals/s, and a cell should not carry more than 450$"):
        place([600, 1, 1], capacity=1000, cells=3)


def test_a_cell_that_is_too_full_gives_tenants_away_and_no_more_than_it_has_to():
    full, empty = Cell({1: 200.0, 2: 200.0, 3: 150.0}), Cell({4: 100.0})
    assert rebalance([full, empty], capacity=1000) == 1
    assert (full.tenants, empty.tenants) == ({2: 200.0, 3: 150.0}, {4: 100.0, 1: 200.0})
    assert full.load <= FULL * 1000


def test_nothing_moves_out_of_a_cell_that_is_down_nor_into_it():
    full, down, third = Cell({1: 300.0, 2: 300.0}), Cell({3: 600.0}, is_down=True), Cell({4: 400.0})
    assert rebalance([full, down, third], capacity=1000) == 0
    assert down.tenants == {3: 600.0}


@pytest.mark.slow
def test_a_failure_refuses_the_throws_of_its_cell_only_and_the_same_seed_tells_the_same():
    one = simulate(5000, total=50_000, tenants=500, hours=24 * 30)
    assert one == simulate(5000, total=50_000, tenants=500, hours=24 * 30)
    assert one.cells == 25
    assert 0 < one.failures < 30
    assert one.refused / one.thrown == pytest.approx(one.failures / one.cells / (24 * 30), rel=0.3)
    assert one.worst < 3 / one.cells
    assert one.moves > 0


@pytest.mark.slow
def test_the_model_has_the_measured_figures():
    run, apart = load_runs(HISTORY)[-1], load_runs(HISTORY_APART)
    ceilings = [kept for kept in apart if any(figure.name.startswith("ceilings.") for figure in kept.figures)][-1]
    cpu = cpu_per_signal(run)
    assert cpu["gateway"] == next(f.cpu["gateway"] for f in run.figures if f.name == "accepting.native.cpu")
    assert cpu.keys() == {"gateway", "recorder", "scheduler", "deliverer", "rabbitmq", "postgres"}
    assert cores_for(run, 1e6, 10)["gateway"] == pytest.approx(cpu["gateway"] / FULL)
    limits = limits_of_cell(run, ceilings)
    assert limits["a quorum queue"] == max(f.value for f in ceilings.figures if f.name.startswith("ceilings.queue."))
    assert f"| {min(limits.values()):,.0f} |" in "\n".join(describe(run, ceilings))
