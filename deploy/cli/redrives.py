"""``redrive``: dead deliveries go once more."""

from __future__ import annotations

import click

from broker.audit import AuditType
from broker.deliveries import DeliveryState, Outcome, parse_delivery_id
from broker.limits import Pace
from broker.store.administration.audit import AuditStore
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.deliveries.redrives import RedriveStore
from deploy.cli.admin import COMMAND_LINE, Admin, with_store
from deploy.cli.bulk import do_all, selection
from deploy.cli.output import as_json, example, show_one
from gateway.bodies import validate
from gateway.native.answers import render_delivery
from gateway.native.bulk import bulk_snapshot, read_signal_filter
from gateway.schemas.deliveries import RedriveRequest


@click.command(
    epilog=example(
        "signal-broker redrive 17-3",
        "signal-broker redrive --subscription 3 --since 2026-11-22T10:00:00Z --outcome timed_out --dry-run",
        "signal-broker redrive --name 'policy.#' --per-second 50",
    )
)
@click.argument("delivery_id", required=False)
@click.option("--subscription", type=click.IntRange(1), metavar="ID", help="Those of this subscription.")
@click.option("--outcome", type=click.Choice([one.value for one in Outcome]), help="Those whose last attempt ended so.")
@selection
@click.option("--all", "everything", is_flag=True, help="All that are dead.")
@as_json
@with_store
async def redrive(
    admin: Admin,
    /,
    *,
    delivery_id: str | None,
    subscription: int | None,
    outcome: str | None,
    everything: bool,
    per_second: float | None,
    dry_run: bool,
    as_json: bool,
    **filters: str | None,
) -> None:
    """Put a dead delivery back, or all that meet the filters: each is attempted again.

    What would not be attempted stays as it is: what is owed to a subscription that is deleted or disabled, or of a
    signal that has expired.
    """
    asked = {"subscriptionId": subscription, "outcome": outcome, **filters}
    filtered = any(value is not None for value in asked.values())
    if [delivery_id is not None, filtered, everything].count(True) != 1:
        raise click.UsageError("give either a DELIVERY_ID, or filters, or --all")
    if delivery_id is not None:
        if dry_run or per_second is not None:
            raise click.UsageError("--dry-run and --per-second go with filters or --all")
        await _redrive_one(admin, delivery_id, as_json=as_json)
        return
    wanted = validate(RedriveRequest, {**asked, "perSecond": per_second, "dryRun": dry_run})
    sought = read_signal_filter(wanted, COMMAND_LINE)
    if not dry_run:
        await AuditStore(admin.database).note(
            COMMAND_LINE, AuditType.DELIVERIES_REDRIVEN, subscription or 0, after=bulk_snapshot(wanted)
        )
    chunks = RedriveStore(admin.database).redrive(
        sought,
        Pace(per_second),
        subscription_id=subscription,
        outcome=None if outcome is None else Outcome(outcome),
        dry_run=dry_run,
    )
    count = await do_all(admin.database, sought, chunks, label="Redriving")
    show_one({"count": count, "dryRun": dry_run}, "count", "dryRun", as_json=as_json)


async def _redrive_one(admin: Admin, delivery_id: str, *, as_json: bool) -> None:
    deliveries = DeliveryStore(admin.database)
    try:
        key = parse_delivery_id(delivery_id)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    details = await deliveries.get(key)
    if details is None:
        raise click.ClickException(f"there is no delivery {delivery_id}")
    if details.delivery.state is DeliveryState.DEAD and details.hopeless is not None:
        raise click.ClickException(f"delivery {delivery_id} would not be attempted: {details.hopeless}")
    redriven = await deliveries.redrive(key)
    details = await deliveries.get(key)
    assert details is not None  # noqa: S101  (it was there just now)
    if not redriven:
        raise click.ClickException(
            f"delivery {delivery_id} is {details.delivery.state.value}; only a dead one can be redriven"
        )
    show_one(render_delivery(details.delivery), "id", "state", "attempts", "dueAt", as_json=as_json)
