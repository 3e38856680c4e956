"""``endpoint``: where signals come in."""

from __future__ import annotations

import click

from broker.endpoints import check_endpoint_name
from broker.store.access import AccessStore
from broker.store.database import Conflict
from deploy.cli.admin import CREATED_BY, Admin, with_store
from deploy.cli.output import as_json, example, show_many, show_one
from gateway.bodies import validate
from gateway.unleash.answers import endpoint_document, token_document
from gateway.unleash.documents import EndpointRequest, EndpointTokenRequest


@click.group()
def endpoint() -> None:
    """Create and list signal endpoints."""


@endpoint.command(epilog=example("signal-broker endpoint create github --token webhook"))
@click.argument("name")
@click.option("--description", help="For people.")
@click.option("--token", "token_name", metavar="NAME", help="Create a token of this name for it, too.")
@as_json
@with_store
async def create(admin: Admin, *, name: str, description: str | None, token_name: str | None, as_json: bool) -> None:
    """Create a signal endpoint; print its path, and the value of its token this once."""
    access = AccessStore(admin.database)
    wanted = validate(EndpointRequest, {"name": name, "description": description})
    wanted_token = None if token_name is None else validate(EndpointTokenRequest, {"name": token_name})
    try:
        created = await access.create_endpoint(
            name=check_endpoint_name(wanted.name), description=wanted.description, created_by=CREATED_BY
        )
    except Conflict:
        raise click.ClickException(f"there is a signal endpoint {name!r} already") from None
    document = endpoint_document(created, (), f"/api/signal-endpoint/{created.name}")
    shown = document.model_dump(mode="json", by_alias=True) | {"token": None}
    if wanted_token is not None:
        made, value = await access.create_endpoint_token(created.id, name=wanted_token.name, created_by=CREATED_BY)
        shown |= {"token": value, "tokens": [token_document(made, value).model_dump(mode="json", by_alias=True)]}
    show_one(shown, "id", "name", "description", "url", "token", as_json=as_json)


@endpoint.command("list", epilog=example("signal-broker endpoint list --json"))
@as_json
@with_store
async def list_(admin: Admin, *, as_json: bool) -> None:
    """List the signal endpoints with what is known of their tokens."""
    access = AccessStore(admin.database)
    endpoints = await access.endpoints()
    tokens = await access.endpoint_tokens([endpoint.id for endpoint in endpoints])
    documents = []
    for document in (endpoint_document(endpoint, tokens) for endpoint in endpoints):
        shown = document.model_dump(mode="json", by_alias=True)
        if not as_json:
            shown["tokens"] = [token["name"] for token in shown["tokens"]]
        documents.append(shown)
    show_many(documents, "id", "name", "enabled", "description", "tokens", "createdAt", as_json=as_json)
