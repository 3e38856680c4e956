"""``redrive``: deliveries are attempted again."""

from __future__ import annotations

import click

from broker.deliveries import DeliveryState, Outcome, parse_delivery_id
from broker.integers import MAX_ID
from broker.limits import Pace
from broker.operations.answers import render_delivery
from broker.operations.redrives import Redriver
from broker.schemas.deliveries import RedriveRequest
from broker.schemas.validation import validate
from broker.store.administration.audit import AuditStore
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.deliveries.redrives import REDRIVABLE, RedriveStore
from deploy.cli.admin import COMMAND_LINE, Admin, with_store
from deploy.cli.bulk import bulk_options, run_all
from deploy.cli.output import as_json, example, show_one


@click.command(
    epilog=example(
        "signal-broker redrive 17-3",
        "signal-broker redrive --subscription 3 --since 2026-11-22T10:00:00Z --outcome timed_out --dry-run",
        "signal-broker redrive --name 'policy.#' --per-second 50",
    )
)
@click.argument("delivery_id", required=False)
@click.option(
    "--subscription", type=click.IntRange(1, MAX_ID), metavar="ID", help="Only deliveries to this subscription."
)
@click.option(
    "--outcome",
    type=click.Choice([one.value for one in Outcome]),
    help="Only deliveries whose last attempt had this outcome.",
)
@click.option(
    "--state",
    type=click.Choice([state.value for state in REDRIVABLE]),
    help="Deliveries in this state instead of dead ones.",
)
@bulk_options
@click.option("--all", "everything", is_flag=True, help="All dead deliveries (or those in that state).")
@as_json
@with_store
async def redrive(
    admin: Admin,
    /,
    *,
    delivery_id: str | None,
    subscription: int | None,
    outcome: str | None,
    state: str | None,
    everything: bool,
    per_second: float | None,
    dry_run: bool,
    as_json: bool,
    **filters: str | None,
) -> None:
    """Let a delivery be attempted again, or all dead ones that match the filters (or those in another state).

    Deliveries to a deleted or disabled subscription, and those of an expired signal, stay as they are.
    """
    given = {"subscriptionId": subscription, "outcome": outcome, **filters}
    filtered = any(value is not None for value in given.values())
    if [delivery_id is not None, filtered, everything].count(True) != 1:
        raise click.UsageError("give either a DELIVERY_ID, or filters, or --all")
    if delivery_id is not None:
        if dry_run or per_second is not None or state is not None:
            raise click.UsageError("--dry-run, --per-second and --state go with filters or --all")
        await _redrive_one(admin, delivery_id, as_json=as_json)
        return
    wanted = validate(RedriveRequest, {**given, "state": state or "dead", "perSecond": per_second, "dryRun": dry_run})
    redriver = Redriver(RedriveStore(admin.database), AuditStore(admin.database))
    chunks = await redriver.redrive(wanted, Pace(per_second), by=COMMAND_LINE)
    count = await run_all(admin.database, wanted, chunks, label="Redriving")
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
    if details.delivery.state is not DeliveryState.PENDING and details.hopeless is not None:
        raise click.ClickException(f"delivery {delivery_id} would not be attempted: {details.hopeless}")
    redriven = await deliveries.redrive(key)
    details = await deliveries.get(key)
    assert details is not None  # noqa: S101  (it was there just now)
    if not redriven:
        raise click.ClickException(
            f"delivery {delivery_id} is {details.delivery.state.value}, and cannot be redriven now"
        )
    delivery = render_delivery(details, await deliveries.attempts(key))
    show_one(delivery, "id", "state", "attemptCount", "dueAt", as_json=as_json)
