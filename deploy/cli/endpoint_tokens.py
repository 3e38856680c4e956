"""``endpoint token``: the tokens of a signal endpoint, one for each of its callers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from deploy.cli.api import Api, with_api
from deploy.cli.lifetimes import choose_expiry, with_expiry, with_overlap
from deploy.cli.output import as_json, example, show_answer, show_many, show_one

PATH = "/api/admin/signal-endpoints"
_LISTED = ("id", "name", "expiresAt", "lastUsedAt", "createdAt")


async def list_endpoints(api: Api) -> list[dict[str, Any]]:
    """Return the signal endpoints with their tokens."""
    listed: list[dict[str, Any]] = (await api.get(PATH)).document["signalEndpoints"]
    return listed


async def find_endpoint(api: Api, name: str) -> dict[str, Any]:
    """Return the signal endpoint of that name, or end the command."""
    for endpoint in await list_endpoints(api):
        if endpoint["name"] == name:
            return endpoint
    raise click.ClickException(f"there is no signal endpoint {name!r}")


@click.group()
def token() -> None:
    """Manage the tokens of signal endpoints."""


@token.command(epilog=example("signal-broker endpoint token create github webhook"))
@click.argument("endpoint_name", metavar="ENDPOINT")
@click.argument("name")
@with_expiry
@as_json
@with_api()
async def create(
    api: Api,
    *,
    endpoint_name: str,
    name: str,
    expires_at: str | None,
    expires_in: timedelta | None,
    as_json: bool,
) -> None:
    """Create a token for a signal endpoint and print its value, which is never shown again."""
    document = {"name": name, "expiresAt": choose_expiry(expires_at, expires_in)}
    endpoint = await find_endpoint(api, endpoint_name)
    answer = await api.post(f"{PATH}/{endpoint['id']}/tokens", document)
    show_answer(answer.body, "id", "name", "expiresAt", "token", as_json=as_json)


@token.command("list", epilog=example("signal-broker endpoint token list github"))
@click.argument("endpoint_name", metavar="ENDPOINT")
@as_json
@with_api()
async def list_(api: Api, *, endpoint_name: str, as_json: bool) -> None:
    """List a signal endpoint's tokens, without their values."""
    show_many((await find_endpoint(api, endpoint_name))["tokens"], *_LISTED, as_json=as_json)


@token.command(epilog=example("signal-broker endpoint token rename github webhook 'all repositories'"))
@click.argument("endpoint_name", metavar="ENDPOINT")
@click.argument("name")
@click.argument("new_name", metavar="NEW-NAME")
@as_json
@with_api()
async def rename(api: Api, *, endpoint_name: str, name: str, new_name: str, as_json: bool) -> None:
    """Give a token another name; its value stays."""
    answer = await api.call("PUT", await _token_path(api, endpoint_name, name), {"name": new_name})
    show_answer(answer.body, "id", "name", as_json=as_json)


@token.command(epilog=example("signal-broker endpoint token rotate github webhook --overlap 2h"))
@click.argument("endpoint_name", metavar="ENDPOINT")
@click.argument("name")
@with_overlap
@as_json
@with_api()
async def rotate(api: Api, *, endpoint_name: str, name: str, overlap: timedelta, as_json: bool) -> None:
    """Give a token another value and print it; the earlier value stays good for a while."""
    path = await _token_path(api, endpoint_name, name)
    answer = await api.post(f"{path}/rotate", {"overlapSeconds": int(overlap.total_seconds())})
    show_answer(answer.body, "id", "name", "expiresAt", "token", as_json=as_json)


@token.command(epilog=example("signal-broker endpoint token delete github webhook"))
@click.argument("endpoint_name", metavar="ENDPOINT")
@click.argument("name")
@as_json
@with_api()
async def delete(api: Api, *, endpoint_name: str, name: str, as_json: bool) -> None:
    """Delete a token: calls with it are refused from now on."""
    await api.call("DELETE", await _token_path(api, endpoint_name, name))
    show_one({"deleted": name}, "deleted", as_json=as_json)


async def _token_path(api: Api, endpoint_name: str, name: str) -> str:
    endpoint = await find_endpoint(api, endpoint_name)
    for token in endpoint["tokens"]:
        if token["name"] == name:
            return f"{PATH}/{endpoint['id']}/tokens/{token['id']}"
    raise click.ClickException(f"{endpoint_name!r} has no token {name!r}")
