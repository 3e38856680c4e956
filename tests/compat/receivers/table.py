"""The table: every behaviour, and how docs/webhooks.md shows it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain

from tests.compat.receivers.behaviour import Behaviour
from tests.compat.receivers.bodies import BODIES
from tests.compat.receivers.ending import EARLY, LOST, SLOW
from tests.compat.receivers.heads import HEADS, PROTOCOLS
from tests.compat.receivers.keeping import KEPT
from tests.compat.receivers.reaching import ENCRYPTED, NAMED
from tests.compat.receivers.statuses import STATUSES

SECTIONS: dict[str, tuple[Behaviour, ...]] = {
    "Statuses": STATUSES,
    "Heads of answers": HEADS,
    "Bodies of answers": BODIES,
    "Versions and other protocols": PROTOCOLS,
    "Answers before the request was read": EARLY,
    "Lost connections": LOST,
    "Slow receivers": SLOW,
    "Kept connections, after one or two webhooks that were delivered": KEPT,
    "TLS": ENCRYPTED,
    "Names and addresses": NAMED,
}
BEHAVIOURS = tuple(chain.from_iterable(SECTIONS.values()))
_ONE_STATUS = re.compile(r"answers (\d{3})")
_SHOWN_LIMIT = 160


def render() -> str:
    """Return the table in Markdown. Lines that differ in the status alone are one."""
    lines = ["| The receiver | status | outcome | recorded error | then |", "|---|---|---|---|---|"]
    for title, behaviours in SECTIONS.items():
        lines.append(f"| **{title}** | | | | |")
        groups: dict[tuple[str, ...], list[str]] = {}
        for behaviour in behaviours:
            groups.setdefault(_key(behaviour), []).append(behaviour.cells[1])
        for (receiver, _, *rest), codes in groups.items():
            shown = (receiver, *codes, *rest) if receiver else (f"answers {', '.join(codes)}", "the same", *rest)
            lines.append(f"| {' | '.join(map(_cut, shown))} |")
    return "\n".join(lines)


def _key(behaviour: Behaviour) -> tuple[str, ...]:
    """Return what is the same in the cells of a line and of those that are shown with it."""
    receiver, status, *rest = behaviour.cells
    if not _ONE_STATUS.fullmatch(receiver):
        return behaviour.cells
    return "", "", *(cell.replace(status, "...") for cell in rest)


def _cut(cell: str) -> str:
    return cell if len(cell) <= _SHOWN_LIMIT else f"{cell[:_SHOWN_LIMIT]}..."


def identified() -> Iterator[tuple[str, Behaviour, int]]:
    """Return every variant of every behaviour, with a name."""
    for behaviour in BEHAVIOURS:
        for variant in range(len(behaviour.scripts)):
            yield f"{behaviour.receiver}#{variant + 1}", behaviour, variant
