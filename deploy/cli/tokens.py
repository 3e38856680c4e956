"""``token``: API tokens."""

from __future__ import annotations

from datetime import timedelta

import click

from broker.access import Permission
from broker.integers import MAX_ID
from deploy.cli.api import Api, with_api
from deploy.cli.lifetimes import choose_expiry, with_expiry, with_overlap
from deploy.cli.limits import with_limits
from deploy.cli.output import as_json, example, show_answer, show_list, show_one

_SHOWN = ("permissions", "names", "tenants", "queues", "untenanted", "expiresAt")
_MEMBERS = (
    *("id", "name", "permissions", "lastUsedAt", "expiresAt", "expired", "names", "tenants", "queues", "untenanted"),
    *("createdAt", "createdBy"),
)


@click.group()
def token() -> None:
    """Create, list, rotate and revoke API tokens."""


@token.command(
    epilog=example("signal-broker token create shop --permission signals:throw --name 'order.#' --tenant acme")
)
@click.argument("name")
@click.option(
    "--permission",
    "permissions",
    multiple=True,
    required=True,
    type=click.Choice([permission.value for permission in Permission]),
    metavar="PERMISSION",
    help=f"A permission of the token; repeatable: {', '.join(Permission)}.",
)
@with_limits
@with_expiry
@as_json
@with_api()
async def create(
    api: Api,
    *,
    name: str,
    permissions: tuple[str, ...],
    names: tuple[str, ...],
    tenants: tuple[str, ...],
    queues: tuple[str, ...],
    untenanted: bool,
    expires_at: str | None,
    expires_in: timedelta | None,
    as_json: bool,
) -> None:
    """Create a token and print its value, which is never shown again."""
    document = {
        "name": name,
        "permissions": list(permissions),
        "names": list(names) or None,
        "tenants": list(tenants) or None,
        "queues": list(queues) or None,
        "untenanted": untenanted,
        "expiresAt": choose_expiry(expires_at, expires_in),
    }
    answer = await api.post("/v1/tokens", document)
    show_answer(answer.body, "id", "name", *_SHOWN, "token", as_json=as_json)


@token.command("list", epilog=example("signal-broker token list"))
@as_json
@with_api()
async def list_(api: Api, *, as_json: bool) -> None:
    """List the tokens that are not revoked, without their values; expired ones too."""
    show_list(await api.pages("/v1/tokens", {}), *_MEMBERS, as_json=as_json)


@token.command(epilog=example("signal-broker token rotate 7 --overlap 2h"))
@click.argument("token_id", metavar="ID", type=click.IntRange(1, MAX_ID))
@with_overlap
@as_json
@with_api()
async def rotate(api: Api, *, token_id: int, overlap: timedelta, as_json: bool) -> None:
    """Give a token another value and print it; the earlier value stays good for a while."""
    answer = await api.post(f"/v1/tokens/{token_id}/rotate", {"overlapSeconds": int(overlap.total_seconds())})
    show_answer(answer.body, "id", "name", *_SHOWN, "token", as_json=as_json)


@token.command(epilog=example("signal-broker token revoke 7"))
@click.argument("token_id", metavar="ID", type=click.IntRange(1, MAX_ID))
@as_json
@with_api()
async def revoke(api: Api, *, token_id: int, as_json: bool) -> None:
    """Revoke a token: every gateway refuses it from now on."""
    await api.call("DELETE", f"/v1/tokens/{token_id}")
    show_one({"revoked": token_id}, "revoked", as_json=as_json)
