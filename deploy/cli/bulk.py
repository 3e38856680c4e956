"""What ``redrive``, ``replay`` and ``deliveries cancel`` have in common: the options, and the progress bar."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from broker.deliveries import Outcome
from broker.integers import MAX_ID
from deploy.cli.api import Api
from deploy.cli.interrupts import finish
from deploy.cli.output import say
from deploy.cli.problems import ApiError, is_refusal

_OF_DELIVERIES = (
    click.option(
        "--subscription", type=click.IntRange(1, MAX_ID), metavar="ID", help="Only deliveries to this subscription."
    ),
    click.option(
        "--outcome",
        type=click.Choice([one.value for one in Outcome]),
        metavar="OUTCOME",
        help=f"Only deliveries whose last attempt had this outcome: {', '.join(Outcome)}.",
    ),
    click.option(
        "--status",
        type=click.IntRange(100, 599),
        help="Only deliveries whose last attempt was answered with this HTTP status.",
    ),
)
_OF_SIGNALS = (
    click.option("--name", metavar="NAME", help="Only signals whose name matches (patterns allowed)."),
    click.option(
        "--since", metavar="TIME", help="Only signals accepted then or later (RFC 3339, 2026-11-22T10:00:00Z)."
    ),
    click.option("--until", metavar="TIME", help="Only signals accepted before then."),
    click.option("--dry-run", is_flag=True, help="Only count."),
    click.option("--after", metavar="PLACE", help="Go on where an earlier run was interrupted: what that one said."),
)


pace_option = click.option(
    "--per-second", type=float, metavar="N", help="Most deliveries a second; without it, all at once."
)


def delivery_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give *command* the options that select deliveries."""
    return _with(_OF_DELIVERIES, command)


def selection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give *command* the options that select signals, and say what to do about them."""
    return _with(_OF_SIGNALS, command)


def _with(options: Sequence[Callable[..., Any]], command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(options):
        command = option(command)
    return command


@dataclass(slots=True)
class _Progress:
    """How far a bulk operation came.

    Args:
        after: Where the next request goes on; None: at the beginning, or nowhere.
        total: How many deliveries were changed, as far as answers said.
        is_done: Whether nothing is left.
        is_unanswered: Whether a request was made that may have changed more of them.
    """

    after: str | None
    total: int = 0
    is_done: bool = False
    is_unanswered: bool = False


async def run_all(api: Api, path: str, wanted: Mapping[str, object], *, after: str | None, label: str) -> int:
    """Repeat the bulk request until nothing is left, and return how many deliveries it changed.

    Each request says where the next one goes on. A terminal shows the progress; if the command is interrupted, or a
    request fails, it says how far it came and how to go on.
    """
    progress = _Progress(after)
    hidden = not sys.stderr.isatty()
    waiting = ("" if hidden else "\n") + "waiting for the answer to the last request, which may take ten seconds"
    try:
        with click.progressbar(length=1, label=label, file=sys.stderr, hidden=hidden) as bar:
            while True:
                await finish(_ask(api, path, wanted, progress), waiting)
                if progress.is_done:
                    bar.update(bar.length or 1)
                    return progress.total
                if not hidden:
                    # Measured by the signals' ids: requests follow their order.
                    bar.length = max(await _last_id(api), 1)
                    bar.update(max(0, _signal_id(progress) - bar.pos))
    except (asyncio.CancelledError, ApiError):
        _tell_how_to_go_on(progress, wanted)
        raise


async def _ask(api: Api, path: str, wanted: Mapping[str, object], progress: _Progress) -> None:
    progress.is_unanswered = True
    try:
        answer = (await api.post(path, {**wanted, "after": progress.after})).document
    except ApiError as error:
        progress.is_unanswered = not is_refusal(error)
        raise
    progress.is_unanswered, progress.is_done = False, answer["next"] is None
    progress.total, progress.after = progress.total + answer["count"], answer["next"]


def _tell_how_to_go_on(progress: _Progress, wanted: Mapping[str, object]) -> None:
    further = "repeat the command" if progress.after is None else f"repeat the command with --after {progress.after}"
    if progress.is_done:
        say(f"interrupted, when all was done: {progress.total}", err=True)
    elif not progress.is_unanswered or wanted["dryRun"]:
        if progress.total or progress.after is not None:
            say(f"interrupted: {progress.total} so far; to go on, {further}", err=True)
    else:
        paced = wanted.get("perSecond") is not None
        look = "signal-broker deliveries list --state parked" if paced else "signal-broker deliveries list"
        say(
            f"interrupted: {progress.total} so far, and perhaps more: the last request got no answer that says how"
            f" many; `{look}` shows what became of them",
            err=True,
        )
        pace = "; its --per-second is added to the pace of those that wait already" if paced else ""
        say(f"to go on, {further}{pace}", err=True)


def _signal_id(progress: _Progress) -> int:
    return int((progress.after or "0").split("@")[0].partition("-")[0])


async def _last_id(api: Api) -> int:
    """Return the id of the newest recorded signal that the caller sees; 0 if it sees none."""
    try:
        newest = await api.pages("/v1/signals", {"order": "desc"}, limit=1)
    except ApiError:
        return 0
    return max((signal["id"] for signal in newest.documents), default=0)
