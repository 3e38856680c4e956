"""Tables that fit a terminal: the columns that matter first, with the lines of each cell broken between words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import zip_longest

from rich.cells import cell_len, chop_cells

GAP = "  "
NOTHING = "-"
"""A cell without content."""

_LONGEST_WORD = 24
"""Cells of a column that are kept together if the terminal is wide enough for the column at all."""
_MOST_LINES = 3
_SHORT_MOMENT = re.compile(r"[0-9-]{5,10} [0-9:]{5,8}")
_MOMENT = re.compile(r"([0-9]{4})-([0-9]{2}-[0-9]{2})T([0-9]{2}:[0-9]{2}:[0-9]{2})(?:[.][0-9]+)?Z")


@dataclass(slots=True)
class _Column:
    """A column: its title, its cells, and how wide it is and would like to be."""

    title: str
    cells: list[str]
    width: int
    wanted: int


@dataclass(frozen=True, slots=True)
class Fitted:
    """A table that fits.

    Args:
        head: The lines of the titles.
        body: The lines of the rows.
        left_out: The titles of the columns that there was no room for.
    """

    head: list[str]
    body: list[str]
    left_out: list[str]


def fit(titles: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Fitted:
    """Return the table as lines of at most *width* cells. Columns without any content are left out, too."""
    columns, left_out = _choose(titles, [[_shorten(cell) for cell in row] for row in rows], width)
    _widen(columns, width)
    head = _lines(columns, [column.title for column in columns])
    body = [
        line for cells in zip(*(column.cells for column in columns), strict=True) for line in _lines(columns, cells)
    ]
    return Fitted(head, body, left_out)


def _choose(titles: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> tuple[list[_Column], list[str]]:
    """Return the columns that there is room for, each as narrow as it can be, and the titles of the others."""
    columns, left_out, room = list[_Column](), list[str](), width
    for number, title in enumerate(titles):
        cells = [row[number] for row in rows]
        if columns and cells and all(cell == NOTHING for cell in cells):
            continue
        words = [cell_len(word) for text in (title, *cells) for word in _words(text)]
        least = min(_LONGEST_WORD, max(words))
        needed = least + (len(GAP) if columns else 0)
        if columns and needed > room:
            left_out.append(title)
            continue
        room -= needed
        columns.append(_Column(title, cells, min(least, width), max(map(cell_len, (title, *cells)))))
    return columns, left_out


def _widen(columns: Sequence[_Column], width: int) -> None:
    """Give the columns what is left of *width*: those that want little get all of it, the others equal parts."""
    room = width - sum(column.width for column in columns) - len(GAP) * (len(columns) - 1)
    wanting = sorted(columns, key=lambda column: column.wanted - column.width)
    for number, column in enumerate(wanting):
        more = min(max(0, column.wanted - column.width), max(0, room) // (len(wanting) - number))
        column.width += more
        room -= more


def _lines(columns: Sequence[_Column], cells: Sequence[str]) -> list[str]:
    wrapped = [_wrap(cell, column.width) for column, cell in zip(columns, cells, strict=True)]
    return [
        GAP.join(
            part + " " * (column.width - cell_len(part)) for column, part in zip(columns, parts, strict=True)
        ).rstrip()
        for parts in zip_longest(*wrapped, fillvalue="")
    ]


def _wrap(text: str, width: int) -> list[str]:
    """Return *text* in a few lines, broken between words, and within a word only if it is longer than a line."""
    lines = [""]
    for word in _words(text):
        pieces = chop_cells(word, width) or [""]
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if len(pieces) == 1 and cell_len(joined) <= width:
            lines[-1] = joined
        else:
            lines += pieces if lines[-1] else [pieces.pop(0), *pieces]
            lines = lines if lines[0] else lines[1:]
        if len(lines) > _MOST_LINES:
            return [*lines[: _MOST_LINES - 1], chop_cells(lines[_MOST_LINES - 1], max(1, width - 1))[0] + "…"]
    return lines


def _words(text: str) -> list[str]:
    return [text] if _SHORT_MOMENT.fullmatch(text) else text.split(" ")


def _shorten(text: str) -> str:
    """Return *text*; of a moment without the fraction of the second, and without the year if it is this one."""
    moment = _MOMENT.fullmatch(text)
    if moment is None:
        return text
    year, day, time = moment.groups()
    return f"{day} {time}" if year == f"{datetime.now(UTC):%Y}" else f"{year}-{day} {time[:5]}"
