"""``signals``: the recorded signals."""

from __future__ import annotations

from typing import Any

import click

from broker.integers import MAX_ID
from broker.signals import SignalState, Source
from deploy.cli.api import Api, with_api
from deploy.cli.following import tail
from deploy.cli.lists import read_filters, read_values, with_filters, with_order
from deploy.cli.output import as_json, example, show_answer, show_list, show_one

_RECORDED = (SignalState.RECORDED, SignalState.SCHEDULED, SignalState.CANCELLED)
_LISTED = (
    "id",
    "createdAt",
    "name",
    "tenantId",
    "executionId",
    "state",
    "payload",
    "deliverAt",
    "source",
    "orderingKey",
)
_SHOWN = (
    *("id", "name", "scope", "tenantId", "executionId", "state", "createdAt", "deliverAt", "expiresAt"),
    *("businessKey", "orderingKey", "source", "sourceId", "hops", "payload"),
)


@click.group()
def signals() -> None:
    """List, show and follow recorded signals, and cancel scheduled ones."""


@signals.command(
    "list",
    epilog=example(
        "signal-broker signals list --name 'invoice.#' --tenant globex",
        "signal-broker signals list --since 2026-11-22T10:00:00Z --all --json",
        "signal-broker signals list --payload invoice=INV-92 --payload 'items[*].sku=b'",
    ),
)
@with_filters(
    name=("Only signals whose name matches (patterns allowed).", "NAME"),
    tenant_id=("Only signals of this tenant.", "ID"),
    execution_id=("Only signals of this execution.", "ID"),
    business_key=("Only signals with this business key.", "KEY"),
    ordering_key=("Only signals with this ordering key.", "KEY"),
    source=("Only signals that came in this way.", click.Choice([source.value for source in Source])),
    source_id=("Only signals of the signal endpoint with this id.", click.IntRange(0, MAX_ID)),
    state=("Only signals in this state.", click.Choice([state.value for state in _RECORDED])),
    since=("Only signals accepted then or later (2026-11-22T10:00:00Z).", "TIME"),
    until=("Only signals accepted before then.", "TIME"),
    q=("Only signals with this text in the payload or a key, in any letter case.", "TEXT"),
    after_id=("Only signals that come after this one in the list.", click.IntRange(0, MAX_ID)),
)
@click.option(
    "--payload",
    "values",
    multiple=True,
    callback=read_values,
    metavar="PATH=VALUE",
    help="Only signals whose payload has this value under this path; for several, all must be there.",
)
@with_order
@as_json
@with_api()
async def list_(
    api: Api,
    /,
    *,
    limit: int,
    everything: bool,
    values: dict[str, str],
    oldest_first: bool,
    as_json: bool,
    **filters: Any,
) -> None:
    """List recorded signals, the newest first."""
    query = read_filters(filters) | values | {"order": "asc" if oldest_first else "desc"}
    page = await api.pages("/v1/signals", query, limit=None if everything else limit)
    show_list(page, *_LISTED, as_json=as_json)


@signals.command(epilog=example("signal-broker signals show 34"))
@click.argument("signal_id", metavar="ID", type=click.IntRange(1, MAX_ID))
@as_json
@with_api()
async def show(api: Api, *, signal_id: int, as_json: bool) -> None:
    """Show a recorded signal; `deliveries list --signal ID` shows who got it."""
    show_answer((await api.get(f"/v1/signals/{signal_id}")).body, *_SHOWN, as_json=as_json)


@signals.command(epilog=example("signal-broker signals cancel 34"))
@click.argument("signal_id", metavar="ID", type=click.IntRange(1, MAX_ID))
@as_json
@with_api()
async def cancel(api: Api, *, signal_id: int, as_json: bool) -> None:
    """Cancel a scheduled signal, before its moment has come: it is never delivered."""
    await api.call("DELETE", f"/v1/signals/{signal_id}")
    show_one({"cancelled": signal_id}, "cancelled", as_json=as_json)


signals.add_command(tail)
