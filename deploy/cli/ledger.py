"""``ledger``: deliveries by state, and whether the books balance."""

from __future__ import annotations

import click

from broker.integers import MAX_ID
from deploy.cli.api import Api, with_api
from deploy.cli.output import as_json, example, say, show_line, show_one


@click.command(epilog=example("signal-broker ledger --subscription 3"))
@click.option(
    "--subscription", type=click.IntRange(1, MAX_ID), metavar="ID", help="The books of this subscription only."
)
@as_json
@with_api()
async def ledger(api: Api, *, subscription: int | None, as_json: bool) -> None:
    """Show the books: every signal and every delivery is somewhere, or unaccounted for."""
    answer = await api.get("/v1/ledger", {"subscriptionId": subscription})
    document = answer.document
    intake = ("recorded", "awaitingRecord", "bufferedMessages", "poison", "poisonedSignals", "lost")
    shown = document | document["deliveries"]
    members = [one for one in (*intake, "matched", *document["deliveries"], "unaccounted") if one in shown]
    if as_json:
        show_line(answer.body.decode())
    else:
        if document["poison"] is not None:
            poison = {queue: count for queue, count in document["poison"].items() if count}
            shown["poison"] = ", ".join(f"{count} in {queue}" for queue, count in poison.items()) or 0
        show_one(shown, *members, as_json=False)
    if document["transportError"] is not None:
        say(f"what waits in the transport's queues is not known: {document['transportError']}", err=True)
