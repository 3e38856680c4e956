"""``replay``: recorded signals are delivered to a subscription that was not owed them."""

from __future__ import annotations

import click

from broker.integers import MAX_ID
from deploy.cli.api import Api, with_api
from deploy.cli.bulk import pace_option, run_all, selection_options
from deploy.cli.output import as_json, example, show_one


@click.command(
    epilog=example(
        "signal-broker replay 3 --since 2026-11-22T10:00:00Z --dry-run",
        "signal-broker replay 3 --since 2026-11-22T10:00:00Z --until 2026-11-22T11:00:00Z --per-second 50",
    )
)
@click.argument("subscription_id", type=click.IntRange(1, MAX_ID))
@selection_options
@pace_option
@as_json
@with_api()
async def replay(
    api: Api,
    /,
    *,
    subscription_id: int,
    per_second: float | None,
    dry_run: bool,
    after: str | None,
    as_json: bool,
    **filters: str | None,
) -> None:
    """Deliver the recorded signals that match a subscription and that it was not owed yet, the oldest first.

    Without --since it begins with the oldest recorded signal. Repeating it delivers nothing twice.
    """
    wanted = {**filters, "perSecond": per_second, "dryRun": dry_run}
    count = await run_all(api, f"/v1/subscriptions/{subscription_id}/replay", wanted, after=after, label="Replaying")
    show_one({"count": count, "dryRun": dry_run}, "count", "dryRun", as_json=as_json)
