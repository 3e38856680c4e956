"""``user``: users, who sign in with a name and a password."""

from __future__ import annotations

import sys

import click

from broker.access import Permission
from broker.integers import MAX_ID
from deploy.cli.api import Api, with_api
from deploy.cli.limits import with_limits
from deploy.cli.output import as_json, example, show_answer, show_list, show_one

_SHOWN = ("permissions", "names", "tenants", "queues", "untenanted")
_MEMBERS = ("id", "name", "permissions", "names", "tenants", "groups", "queues", "untenanted", "createdAt", "createdBy")


@click.group()
def user() -> None:
    """Create, list and delete users."""


def _read_password(_ctx: click.Context, _option: click.Parameter, from_stdin: bool) -> str:  # noqa: FBT001
    if from_stdin:
        return sys.stdin.readline().removesuffix("\n").removesuffix("\r")
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask for the password: pass --password-stdin")
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return password


@user.command(epilog=example("signal-broker user create demo --permission signals:throw --tenant acme"))
@click.argument("name")
@click.option(
    "--permission",
    "permissions",
    multiple=True,
    type=click.Choice([permission.value for permission in Permission]),
    metavar="PERMISSION",
    help=f"A permission of the user; repeatable: {', '.join(Permission)}.",
)
@with_limits
@click.option("--group", "groups", multiple=True, metavar="ID", help="A group of the user; repeatable.")
@click.option(
    "--password-stdin",
    "password",
    is_flag=True,
    callback=_read_password,
    help="Read the password from the first line of standard input instead of asking for it.",
)
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
    groups: tuple[str, ...],
    password: str,
    as_json: bool,
) -> None:
    """Create a user."""
    document = {
        "name": name,
        "password": password,
        "permissions": list(permissions),
        "names": list(names) or None,
        "tenants": list(tenants) or None,
        "queues": list(queues) or None,
        "untenanted": untenanted,
        "groups": list(groups),
    }
    answer = await api.post("/v1/users", document)
    show_answer(answer.body, "id", "name", *_SHOWN, "groups", as_json=as_json)


@user.command("list", epilog=example("signal-broker user list"))
@as_json
@with_api()
async def list_(api: Api, *, as_json: bool) -> None:
    """List the users."""
    show_list(await api.pages("/v1/users", {}), *_MEMBERS, as_json=as_json)


@user.command(epilog=example("signal-broker user delete 7"))
@click.argument("user_id", metavar="ID", type=click.IntRange(1, MAX_ID))
@as_json
@with_api()
async def delete(api: Api, *, user_id: int, as_json: bool) -> None:
    """Delete a user: every gateway refuses its password from now on."""
    await api.call("DELETE", f"/v1/users/{user_id}")
    show_one({"deleted": user_id}, "deleted", as_json=as_json)
