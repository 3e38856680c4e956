"""What ``redrive`` and ``replay`` have in common: the options, and the progress bar."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from typing import Any

import click

from deploy.cli.api import Api
from deploy.cli.output import say
from deploy.cli.problems import ApiError

_OPTIONS = (
    click.option("--name", metavar="NAME", help="Only signals whose name matches (patterns allowed)."),
    click.option(
        "--since", metavar="TIME", help="Only signals accepted then or later (RFC 3339, 2026-11-22T10:00:00Z)."
    ),
    click.option("--until", metavar="TIME", help="Only signals accepted before then."),
    click.option("--per-second", type=float, metavar="N", help="Most deliveries a second; without it, all at once."),
    click.option("--dry-run", is_flag=True, help="Only count."),
    click.option("--after", metavar="PLACE", help="Go on where an earlier run was interrupted: what that one said."),
)


def bulk_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give *command* the options that select signals, and set the pace."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


async def run_all(api: Api, path: str, wanted: Mapping[str, object], *, after: str | None, label: str) -> int:
    """Repeat the bulk request until nothing is left, and return how many deliveries it changed.

    Each request says where the next one goes on. A terminal shows the progress; if the command is interrupted, it says
    how far it came.
    """
    total: int = 0
    hidden = not sys.stderr.isatty()
    try:
        with click.progressbar(length=1, label=label, file=sys.stderr, hidden=hidden) as bar:
            while True:
                answer = (await api.post(path, {**wanted, "after": after})).document
                total, after = total + answer["count"], answer["next"]
                if after is None:
                    bar.update(bar.length or 1)
                    return total
                if not hidden:
                    # Measured by the signals' ids: requests follow their order.
                    bar.length = max(await _last_id(api), 1)
                    bar.update(max(0, int(after.split("@")[0].partition("-")[0]) - bar.pos))
    except (asyncio.CancelledError, ApiError):
        further = "repeat the command" if after is None else f"repeat the command with --after {after}"
        if total or after is not None:
            say(f"interrupted: {total} so far; to go on, {further}", err=True)
        raise


async def _last_id(api: Api) -> int:
    """Return the id of the newest recorded signal that the caller sees; 0 if it sees none."""
    try:
        newest = await api.pages("/v1/signals", {"order": "desc"}, limit=1)
    except ApiError:
        return 0
    return max((signal["id"] for signal in newest.documents), default=0)
