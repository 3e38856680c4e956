"""Tables fit the terminal that they are for."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from deploy.cli.tables import fit

TITLES = ("ID", "CREATED AT", "PERMISSIONS", "DESCRIPTION", "OWNER")
ROWS = [
    ["1", "2020-11-26T15:26:43.101Z", "signals:throw, signals:read", "-", "somebody-with-a-name"],
    ["22", "2020-11-27T15:26:43.101Z", "admin", "-", "nobody"],
]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_no_line_is_longer_than_the_terminal(width):
    table = fit(TITLES, ROWS, width)
    assert max(map(cell_len, [*table.head, *table.body])) <= width


def test_the_columns_that_matter_most_stay_and_the_others_are_named():
    table = fit(TITLES, ROWS, 40)
    assert table.head == ["ID  CREATED AT        PERMISSIONS"]
    assert table.body == [
        "1   2020-11-26 15:26  signals:throw,",
        "                      signals:read",
        "22  2020-11-27 15:26  admin",
    ]
    assert table.left_out == ["OWNER"]


def test_a_wide_terminal_has_everything_in_one_line_each():
    table = fit(TITLES, ROWS, 200)
    assert table.left_out == []
    assert table.body[0] == "1   2020-11-26 15:26  signals:throw, signals:read  somebody-with-a-name"


def test_a_word_that_is_too_long_is_broken_and_a_long_text_cut():
    table = fit(["A", "B"], [["1", "x" * 500]], 40)
    assert [line[3:] for line in table.body] == ["x" * 37, "x" * 37, "x" * 36 + "…"]


def test_wide_characters_take_two_cells():
    table = fit(["A", "B"], [["漢字" * 12, "b"], ["a", "b"]], 60)
    assert [cell_len(line) for line in table.body] == [51, 51]
