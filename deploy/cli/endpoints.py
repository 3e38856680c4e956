"""``endpoint``: signal endpoints."""

from __future__ import annotations

import click

from broker.endpoints import Endpoint, check_endpoint_name
from broker.operations.answers import render_endpoint
from broker.schemas.endpoints import EndpointRequest, NewEndpointToken
from broker.schemas.validation import validate
from broker.store.administration.endpoints import EndpointStore
from broker.store.postgres.database import Conflict
from deploy.cli.admin import COMMAND_LINE, Admin, with_store
from deploy.cli.endpoint_tokens import create_token, find_endpoint, token
from deploy.cli.output import as_json, example, show_many, show_one


@click.group()
def endpoint() -> None:
    """Manage signal endpoints and their tokens."""


endpoint.add_command(token)


@endpoint.command(epilog=example("signal-broker endpoint create github --token webhook"))
@click.argument("name")
@click.option("--description", help="A note for people.")
@click.option("--token", "token_name", metavar="NAME", help="Also create a token of this name.")
@as_json
@with_store
async def create(admin: Admin, *, name: str, description: str | None, token_name: str | None, as_json: bool) -> None:
    """Create a signal endpoint; print its URL, and the value of its token, which is never shown again.

    Without SIGNAL_BROKER_PUBLIC_URL the URL is a path.
    """
    endpoints = EndpointStore(admin.database)
    wanted = validate(EndpointRequest, {"name": name, "description": description})
    wanted_token = None if token_name is None else validate(NewEndpointToken, {"name": token_name})
    try:
        created = await endpoints.create(
            name=check_endpoint_name(wanted.name),
            description=wanted.description,
            by=COMMAND_LINE,
            most=admin.settings.signal_endpoints_limit,
        )
    except Conflict:
        raise click.ClickException(f"there is a signal endpoint {name!r} already") from None
    made, value = (None, None) if wanted_token is None else await create_token(admin, created, wanted_token)
    document = render_endpoint(created, [made] if made else [], _url(admin, created))
    shown = document.model_dump(mode="json", by_alias=True) | {"token": value}
    show_one(shown, "id", "name", "description", "url", "token", as_json=as_json)


@endpoint.command("list", epilog=example("signal-broker endpoint list --json"))
@as_json
@with_store
async def list_(admin: Admin, *, as_json: bool) -> None:
    """List the signal endpoints with the names of their tokens."""
    endpoints = EndpointStore(admin.database)
    listed = await endpoints.all()
    tokens = await endpoints.tokens([one.id for one in listed])
    documents = []
    for document in (render_endpoint(one, tokens) for one in listed):
        shown = document.model_dump(mode="json", by_alias=True)
        if not as_json:
            shown["tokens"] = [token["name"] for token in shown["tokens"]]
        documents.append(shown)
    show_many(documents, "id", "name", "enabled", "description", "tokens", "createdAt", as_json=as_json)


@endpoint.command(epilog=example("signal-broker endpoint rename github forge"))
@click.argument("name")
@click.argument("new_name", metavar="NEW-NAME")
@as_json
@with_store
async def rename(admin: Admin, *, name: str, new_name: str, as_json: bool) -> None:
    """Give a signal endpoint another name: its path changes with it, its tokens stay."""
    before = await find_endpoint(admin, name)
    try:
        renamed = await EndpointStore(admin.database).update(
            before.id,
            name=check_endpoint_name(new_name),
            enabled=before.enabled,
            description=before.description,
            by=COMMAND_LINE,
        )
    except Conflict:
        raise click.ClickException(f"there is a signal endpoint {new_name!r} already") from None
    await _show(admin, name, renamed, as_json=as_json)


@endpoint.command(epilog=example("signal-broker endpoint on github"))
@click.argument("name")
@as_json
@with_store
async def on(admin: Admin, *, name: str, as_json: bool) -> None:
    """Switch a signal endpoint on."""
    await _switch(admin, name, enabled=True, as_json=as_json)


@endpoint.command(epilog=example("signal-broker endpoint off github"))
@click.argument("name")
@as_json
@with_store
async def off(admin: Admin, *, name: str, as_json: bool) -> None:
    """Switch a signal endpoint off: calls of it are answered 404."""
    await _switch(admin, name, enabled=False, as_json=as_json)


@endpoint.command(epilog=example("signal-broker endpoint delete github"))
@click.argument("name")
@as_json
@with_store
async def delete(admin: Admin, *, name: str, as_json: bool) -> None:
    """Delete a signal endpoint and its tokens; its signals stay."""
    await EndpointStore(admin.database).delete((await find_endpoint(admin, name)).id, by=COMMAND_LINE)
    show_one({"deleted": name}, "deleted", as_json=as_json)


async def _switch(admin: Admin, name: str, *, enabled: bool, as_json: bool) -> None:
    endpoint = await find_endpoint(admin, name)
    switched = await EndpointStore(admin.database).enable(endpoint.id, enabled=enabled, by=COMMAND_LINE)
    await _show(admin, name, switched, as_json=as_json)


async def _show(admin: Admin, name: str, endpoint: Endpoint | None, *, as_json: bool) -> None:
    if endpoint is None:
        raise click.ClickException(f"there is no signal endpoint {name!r} any more")
    tokens = await EndpointStore(admin.database).tokens([endpoint.id])
    document = render_endpoint(endpoint, tokens, _url(admin, endpoint))
    show_one(document, "id", "name", "enabled", "description", "url", as_json=as_json)


def _url(admin: Admin, endpoint: Endpoint) -> str:
    return f"{admin.settings.public_url}/api/signal-endpoint/{endpoint.name}"
