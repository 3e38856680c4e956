"""``endpoint token``: the tokens of a signal endpoint, one for each of its callers."""

from __future__ import annotations

from datetime import timedelta

import click

from broker.endpoints import Endpoint, EndpointToken
from broker.errors import CredentialsEnded
from broker.operations.access import check_expiry
from broker.operations.answers import render_endpoint_token
from broker.schemas.access import TokenRotation
from broker.schemas.endpoints import EndpointTokenRequest, NewEndpointToken
from broker.schemas.validation import validate
from broker.store.administration.endpoints import EndpointStore
from broker.store.postgres.database import Conflict
from deploy.cli.admin import COMMAND_LINE, Admin, with_store
from deploy.cli.lifetimes import choose_expiry, with_expiry, with_overlap
from deploy.cli.output import as_json, example, show_many, show_one

_LISTED = ("id", "name", "expiresAt", "lastUsedAt", "createdAt")


async def find_endpoint(admin: Admin, name: str) -> Endpoint:
    """Return the signal endpoint of that name, or end the command."""
    endpoint = await EndpointStore(admin.database).find(name)
    if endpoint is None:
        raise click.ClickException(f"there is no signal endpoint {name!r}")
    return endpoint


async def create_token(admin: Admin, endpoint: Endpoint, wanted: NewEndpointToken) -> tuple[EndpointToken, str]:
    """Return a new token of *endpoint* and its value, or end the command."""
    try:
        created = await EndpointStore(admin.database).create_token(
            endpoint.id,
            name=wanted.name,
            expires_at=check_expiry(wanted.expires_at),
            by=COMMAND_LINE,
            most=admin.settings.signal_tokens_per_endpoint_limit,
        )
    except Conflict:
        raise click.ClickException(f"{endpoint.name!r} has a token {wanted.name!r} already") from None
    if created is None:
        raise click.ClickException(f"there is no signal endpoint {endpoint.name!r} any more")
    return created


@click.group()
def token() -> None:
    """Manage the tokens of signal endpoints."""


@token.command(epilog=example("signal-broker endpoint token create github webhook"))
@click.argument("endpoint_name", metavar="ENDPOINT")
@click.argument("name")
@with_expiry
@as_json
@with_store
async def create(
    admin: Admin,
    *,
    endpoint_name: str,
    name: str,
    expires_at: str | None,
    expires_in: timedelta | None,
    as_json: bool,
) -> None:
    """Create a token for a signal endpoint and print its value, which is never shown again."""
    document = {"name": name, "expiresAt": choose_expiry(expires_at, expires_in)}
    wanted = validate(NewEndpointToken, document)
    made, value = await create_token(admin, await find_endpoint(admin, endpoint_name), wanted)
    show_one(render_endpoint_token(made, value), "id", "name", "expiresAt", "token", as_json=as_json)


@token.command("list", epilog=example("signal-broker endpoint token list github"))
@click.argument("endpoint_name", metavar="ENDPOINT")
@as_json
@with_store
async def list_(admin: Admin, *, endpoint_name: str, as_json: bool) -> None:
    """List a signal endpoint's tokens, without their values."""
    tokens = await EndpointStore(admin.database).tokens([(await find_endpoint(admin, endpoint_name)).id])
    show_many([render_endpoint_token(one) for one in tokens], *_LISTED, as_json=as_json)


@token.command(epilog=example("signal-broker endpoint token rename github webhook 'all repositories'"))
@click.argument("endpoint_name", metavar="ENDPOINT")
@click.argument("name")
@click.argument("new_name", metavar="NEW-NAME")
@as_json
@with_store
async def rename(admin: Admin, *, endpoint_name: str, name: str, new_name: str, as_json: bool) -> None:
    """Give a token another name; its value stays."""
    wanted = validate(EndpointTokenRequest, {"name": new_name})
    token = await _find_token(admin, endpoint_name, name)
    try:
        renamed = await EndpointStore(admin.database).rename_token(
            token.endpoint_id, token.id, name=wanted.name, by=COMMAND_LINE
        )
    except Conflict:
        raise click.ClickException(f"{endpoint_name!r} has a token {new_name!r} already") from None
    if renamed is None:
        raise click.ClickException(f"{endpoint_name!r} has no token {name!r} any more")
    show_one(render_endpoint_token(renamed), "id", "name", as_json=as_json)


@token.command(epilog=example("signal-broker endpoint token rotate github webhook --overlap 2h"))
@click.argument("endpoint_name", metavar="ENDPOINT")
@click.argument("name")
@with_overlap
@as_json
@with_store
async def rotate(admin: Admin, *, endpoint_name: str, name: str, overlap: timedelta, as_json: bool) -> None:
    """Give a token another value and print it; the earlier value stays good for a while."""
    wanted = validate(TokenRotation, {"overlapSeconds": int(overlap.total_seconds())})
    token = await _find_token(admin, endpoint_name, name)
    try:
        rotated = await EndpointStore(admin.database).rotate_token(
            token.endpoint_id, token.id, overlap=timedelta(seconds=wanted.overlap_seconds), by=COMMAND_LINE
        )
    except CredentialsEnded as error:
        raise click.ClickException(str(error)) from None
    if rotated is None:
        raise click.ClickException(f"{endpoint_name!r} has no token {name!r} any more")
    show_one(render_endpoint_token(*rotated), "id", "name", "expiresAt", "token", as_json=as_json)


@token.command(epilog=example("signal-broker endpoint token delete github webhook"))
@click.argument("endpoint_name", metavar="ENDPOINT")
@click.argument("name")
@as_json
@with_store
async def delete(admin: Admin, *, endpoint_name: str, name: str, as_json: bool) -> None:
    """Delete a token: calls with it are refused from now on."""
    token = await _find_token(admin, endpoint_name, name)
    await EndpointStore(admin.database).delete_token(token.endpoint_id, token.id, by=COMMAND_LINE)
    show_one({"deleted": name}, "deleted", as_json=as_json)


async def _find_token(admin: Admin, endpoint_name: str, name: str) -> EndpointToken:
    endpoint = await find_endpoint(admin, endpoint_name)
    for token in await EndpointStore(admin.database).tokens([endpoint.id]):
        if token.name == name:
            return token
    raise click.ClickException(f"{endpoint_name!r} has no token {name!r}")
