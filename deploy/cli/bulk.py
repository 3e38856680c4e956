"""What ``redrive`` and ``replay`` have in common: the options, and the progress bar."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import click

from broker.schemas import BulkRequest
from broker.store.deliveries.bulk import BulkProgress
from broker.store.postgres.database import Database
from broker.store.signals.signals import SignalStore
from broker.store.spans import find_span

_OPTIONS = (
    click.option("--name", metavar="NAME", help="Only signals whose name matches (patterns allowed)."),
    click.option(
        "--since", metavar="TIME", help="Only signals accepted then or later (RFC 3339, 2026-11-22T10:00:00Z)."
    ),
    click.option("--until", metavar="TIME", help="Only signals accepted before then."),
    click.option("--per-second", type=float, metavar="N", help="Most deliveries a second; without it, all at once."),
    click.option("--dry-run", is_flag=True, help="Only count."),
)


def bulk_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give *command* the options that select signals, and set the pace."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


async def run_all(database: Database, wanted: BulkRequest, chunks: AsyncIterator[BulkProgress], *, label: str) -> int:
    """Run all *chunks* and return how many deliveries they changed. A terminal shows the progress."""
    total = 0
    first_id, last_id = await find_span(database, wanted.since, wanted.until)
    last_id = last_id or await SignalStore(database).last_id()
    length, hidden = max(1, last_id - first_id), not sys.stderr.isatty()
    # Measured by the signals' ids: chunks follow their order closely.
    with click.progressbar(length=length, label=label, file=sys.stderr, hidden=hidden) as bar:
        async for chunk in chunks:
            total += chunk.count
            at = length if chunk.after is None else int(chunk.after.partition("-")[0]) - first_id
            bar.update(max(0, at - bar.pos))
    return total
