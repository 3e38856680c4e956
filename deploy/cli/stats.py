"""``stats``: what happened in each step, and how long deliveries took."""

from __future__ import annotations

from typing import Any

import click

from broker.integers import MAX_ID
from broker.statistics import MAX_STEP, MINUTE, Split
from deploy.cli.api import Api, with_api
from deploy.cli.lists import read_filters
from deploy.cli.output import Printed, as_json, example, show_line, show_many

_COUNTS = ("accepted", "recorded", "delivered", "dead", "retried")
_GROUPS = {"subscription": "subscriptionId", "tenant": "tenantId", "name": "name"}
_OTHERS = "(others)"


@click.command(
    epilog=example(
        "signal-broker stats",
        "signal-broker stats --since 2026-11-22T00:00:00Z --step 3600 --by subscription",
    )
)
@click.option("--since", metavar="TIME", help="From then on (2026-11-22T10:00:00Z); by default an hour before the end.")
@click.option("--until", metavar="TIME", help="Until then; by default until now.")
@click.option(
    "--step",
    type=click.IntRange(MINUTE, MAX_STEP),
    default=5 * MINUTE,
    show_default=True,
    metavar="SECONDS",
    help="The length of a step, a multiple of 60; of 3600 for what is more than 48 hours ago.",
)
@click.option("--by", type=click.Choice([split.value for split in Split]), help="What to split the steps by.")
@click.option(
    "--subscription",
    "subscription_id",
    type=click.IntRange(1, MAX_ID),
    metavar="ID",
    help="Only what is owed to this subscription.",
)
@click.option("--tenant", "tenant_id", metavar="ID", help="Only signals and subscriptions of this tenant.")
@click.option("--name", metavar="NAME", help="Only signals with exactly this name, and their deliveries.")
@as_json
@with_api()
async def stats(api: Api, /, *, as_json: bool, **options: Any) -> None:
    """Show what happened in each step, and the latencies from throw to delivery in milliseconds."""
    answer = await api.get("/v1/stats", read_filters(options))
    if as_json:
        show_line(answer.body.decode())
        return
    group = _GROUPS.get(options["by"])
    members = ("at", *([] if group is None else [group]), *_COUNTS, "p50", "p95", "p99")
    show_many([_row(step, group) for step in answer.document["steps"]], *members, as_json=False)


def _row(step: Printed, group: str | None) -> Printed:
    """Return *step* as a row of a table."""
    others = {group: _OTHERS} if group is not None and step["other"] else {}
    return {**step, **others, **(step["latencyMs"] or {})}
