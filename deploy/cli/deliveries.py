"""``deliveries``: what is owed to subscriptions, and every attempt at it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import click

from broker.deliveries import DeliveryState, Outcome
from broker.integers import MAX_ID
from deploy.cli.api import Api, segment, with_api
from deploy.cli.bulk import delivery_options, run_all, selection_options
from deploy.cli.lists import read_filters, with_filters, with_order
from deploy.cli.output import as_json, example, say, show_line, show_list, show_many, show_one, show_targets
from deploy.cli.problems import ApiError

_LISTED = (
    *("id", "signalName", "state", "attemptCount", "lastStatus", "reason", "dueAt", "target", "tenantId", "lastError"),
    "createdAt",
)
_SHOWN = (
    *("id", "state", "reason", "signalName", "signalId", "subscriptionId", "tenantId", "target", "createdAt"),
    *("dueAt", "finishedAt", "attemptCount"),
)
_ATTEMPTS = ("number", "startedAt", "durationSeconds", "outcome", "status", "error", "response")

_REFUSALS = {400, 403, 404, 409, 422}
"""What is answered about one delivery, and says nothing about the next."""

_CANCELLABLE = [state.value for state in (DeliveryState.DEAD, DeliveryState.PARKED)]

_ids = click.argument("delivery_ids", metavar="ID...", nargs=-1, required=True)


@click.group()
def deliveries() -> None:
    """List, show, redrive and cancel deliveries."""


@deliveries.command(
    "list",
    epilog=example(
        "signal-broker deliveries list --state dead --host hooks.globex.example",
        "signal-broker deliveries list --signal 34",
    ),
)
@with_filters(
    state=("Only deliveries in this state.", click.Choice([state.value for state in DeliveryState])),
    subscription_id=("Only deliveries to this subscription.", click.IntRange(1, MAX_ID)),
    signal_id=("Only deliveries of this signal.", click.IntRange(1, MAX_ID)),
    name=("Only deliveries of signals whose name matches (patterns allowed).", "NAME"),
    tenant_id=("Only deliveries to subscriptions of this tenant.", "ID"),
    host=("Only deliveries to webhooks at this host.", "HOST"),
    outcome=(
        f"Only deliveries whose last attempt had this outcome: {', '.join(Outcome)}.",
        {"metavar": "OUTCOME", "type": click.Choice([outcome.value for outcome in Outcome])},
    ),
    status=("Only deliveries whose last attempt was answered with this HTTP status.", click.IntRange(100, 599)),
    since=("Only deliveries of signals accepted then or later (2026-11-22T10:00:00Z).", "TIME"),
    until=("Only deliveries of signals accepted before then.", "TIME"),
    attempted_since=("Only deliveries whose last attempt began then or later.", "TIME"),
    attempted_until=("Only deliveries whose last attempt began before then.", "TIME"),
    after_id=("Only deliveries that come after this one in the list.", "ID"),
)
@with_order
@as_json
@with_api()
async def list_(
    api: Api, /, *, limit: int, everything: bool, oldest_first: bool, as_json: bool, **filters: Any
) -> None:
    """List deliveries, those of the newest signals first."""
    query = read_filters(filters) | {"order": "asc" if oldest_first else "desc"}
    page = await api.pages("/v1/deliveries", query, limit=None if everything else limit)
    show_list(page, *_LISTED, as_json=as_json, shorten=show_targets)


@deliveries.command(epilog=example("signal-broker deliveries show 34-7"))
@click.argument("delivery_id", metavar="ID")
@as_json
@with_api()
async def show(api: Api, *, delivery_id: str, as_json: bool) -> None:
    """Show a delivery and every attempt at it."""
    answer = await api.get(_path(delivery_id))
    if as_json:
        show_line(answer.body.decode())
        return
    document = answer.document
    show_one(show_targets(document), *_SHOWN, as_json=False)
    if document["attempts"]:
        say("")
        attempts = [{**attempt, "durationSeconds": attempt["duration"]} for attempt in document["attempts"]]
        leased = ("worker",) if any(attempt["worker"] for attempt in attempts) else ()
        show_many(attempts, *_ATTEMPTS, *leased, as_json=False)


@deliveries.command(epilog=example("signal-broker deliveries redrive 34-7 34-9"))
@_ids
@as_json
@with_api()
async def redrive(api: Api, *, delivery_ids: tuple[str, ...], as_json: bool) -> None:
    """Let deliveries be attempted again: dead ones, or those in any other state but pending.

    A parked one asks at once whether it may go, instead of at its `dueAt`. `signal-broker redrive` takes filters
    instead of ids.
    """
    await _change(api, delivery_ids, "redrive", as_json=as_json)


@deliveries.command(
    epilog=example(
        "signal-broker deliveries cancel 34-7",
        "signal-broker deliveries cancel --deleted --dry-run",
        "signal-broker deliveries cancel --subscription 7 --state parked",
    )
)
@click.argument("delivery_ids", metavar="[ID...]", nargs=-1)
@delivery_options
@click.option("--deleted", is_flag=True, help="Only deliveries to subscriptions that are deleted.")
@click.option("--state", type=click.Choice(_CANCELLABLE), help="Deliveries in this state instead of dead ones.")
@selection_options
@click.option("--all", "everything", is_flag=True, help="All dead deliveries (or parked ones).")
@as_json
@with_api()
async def cancel(
    api: Api,
    /,
    *,
    delivery_ids: tuple[str, ...],
    subscription: int | None,
    outcome: str | None,
    status: int | None,
    deleted: bool,
    state: str | None,
    dry_run: bool,
    after: str | None,
    everything: bool,
    as_json: bool,
    **filters: str | None,
) -> None:
    """Cancel deliveries, or all dead ones that match the filters (or parked ones).

    They are not attempted any more, unless they are redriven.
    """
    given = {"subscriptionId": subscription, "outcome": outcome, "status": status, **filters}
    filtered = deleted or any(value is not None for value in given.values())
    if [bool(delivery_ids), filtered, everything].count(True) != 1:
        raise click.UsageError("give either IDs, or filters, or --all")
    if delivery_ids:
        if dry_run or state is not None or after is not None:
            raise click.UsageError("--dry-run, --state and --after go with filters or --all")
        await _change(api, delivery_ids, "cancel", as_json=as_json)
        return
    wanted = {**given, "subscriptionDeleted": deleted, "state": state or "dead", "dryRun": dry_run}
    count = await run_all(api, "/v1/deliveries/cancel", wanted, after=after, label="Cancelling")
    show_one({"count": count, "dryRun": dry_run}, "count", "dryRun", as_json=as_json)


async def _change(api: Api, delivery_ids: Sequence[str], action: str, *, as_json: bool) -> None:
    """Change the deliveries one after the other, those after one that is refused, too; print what was changed.

    Raises:
        click.ClickException: Some were refused; it was said why.
        ApiError: The only one was refused, or the product is not there for the others either.
    """
    changed: list[Mapping[str, Any]] = []
    refused = 0
    try:
        for number, delivery_id in enumerate(delivery_ids):
            try:
                changed.append((await api.post(f"{_path(delivery_id)}/{action}")).document)
            except (asyncio.CancelledError, ApiError) as error:
                if isinstance(error, ApiError) and error.status in _REFUSALS and len(delivery_ids) > 1:
                    say(f"{delivery_id}: {error}", err=True)
                    refused += 1
                    continue
                if len(delivery_ids) > 1 or isinstance(error, asyncio.CancelledError):
                    say(
                        f"interrupted: {number} of {len(delivery_ids)} so far; to go on, repeat the command from"
                        f" {delivery_id} on (that one may be done already)",
                        err=True,
                    )
                raise
    finally:  # what was done before an error is told, too
        if changed:
            show_many(changed, "id", "state", "attemptCount", "dueAt", as_json=as_json)
    if refused:
        raise click.ClickException(f"{refused} of {len(delivery_ids)} deliveries were not changed")


def _path(delivery_id: str) -> str:
    return f"/v1/deliveries/{segment(delivery_id)}"
