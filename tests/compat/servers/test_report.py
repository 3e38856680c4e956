"""The table in docs/webhooks.md, as `make receivers` writes it."""

from __future__ import annotations

from tests.compat.servers.report import REPORT, Row, render

ROW = Row(
    server="nginx 1.22.1, with TLS",
    deliveries=10_000,
    disturbances=(32, 7, 3),
    requests=10_021,
    failed={"unreachable": 1_150, "throttled": 2},
    resent=34,
    lost=1,
    doubled=2,
    sentences=["2-1 is dead"],
)


def test_a_line_tells_what_came_of_the_deliveries():
    line = render([ROW]).splitlines()[-1]
    assert line == (
        "| nginx 1.22.1, with TLS | 10,000 | 32 / 7 / 3 | 10,021 | `throttled`: 2, `unreachable`: 1,150 | 34 | 1 | 2 |"
    )


def test_what_is_printed_also_names_what_is_lost():
    assert str(ROW).splitlines()[1:] == ["    2-1 is dead"]


def test_the_document_has_the_table():
    head = render([])
    assert REPORT.read_text().count(head) == 1
