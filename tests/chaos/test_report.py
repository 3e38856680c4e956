"""Runs of `make chaos` are kept, and added up honestly."""

from __future__ import annotations

from dataclasses import replace

from tests.chaos.report import render
from tests.chaos.results import Row, Run, kinds, load_runs, save_runs

ROW = Row(
    fault="node killed",
    lasted=5.0,
    outage=0.4,
    ready=1.0,
    settled=2.0,
    thrown=1500,
    accepted=1400,
    failed={"503": 99, "unanswered": 1},
    owed=2000,
    lost=0,
    repeats={"webhook": 3, "queue": 0, "tap": 2},
    violations=0,
    sentences=[],
)
RUN = Run(seed=7, version="abc1234", rabbitmq="3.10.8, 3 nodes", rate=200, rows=[ROW])


def test_runs_that_were_kept_are_the_same(tmp_path):
    path = tmp_path / "results" / "runs.json"
    assert load_runs(path) == []
    save_runs(path, [RUN])
    save_runs(path, [*load_runs(path), replace(RUN, seed=8)])
    assert load_runs(path) == [RUN, replace(RUN, seed=8)]


def test_the_report_adds_runs_up():
    late = replace(ROW, ready=None, outage=9.0, lost=2, violations=3, sentences=["signal 1 was accepted and ..."])
    other = Run(seed=8, version="abc1234", rabbitmq="4.3.6, 3 nodes", rate=200, skipped=["partition 20 s"], rows=[late])
    text = render([RUN, other])
    for line in (
        "| runs | 2 |",
        "| RabbitMQ | 3.10.8, 3 nodes: 1 faults; 4.3.6, 3 nodes: 1 faults |",
        "| faults | 2 |",
        "| signals thrown | 3,000 |",
        "| ... of these **lost** | 2 |",
        "| failed requests, by status | 503: 198, unanswered: 2 |",
        "| repeats, by kind of receiver | tap: 4, webhook: 6 |",
        "| longest time without accepted throws | 9.0 s |",
        (
            "| node killed | 2 | 5 | 4.7 / 9.0 | 1.0 / 1.0 (1 not in time) | 503: 198, unanswered: 2"
            " | tap: 4, webhook: 6 | 2 | 3 |"
        ),
        "| 8 | abc1234 | 4.3.6, 3 nodes | 1 | 1,500 | 2 | 3 |",
        "Not inflicted, because the machine did not allow it: partition 20 s.",
        "- node killed (3): signal 1 was accepted and ...",
    ):
        assert line in text.splitlines()


def test_violations_of_one_kind_are_told_once():
    lost = [f"signal {number} was accepted and is not recorded" for number in (11, 12, 13)]
    assert list(kinds([*lost, "recorder ended with 1"])) == [
        "signal 11 was accepted and is not recorded (and 2 more)",
        "recorder ended with 1",
    ]
