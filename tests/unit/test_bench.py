"""The benchmark's rows are chosen, added up and written down honestly; what it measures is in tests/integration."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.bench import __main__ as command
from tests.bench import progress
from tests.bench.__main__ import DOCUMENTS, HISTORY, HISTORY_APART, main
from tests.bench.progress import SignalsLostError, reach
from tests.bench.registry import find_groups
from tests.bench.report import fill
from tests.bench.results import Run, load_runs, save_runs
from tests.bench.rows import Bench, Figure, Group, Row, Sample, choose, summarize

ROWS = [
    Row(name="one.plain", what="plain", unit="us"),
    Row(name="one.ours.p50", what="ours, p50", unit="us", baseline="one.plain", target="<= 2"),
    Row(name="one.ours.p99", what="ours, p99", unit="us"),
]


async def nothing(_: Bench):
    return
    yield


GROUPS = [
    Group(name="one", title="One", needs=frozenset(), rows=ROWS, measure=nothing),
    Group(
        name="two",
        title="Two",
        needs=frozenset(),
        rows=[Row(name="two.ones", what="ones", unit="signals/s")],
        measure=nothing,
    ),
]
RUN = Run(
    date="2026-11-28T02:00:00+00:00",
    commit="abc1234",
    machine="2 cores",
    versions={"Python": "3.11.7"},
    load="wrk",
    rounds=3,
    seconds=4,
    figures=[
        Figure(
            name="one.plain",
            what="plain",
            unit="us",
            value=823.0,
            cpu={},
            baseline=None,
            ratio=None,
            target=None,
            shown=True,
        ),
        Figure(
            name="one.ours.p50",
            what="ours, p50",
            unit="us",
            value=1234.0,
            cpu={"gateway": 100.0},
            baseline="one.plain",
            ratio=1.5,
            target="<= 2",
            shown=True,
        ),
    ],
    missing=["two.ones"],
)


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        ([], {"one": {"one.plain", "one.ours.p50", "one.ours.p99"}, "two": {"two.ones"}}),
        (["two"], {"two": {"two.ones"}}),
        (["one.ours.p99", "two.ones"], {"one": {"one.ours.p99"}, "two": {"two.ones"}}),
        (["one.ours"], {"one": {"one.plain", "one.ours.p50", "one.ours.p99"}}),
    ],
)
def test_groups_and_rows_are_chosen_by_name_together_with_their_baselines(selection, chosen):
    assert choose(GROUPS, selection) == chosen


@pytest.mark.parametrize("unknown", ["three", "one.our", "two.ones.p50", "on"])
def test_an_unknown_name_is_an_error_that_lists_the_known_ones(unknown):
    with pytest.raises(LookupError) as raised:
        choose(GROUPS, ["one", unknown])
    assert str(raised.value).splitlines() == [
        f"{unknown} is no group or row of the benchmark; there are:",
        "  one: one.plain, one.ours.p50, one.ours.p99",
        "  two: two.ones",
    ]


def test_the_command_line_refuses_an_unknown_row_and_keeps_only_whole_runs(capsys):
    for arguments, complaint in (
        (["--rows", "accepting,nosuch"], "nosuch is no group or row of the benchmark"),
        (["--rows", "filters", "--append"], "--append needs a whole run"),
        (
            ["--rows", "storage,filters", "--keep"],
            "--keep needs a choice of whole groups that are measured apart: ceil",
        ),
        (["--rows", "storage.wal", "--keep"], "--keep needs a choice of whole groups that are measured apart: ceil"),
        (["--keep"], "--keep needs a choice of whole groups that are measured apart: ceil"),
    ):
        with pytest.raises(SystemExit) as raised:
            main(arguments)
        assert raised.value.code == 2
        assert complaint in capsys.readouterr().err


def test_a_figure_is_the_median_of_its_samples_beside_its_baseline():
    samples = [Sample(row="one.plain", value=value) for value in (3, 1, 2)]
    samples += [Sample(row="one.ours.p50", value=value, cpu={"gateway": value * 10}) for value in (5, 9, 1)]
    plain, ours = summarize(ROWS, samples)
    assert (plain.value, plain.ratio, plain.cpu) == (2, None, {})
    assert (ours.value, ours.ratio, ours.baseline, ours.target) == (5, 2.5, "one.plain", "<= 2")
    assert ours.cpu == {"gateway": 50}


def test_the_rows_have_names_of_their_own_and_baselines_that_exist():
    groups = find_groups()
    names = [row.name for group in groups for row in group.rows]
    assert len(names) == len(set(names))
    assert {row.baseline for group in groups for row in group.rows if row.baseline} <= set(names)
    assert [row.name for group in groups for row in group.rows if not row.name.startswith(f"{group.name}.")] == []


def test_runs_that_were_kept_are_the_same(tmp_path):
    path = tmp_path / "results" / "runs.json"
    assert load_runs(path) == []
    save_runs(path, [RUN, replace(RUN, commit="def5678")])
    assert load_runs(path) == [RUN, replace(RUN, commit="def5678")]


def test_a_section_is_made_anew_and_the_text_around_it_stays():
    before = "# Title\n<!-- bench: figures -->\nold\n<!-- bench: end -->\nend\n<!-- bench: run --><!-- bench: end -->\n"
    assert fill(before, RUN, GROUPS) == (
        "# Title\n<!-- bench: figures -->\n"
        "\n### One\n\n| row | what | median | of its baseline |\n|---|---|---|---|\n"
        "| `plain` | plain | 823 us |  |\n"
        "| `ours.p50` | ours, p50 | 1,234 us | 1.50 of `plain` (target: <= 2) |\n"
        "<!-- bench: end -->\nend\n<!-- bench: run --><!-- bench: end -->\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_tables_of_the_documents_are_those_of_the_newest_run(document):
    text = document.read_text()
    assert "<!-- bench: " in text
    assert fill(text, load_runs(HISTORY)[-1], find_groups(), load_runs(HISTORY_APART)) == text


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Let runs of a single group be kept in a directory; call it with the group's *measure*."""

    def keep(measure):
        document = tmp_path / "performance.md"
        document.write_text("<!-- bench: figures -->\n<!-- bench: end -->\n")
        monkeypatch.setattr(command, "find_groups", lambda: [replace(GROUPS[1], measure=measure)])
        monkeypatch.setattr(command, "HISTORY", tmp_path / "performance.json")
        monkeypatch.setattr(command, "HISTORY_APART", tmp_path / "scaling.json")
        monkeypatch.setattr(command, "ROOT", tmp_path)
        monkeypatch.setattr(command, "DOCUMENTS", (document,))
        return document

    return keep


