"""The report of `make receivers`: a table in docs/webhooks.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.compat.servers.books import Books
from tests.compat.servers.kinds import Kind
from tests.compat.servers.server import Server

REPORT = Path(__file__).parents[3] / "docs" / "webhooks.md"
_VERSION = re.compile(r"\d+(\.\d+)+")
_HEAD = (
    "server",
    "deliveries",
    "reloads / restarts / kills",
    "requests counted",
    "attempts that failed",
    "sent twice in one attempt",
    "lost",
    "doubled without a reason",
)
_SHOWN = 20
"""How many violations of each kind are printed."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What came of the deliveries to one server.

    Args:
        server: Its name and version.
        deliveries: How many were owed.
        disturbances: How often it was reloaded, restarted, and killed.
        requests: How many requests it counted.
        failed: How many attempts did not succeed, by outcome.
        resent: In how many attempts the request went out twice.
        lost: How many deliveries were lost.
        doubled: How many requests the record does not explain.
        sentences: What is lost or not explained.
    """

    server: str
    deliveries: int
    disturbances: tuple[int, int, int]
    requests: int
    failed: Mapping[str, int]
    resent: int
    lost: int
    doubled: int
    sentences: Sequence[str]

    @classmethod
    def of(cls, kind: Kind, version: str, server: Server, books: Books) -> Row:
        """Return what came of the deliveries in *books*; *version* is what the server says of it."""
        found = _VERSION.search(version)
        name, comma, rest = kind.name.partition(",")
        lost, unexplained = books.lost, books.unexplained
        return cls(
            server=f"{name} {found[0] if found else ''}{comma}{rest}",
            deliveries=len(books.owed),
            disturbances=(server.reloads, server.restarts, server.kills),
            requests=books.counted,
            failed=books.outcomes,
            resent=books.resent,
            lost=len(lost),
            doubled=len(unexplained),
            sentences=[*lost[:_SHOWN], *unexplained[:_SHOWN]],
        )

    @property
    def cells(self) -> tuple[str, ...]:
        """Its cells in the table."""
        failed = ", ".join(f"`{outcome}`: {times:,}" for outcome, times in sorted(self.failed.items())) or "none"
        return (
            self.server,
            f"{self.deliveries:,}",
            " / ".join(map(str, self.disturbances)),
            f"{self.requests:,}",
            failed,
            f"{self.resent:,}",
            str(self.lost),
            str(self.doubled),
        )

    def __str__(self) -> str:
        figures = "; ".join(f"{name}: {cell}" for name, cell in zip(_HEAD[1:], self.cells[1:], strict=True))
        return "\n    ".join([f"{self.server}: {figures}", *self.sentences])


def render(rows: Iterable[Row]) -> str:
    """Return the table in Markdown."""
    lines = [_HEAD, ("---",) * len(_HEAD), *(row.cells for row in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def write(rows: Iterable[Row]) -> None:
    """Put the table into docs/webhooks.md, in place of the one that is there."""
    table = re.compile(r"^\| server (?:.*\n)(?:\|.*\n)*", re.MULTILINE)
    text, count = table.subn(lambda _: render(rows), REPORT.read_text())
    assert count == 1, "docs/webhooks.md has no such table, or several"
    REPORT.write_text(text)
