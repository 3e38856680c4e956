"""``redrive`` and ``ledger``: what is owed, and whether the books balance."""

from __future__ import annotations

import click

from broker.deliveries import parse_delivery_id
from broker.store.deliveries import DeliveryStore
from broker.topology import RECORD
from deploy.cli.admin import Admin, with_store
from deploy.cli.output import as_json, example, show_one
from gateway.native.answers import delivery_document, ledger_document


@click.command(epilog=example("signal-broker redrive 17-3"))
@click.argument("delivery_id")
@as_json
@with_store
async def redrive(admin: Admin, *, delivery_id: str, as_json: bool) -> None:
    """Put a dead delivery back: it is attempted again at once."""
    deliveries = DeliveryStore(admin.database)
    try:
        key = parse_delivery_id(delivery_id)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    redriven = await deliveries.redrive(key)
    row = await deliveries.get(key)
    if row is None:
        raise click.ClickException(f"there is no delivery {delivery_id}")
    if not redriven:
        raise click.ClickException(f"delivery {delivery_id} is {row['state']}; only a dead one can be redriven")
    show_one(delivery_document(row), "id", "state", "attempts", "dueAt", as_json=as_json)


@click.command(epilog=example("signal-broker ledger --subscription 3"))
@click.option("--subscription", type=int, metavar="ID", help="The books of this subscription only.")
@as_json
@with_store
async def ledger(admin: Admin, *, subscription: int | None, as_json: bool) -> None:
    """Show the books: every delivery that is owed is in one of the states, or it is unaccounted for."""
    books = await DeliveryStore(admin.database).ledger(subscription)
    async with admin.transport() as transport:
        awaiting = await transport.depth(RECORD, timeout=admin.settings.confirm_timeout)
    document = ledger_document(books, awaiting).model_dump(mode="json", by_alias=True)
    if not as_json:
        document |= document["deliveries"]
    members = ("awaitingRecord", "recorded", "matched", *document["deliveries"], "unaccounted")
    show_one(document, *members, as_json=as_json)