def test_a_run_is_appended_to_the_history_and_the_tables_are_made_of_it(kept):
    async def measure(_):
        for value in (1, 3, 8):
            yield Sample(row="two.ones", value=value)

    document = kept(measure)
    assert main(["--append"]) == main(["--append"]) == 0
    assert [run.figures[0].value for run in load_runs(command.HISTORY)] == [3, 3]
    assert "| `ones` | ones | 3.00 signals/s |  |" in document.read_text()


def test_a_run_of_a_group_that_is_measured_apart_is_kept_beside_and_its_table_is_made_of_it(
    kept, tmp_path, monkeypatch
):
    async def measure(_):
        yield Sample(row="two.ones", value=3)

    document = kept(measure)
    document.write_text("<!-- bench: two -->\n<!-- bench: end -->\n")
    monkeypatch.setattr(command, "find_groups", lambda: [replace(GROUPS[1], measure=measure, apart=True)])
    save_runs(command.HISTORY, [RUN])
    assert main(["--rows", "two", "--keep", "--rounds", "1"]) == 0
    assert load_runs(command.HISTORY) == [RUN]
    assert [run.figures[0].value for run in load_runs(command.HISTORY_APART)] == [3]
    assert "Rounds: 1, of 4 s each." in document.read_text()
    assert "| `ones` | ones | 3.00 signals/s |  |" in document.read_text()


def test_lost_signals_fail_the_run_which_is_not_kept(kept, capsys):
    async def measure(_):
        yield Sample(row="two.ones", value=1)
        raise SignalsLostError("3 of 4 came")

    document = kept(measure)
    before = document.read_text()
    assert main(["--append"]) == 1
    assert "3 of 4 came" in capsys.readouterr().err
    assert load_runs(command.HISTORY) == []
    assert document.read_text() == before


async def test_a_number_that_stands_still_is_a_loss_and_a_slow_one_is_not(monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE", 0.1)
    slow = iter(range(5))
    await reach(lambda: next(slow), 4, every=0.06)
    with pytest.raises(SignalsLostError, match="3 of 4 came"):
        await reach(lambda: 3, 4)
