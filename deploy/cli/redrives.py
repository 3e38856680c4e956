"""``redrive``: deliveries are attempted again."""

from __future__ import annotations

import click

from broker.deliveries import DeliveryState
from deploy.cli.api import Api, segment, with_api
from deploy.cli.bulk import delivery_options, pace_option, run_all, selection_options
from deploy.cli.output import as_json, example, show_answer, show_one

_REDRIVABLE = [state.value for state in DeliveryState if state is not DeliveryState.PENDING]


@click.command(
    epilog=example(
        "signal-broker redrive 17-3",
        "signal-broker redrive --subscription 3 --since 2026-11-22T10:00:00Z --outcome timed_out --dry-run",
        "signal-broker redrive --name 'policy.#' --per-second 50",
    )
)
@click.argument("delivery_id", required=False)
@delivery_options
@click.option("--state", type=click.Choice(_REDRIVABLE), help="Deliveries in this state instead of dead ones.")
@selection_options
@pace_option
@click.option("--all", "everything", is_flag=True, help="All dead deliveries (or those in that state).")
@as_json
@with_api()
async def redrive(
    api: Api,
    /,
    *,
    delivery_id: str | None,
    subscription: int | None,
    outcome: str | None,
    status: int | None,
    state: str | None,
    everything: bool,
    per_second: float | None,
    dry_run: bool,
    after: str | None,
    as_json: bool,
    **filters: str | None,
) -> None:
    """Let a delivery be attempted again, or all dead ones that match the filters (or those in another state).

    Deliveries to a deleted or disabled subscription, and those of an expired signal, stay as they are.
    """
    given = {"subscriptionId": subscription, "outcome": outcome, "status": status, **filters}
    filtered = any(value is not None for value in given.values())
    if [delivery_id is not None, filtered, everything].count(True) != 1:
        raise click.UsageError("give either a DELIVERY_ID, or filters, or --all")
    if delivery_id is not None:
        if dry_run or per_second is not None or state is not None or after is not None:
            raise click.UsageError("--dry-run, --per-second, --state and --after go with filters or --all")
        answer = await api.post(f"/v1/deliveries/{segment(delivery_id)}/redrive")
        show_answer(answer.body, "id", "state", "attemptCount", "dueAt", as_json=as_json)
        return
    wanted = {**given, "state": state or "dead", "perSecond": per_second, "dryRun": dry_run}
    count = await run_all(api, "/v1/deliveries/redrive", wanted, after=after, label="Redriving")
    show_one({"count": count, "dryRun": dry_run}, "count", "dryRun", as_json=as_json)
