"""``events``: what happened that operators are to know of."""

from __future__ import annotations

from typing import Any

import click

from broker.events import EventType
from broker.integers import MAX_ID
from deploy.cli.api import Api, with_api
from deploy.cli.lists import read_filters, with_filters
from deploy.cli.output import as_json, example, show_list

_LISTED = ("id", "at", "type", "count", "subscriptionId", "subscriptionName", "tenantId", "details")


@click.command(
    epilog=example(
        "signal-broker events --limit 20", "signal-broker events --type '$broker.delivery.dead' --subscription 7 --json"
    )
)
@with_filters(
    type=(
        f"Only events of this type: {', '.join(EventType)}.",
        {"type": click.Choice([kind.value for kind in EventType]), "metavar": "TYPE"},
    ),
    subscription_id=("Only events about this subscription.", click.IntRange(0, MAX_ID)),
    since=("Only events of what happened then or later (2026-11-22T10:00:00Z).", "TIME"),
    after_id=("Only events that come after this one in the list.", click.IntRange(0, MAX_ID)),
)
@as_json
@with_api()
async def events(api: Api, /, *, limit: int, everything: bool, as_json: bool, **filters: Any) -> None:
    """Show what operators are to know of, the newest first: circuits that opened, deliveries that died, and so on."""
    page = await api.pages("/v1/events", read_filters(filters), limit=None if everything else limit)
    show_list(page, *_LISTED, as_json=as_json)
