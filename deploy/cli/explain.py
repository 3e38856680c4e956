"""``explain``: which subscriptions would get a signal, and why."""

from __future__ import annotations

from typing import Any

import click

from deploy.cli.api import Api, with_api
from deploy.cli.output import as_json, example, show_list
from deploy.cli.throws import read_throw, with_throw


@click.command(
    epilog=example(
        """signal-broker explain invoice.paid --payload '{"invoice": "INV-92"}' --tenant globex""",
        "signal-broker explain invoice.paid --matching",
    )
)
@click.argument("name")
@with_throw
@click.option("--matching", is_flag=True, help="Show only the subscriptions that would get it.")
@as_json
@with_api(seals=True)
async def explain(api: Api, /, *, name: str, matching: bool, as_json: bool, **options: Any) -> None:
    """Show for each subscription whether it would get a signal, and why. Nothing is thrown."""
    page = await api.pages("/v1/signals/explain", {}, read_throw(name, options), member="matches")
    if matching:
        page = page.only(lambda match: bool(match["matches"]))
    show_list(page, "subscriptionId", "matches", "because", as_json=as_json)
