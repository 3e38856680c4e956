"""``ledger``: deliveries by state, and whether the books balance."""

from __future__ import annotations

import click

from broker.integers import MAX_ID
from broker.operations.answers import render_books
from broker.operations.books import BookReader
from broker.store.subscriptions.subscriptions import SubscriptionStore
from deploy.cli.admin import Admin, with_store
from deploy.cli.backends import open_transport
from deploy.cli.output import as_json, example, say, show_one


@click.command(epilog=example("signal-broker ledger --subscription 3"))
@click.option(
    "--subscription", type=click.IntRange(1, MAX_ID), metavar="ID", help="The books of this subscription only."
)
@as_json
@with_store
async def ledger(admin: Admin, *, subscription: int | None, as_json: bool) -> None:
    """Show the books: every signal and every delivery is somewhere, or unaccounted for."""
    if subscription is not None and await SubscriptionStore(admin.database).get(subscription, deleted=True) is None:
        raise click.ClickException(f"there is no subscription {subscription}")
    async with open_transport(admin.settings, admin.database) as transport:
        books = await BookReader(admin.database, transport, timeout=admin.settings.confirm_timeout).read(subscription)
    document = render_books(books).model_dump(mode="json", by_alias=True)
    intake = ("recorded", "awaitingRecord", "poison", "poisonedSignals", "lost")
    members = (*intake, "matched", *document["deliveries"], "unaccounted")
    if not as_json:
        document |= document["deliveries"]
        if books.poison is not None:
            poison = {queue: count for queue, count in books.poison.items() if count}
            document["poison"] = ", ".join(f"{count} in {queue}" for queue, count in poison.items()) or 0
    show_one(document, *members, as_json=as_json)
    if books.transport_error is not None:
        say(f"what waits in the transport's queues is not known: {books.transport_error}", err=True)
