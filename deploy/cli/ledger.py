"""``ledger``: deliveries by state, and whether the books balance."""

from __future__ import annotations

import click

from broker.operations.answers import render_ledger
from broker.store.deliveries.deliveries import DeliveryStore
from broker.topology import RECORD
from deploy.cli.admin import Admin, with_store
from deploy.cli.output import as_json, example, show_one


@click.command(epilog=example("signal-broker ledger --subscription 3"))
@click.option("--subscription", type=int, metavar="ID", help="The books of this subscription only.")
@as_json
@with_store
async def ledger(admin: Admin, *, subscription: int | None, as_json: bool) -> None:
    """Show the books: every delivery is in one of the states, or unaccounted for."""
    books = await DeliveryStore(admin.database).ledger(subscription)
    async with admin.transport() as transport:
        awaiting = await transport.depth(RECORD, timeout=admin.settings.confirm_timeout)
    document = render_ledger(books, awaiting).model_dump(mode="json", by_alias=True)
    if not as_json:
        document |= document["deliveries"]
    members = ("awaitingRecord", "recorded", "matched", *document["deliveries"], "unaccounted")
    show_one(document, *members, as_json=as_json)
