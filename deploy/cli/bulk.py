"""What ``redrive`` and ``replay`` have in common: which signals it is about, how fast it goes, how far it is."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import click

from broker.store.deliveries.bulk import BulkProgress, SignalFilter
from broker.store.postgres.database import Database
from broker.store.signals.signals import SignalStore
from broker.store.spans import find_span

_OPTIONS = (
    click.option("--name", metavar="NAME", help="Of signals of this name, or of those that the pattern names."),
    click.option("--since", metavar="TIME", help="Of signals accepted then or later (RFC 3339, 2026-11-22T10:00:00Z)."),
    click.option("--until", metavar="TIME", help="Of signals accepted before."),
    click.option("--per-second", type=float, metavar="N", help="How many go in a second; without it, all at once."),
    click.option("--dry-run", is_flag=True, help="Only count."),
)


def selection(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give *command* the options that say which signals it is about, and how fast it goes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


async def do_all(database: Database, wanted: SignalFilter, chunks: AsyncIterator[BulkProgress], *, label: str) -> int:
    """Do all *chunks*; return to how many it was done. A terminal shows how far it is."""
    total = 0
    first_id, last_id = await find_span(database, wanted.since, wanted.until)
    last_id = last_id or await SignalStore(database).last_id()
    length, hidden = max(1, last_id - first_id), not sys.stderr.isatty()
    # By the ids of the signals, which are looked at nearly in their order.
    with click.progressbar(length=length, label=label, file=sys.stderr, hidden=hidden) as bar:
        async for chunk in chunks:
            total += chunk.count
            at = length if chunk.after is None else int(chunk.after.partition("-")[0]) - first_id
            bar.update(max(0, at - bar.pos))
    return total
