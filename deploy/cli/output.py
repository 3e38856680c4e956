"""The output of commands: tables for people, JSON for programs."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from broker.jsontext import read
from broker.texts import escape
from deploy.cli.api import Page

Printed = Mapping[str, Any]
"""A document of the HTTP API, or one like these."""

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

_GAP = "  "
_NOTHING = "-"
_EXAMPLE_WIDTH = 72
"""With the indentation, and the sign of a continuation, lines have less than 80 columns."""
_BEFORE_OPTIONS = re.compile(r" (?=--|> |signal-broker )")
_BREAKS = str.maketrans("\n\r\t", "   ")


def example(*lines: str) -> str:
    """Return the end of a help page: *lines* to paste into a shell, those that are too wide over several lines."""
    return "\b\nExample:\n" + "\n".join(f"  {_fold(line)}" for line in lines)


def _fold(line: str) -> str:
    """Return the command in *line*, continued before options where it is too wide for a help page."""
    first, *others = _BEFORE_OPTIONS.split(line)
    folded, width = first, len(first)
    for part in others:
        if width + len(part) > _EXAMPLE_WIDTH:
            folded, width = f"{folded} \\\n      {part}", len(part) + 4
        else:
            folded, width = f"{folded} {part}", width + 1 + len(part)
    return folded


def show_one(document: Printed, *members: str, as_json: bool) -> None:
    """Print *document*: all of it as JSON, or its *members*, one a line, in full so that they can be copied."""
    if as_json:
        show_json(document)
        return
    shown = [(_title(member), _text(document[member])) for member in members if document.get(member) is not None]
    width = max((len(title) for title, _ in shown), default=0)
    for title, text in shown:
        say(f"{title:<{width}}{_GAP}{escape(text)}")


def show_many(documents: Sequence[Printed], *members: str, as_json: bool) -> None:
    """Print *documents*: as a JSON array, or *members* of them as a table."""
    if as_json:
        show_json(documents)
        return
    show_table(
        [_title(member) for member in members],
        [[_text(document.get(member)) for member in members] for document in documents],
    )


def show_answer(body: bytes, *members: str, as_json: bool) -> None:
    """Print a document of the API: as JSON just as it was answered, or as `show_one` does."""
    if as_json:
        show_line(body.decode())
    else:
        show_one(read(body.decode()), *members, as_json=False)


def show_list(
    page: Page, *members: str, as_json: bool, shorten: Callable[[Printed], Printed] = lambda document: document
) -> None:
    """Print a list of the API: as a JSON array, each item as it was answered and in a line, or as a table.

    *shorten* makes the row of a table from an item.
    """
    if as_json:
        say("[" + ",\n ".join(item.decode().translate(_BREAKS) for item in page.items) + "]")
    else:
        show_many(list(map(shorten, page.documents)), *members, as_json=False)
    if page.next is not None:
        say(f"there are more than these {len(page.items)}: see --limit and --all", err=True)


def show_targets(document: Printed) -> Printed:
    """Return *document* with its target as people write it."""
    target = document["target"]
    if target is None:
        return {**document, "target": "several steps"}
    where = next((target[member] for member in ("url", "queue", "handler") if member in target), None)
    return {**document, "target": where if target["kind"] == "webhook" else f"{target['kind']} {where or ''}".rstrip()}


def show_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: fitted to a terminal; elsewhere as plain text, one line a row, as wide as needed."""
    cells = [[escape(cell.translate(_BREAKS)) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _show_fitted_table(titles, cells)
        return
    lines = [[title.upper() for title in titles], *cells]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        say(_GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _show_fitted_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from deploy.cli.tables import fit  # noqa: PLC0415  (only a terminal needs it)

    width = shutil.get_terminal_size().columns
    table = fit([title.upper() for title in titles], rows, width)
    for line in table.head:
        click.echo(click.style(line, bold=True) if has_colours() else line)
    for line in table.body:
        say(line)
    if table.left_out:
        hint = f"no room for {', '.join(table.left_out).lower()}: make the window wider, or see --json"
        say(click.wrap_text(hint, width), err=True)


def has_colours() -> bool:
    """Return whether the terminal is to have colours (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def show_json(document: object) -> None:
    """Print *document* as JSON."""
    say(json.dumps(document, indent=2, ensure_ascii=False))


def show_line(text: str) -> None:
    """Print *text* in one line, spaces in place of breaks and tabs; in JSON these stand only between tokens."""
    say(text.translate(_BREAKS))


def say(text: str, *, err: bool = False) -> None:
    """Print *text*, and nothing that could steer a terminal; commands print by no other way."""
    click.echo(escape(text, keep="\n"), err=err)


def _title(member: str) -> str:
    return re.sub("(?<=[a-z])([A-Z])", r" \1", member).lower()


def _text(value: object) -> str:
    match value:
        case None:
            return _NOTHING
        case bool():
            return "yes" if value else "no"
        case list() if all(isinstance(item, str) for item in value):
            return ", ".join(value)
        case list() | dict():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return str(value)
