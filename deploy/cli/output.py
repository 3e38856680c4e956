"""The output of commands: tables for people, JSON for programs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click
from pydantic import BaseModel

from broker.texts import escape

Printed = BaseModel | Mapping[str, Any]
"""A document of the HTTP API, or a mapping."""

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

_GAP = "  "
_BREAKS = str.maketrans("\n\r\t", "   ")


def example(*lines: str) -> str:
    """Return the end of a help page: *lines* to paste into a shell."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def show_one(document: Printed, *members: str, as_json: bool) -> None:
    """Print *document*: all of it as JSON, or its *members*, one a line, in full so that they can be copied."""
    whole = _plain(document)
    if as_json:
        show_json(whole)
        return
    shown = [(_title(member), _text(whole[member])) for member in members if whole.get(member) is not None]
    width = max(len(title) for title, _ in shown)
    for title, text in shown:
        say(f"{title:<{width}}{_GAP}{text}")


def show_many(documents: Sequence[Printed], *members: str, as_json: bool) -> None:
    """Print *documents*: as a JSON array, or *members* of them as a table."""
    rows = [_plain(document) for document in documents]
    if as_json:
        show_json(rows)
        return
    show_table([_title(member) for member in members], [[_text(row.get(member)) for member in members] for row in rows])


def show_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: fitted to a terminal; elsewhere as plain text, one line a row, as wide as needed."""
    if sys.stdout.isatty():
        _show_rich_table(titles, rows)
        return
    lines = [[title.upper() for title in titles], *([escape(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        say(_GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _show_rich_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415  (a tenth of a second that only a terminal needs)
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text(escape(cell)) for cell in row))
    Console().print(table)


def show_json(document: object) -> None:
    """Print *document* as JSON."""
    say(json.dumps(document, indent=2, ensure_ascii=False))


def show_line(text: str) -> None:
    """Print *text* in one line, spaces in place of breaks and tabs; in JSON these stand only between tokens."""
    say(text.translate(_BREAKS))


def say(text: str, *, err: bool = False) -> None:
    """Print *text*, and nothing that could steer a terminal; commands print by no other way."""
    click.echo(escape(text, keep="\n"), err=err)


def _plain(document: Printed) -> Mapping[str, Any]:
    return document.model_dump(mode="json", by_alias=True) if isinstance(document, BaseModel) else document


def _title(member: str) -> str:
    return re.sub("(?<=[a-z])([A-Z])", r" \1", member).lower()


def _text(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list() if all(isinstance(item, str) for item in value):
            return escape(", ".join(value))
        case list() | dict():
            return escape(json.dumps(value, ensure_ascii=False))
        case _:
            return escape(str(value))
