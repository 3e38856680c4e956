"""``token``: API tokens."""

from __future__ import annotations

from datetime import timedelta

import click

from broker.access import Permission
from broker.errors import CredentialsEnded
from broker.integers import MAX_ID
from broker.operations.access import create_token
from broker.operations.answers import render_token
from broker.schemas.access import TokenRequest, TokenRotation
from broker.schemas.validation import validate
from broker.store.administration.tokens import AccessStore, Token
from deploy.cli.admin import COMMAND_LINE, Admin, with_limits, with_store
from deploy.cli.lifetimes import choose_expiry, with_expiry, with_overlap
from deploy.cli.output import as_json, example, show_many, show_one

_SHOWN = ("permissions", "names", "tenants", "queues", "untenanted", "expiresAt")
_MEMBERS = ("id", "name", *_SHOWN, "expired", "lastUsedAt", "createdAt", "createdBy")


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
    help="A permission of the token; repeatable.",
)
@with_limits
@with_expiry
@as_json
@with_store
async def create(
    admin: Admin,
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
    created, value = await create_token(AccessStore(admin.database), validate(TokenRequest, document), by=COMMAND_LINE)
    show_one(render_token(created, value), "id", "name", *_SHOWN, "token", as_json=as_json)


@token.command("list", epilog=example("signal-broker token list"))
@as_json
@with_store
async def list_(admin: Admin, *, as_json: bool) -> None:
    """List the tokens that are not revoked, without their values; expired ones too."""
    access, tokens = AccessStore(admin.database), list[Token]()
    following: int | None = 0
    while following is not None:
        page = await access.tokens(after_id=following, limit=1000)
        tokens += page.items
        following = page.next
    show_many([render_token(token) for token in tokens], *_MEMBERS, as_json=as_json)


@token.command(epilog=example("signal-broker token rotate 7 --overlap 2h"))
@click.argument("token_id", metavar="ID", type=click.IntRange(1, MAX_ID))
@with_overlap
@as_json
@with_store
async def rotate(admin: Admin, *, token_id: int, overlap: timedelta, as_json: bool) -> None:
    """Give a token another value and print it; the earlier value stays good for a while."""
    wanted = validate(TokenRotation, {"overlapSeconds": int(overlap.total_seconds())})
    try:
        rotated = await AccessStore(admin.database).rotate_token(
            token_id, overlap=timedelta(seconds=wanted.overlap_seconds), by=COMMAND_LINE
        )
    except CredentialsEnded as error:
        raise click.ClickException(str(error)) from None
    if rotated is None:
        raise click.ClickException(f"there is no token {token_id}")
    show_one(render_token(*rotated), "id", "name", *_SHOWN, "token", as_json=as_json)


@token.command(epilog=example("signal-broker token revoke 7"))
@click.argument("token_id", metavar="ID", type=click.IntRange(1, MAX_ID))
@as_json
@with_store
async def revoke(admin: Admin, *, token_id: int, as_json: bool) -> None:
    """Revoke a token: every gateway refuses it from now on."""
    if not await AccessStore(admin.database).revoke_token(token_id, by=COMMAND_LINE):
        raise click.ClickException(f"there is no token {token_id}")
    show_one({"revoked": token_id}, "revoked", as_json=as_json)
