"""``audit``: who changed what."""

from __future__ import annotations

import click

from broker.audit import AuditType
from broker.integers import MAX_ID
from deploy.cli.api import Api, Page, with_api
from deploy.cli.output import as_json, example, show_list

_LISTED = ("id", "createdAt", "type", "subjectId", "principal", "before", "after")


@click.command(
    epilog=example("signal-broker audit --limit 20", "signal-broker audit --type api-token-created --after-id 0 --json")
)
@click.option(
    "--type",
    "kind",
    type=click.Choice([kind.value for kind in AuditType]),
    metavar="TYPE",
    help=f"Only changes of this type: {', '.join(AuditType)}.",
)
@click.option(
    "--after-id",
    type=click.IntRange(0, MAX_ID),
    metavar="ID",
    help="Begin after this change (0: with the first one) instead of showing the last ones.",
)
@click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, metavar="N", help="Show at most so many."
)
@as_json
@with_api()
async def audit(api: Api, *, kind: str | None, after_id: int | None, limit: int, as_json: bool) -> None:
    """Show the last changes of tokens, users, endpoints, subscriptions and deliveries, the latest one last."""
    if after_id is not None:
        page = await api.pages("/v1/audit", {"type": kind, "afterId": after_id}, limit=limit)
    else:
        page = Page((await api.pages("/v1/audit", {"type": kind})).items[-limit:], None)
    show_list(page, *_LISTED, as_json=as_json)
