"""``endpoint``: signal endpoints."""

from __future__ import annotations

import click

from deploy.cli.api import Api, with_api
from deploy.cli.endpoint_tokens import PATH, find_endpoint, list_endpoints, token
from deploy.cli.output import as_json, example, show_answer, show_many, show_one

_SHOWN = ("id", "name", "enabled", "description", "url")


@click.group()
def endpoint() -> None:
    """Manage signal endpoints and their tokens."""


endpoint.add_command(token)


@endpoint.command(epilog=example("signal-broker endpoint create github --token webhook"))
@click.argument("name")
@click.option("--description", help="A note for people.")
@click.option("--token", "token_name", metavar="NAME", help="Also create a token of this name.")
@as_json
@with_api(without=["token"])
async def create(api: Api, *, name: str, description: str | None, token_name: str | None, as_json: bool) -> None:
    """Create a signal endpoint; print its URL, and the value of its token, which is never shown again.

    The API token for the product stands before the command: `signal-broker --token sb_... endpoint create NAME`.
    """
    created = (await api.post(PATH, {"name": name, "description": description})).document
    shown = created | {"url": api.visible_url(created["url"]), "token": None}
    if token_name is not None:
        made = (await api.post(f"{PATH}/{created['id']}/tokens", {"name": token_name})).document
        shown |= {"token": made["token"], "tokens": [made | {"token": None}]}
    show_one(shown, "id", "name", "description", "url", "token", as_json=as_json)


@endpoint.command("list", epilog=example("signal-broker endpoint list --json"))
@as_json
@with_api()
async def list_(api: Api, *, as_json: bool) -> None:
    """List the signal endpoints with the names of their tokens."""
    listed = await list_endpoints(api)
    rows = listed if as_json else [one | {"tokens": [token["name"] for token in one["tokens"]]} for one in listed]
    show_many(rows, "id", "name", "enabled", "description", "tokens", "createdAt", as_json=as_json)


@endpoint.command(epilog=example("signal-broker endpoint rename github forge"))
@click.argument("name")
@click.argument("new_name", metavar="NEW-NAME")
@as_json
@with_api()
async def rename(api: Api, *, name: str, new_name: str, as_json: bool) -> None:
    """Give a signal endpoint another name: its path changes with it, its tokens stay."""
    before = await find_endpoint(api, name)
    wanted = {"name": new_name, "enabled": before["enabled"], "description": before["description"]}
    renamed = (await api.call("PUT", f"{PATH}/{before['id']}", wanted)).document
    show_one(renamed | {"url": api.visible_url(renamed["url"])}, *_SHOWN, as_json=as_json)


@endpoint.command(epilog=example("signal-broker endpoint on github"))
@click.argument("name")
@as_json
@with_api()
async def on(api: Api, *, name: str, as_json: bool) -> None:
    """Switch a signal endpoint on."""
    await _switch(api, name, "on", as_json=as_json)


@endpoint.command(epilog=example("signal-broker endpoint off github"))
@click.argument("name")
@as_json
@with_api()
async def off(api: Api, *, name: str, as_json: bool) -> None:
    """Switch a signal endpoint off: calls of it are answered 404."""
    await _switch(api, name, "off", as_json=as_json)


@endpoint.command(epilog=example("signal-broker endpoint delete github"))
@click.argument("name")
@as_json
@with_api()
async def delete(api: Api, *, name: str, as_json: bool) -> None:
    """Delete a signal endpoint and its tokens; its signals stay."""
    await api.call("DELETE", f"{PATH}/{(await find_endpoint(api, name))['id']}")
    show_one({"deleted": name}, "deleted", as_json=as_json)


async def _switch(api: Api, name: str, state: str, *, as_json: bool) -> None:
    before = await find_endpoint(api, name)
    switched = await api.post(f"{PATH}/{before['id']}/{state}")
    show_answer(switched.body, *_SHOWN, as_json=as_json)
