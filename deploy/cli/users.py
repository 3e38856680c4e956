"""``user``: users, who sign in with a name and a password."""

from __future__ import annotations

import sys

import click

from broker.access import Permission
from broker.operations.access import check_user, create_user
from broker.operations.answers import render_user
from broker.schemas.access import UserRequest
from broker.schemas.validation import validate
from broker.store.administration.users import UserStore
from broker.store.postgres.database import Conflict
from broker.users import hash_password
from deploy.cli.admin import COMMAND_LINE, Admin, with_limits, with_store
from deploy.cli.output import as_json, example, show_one

_SHOWN = ("permissions", "names", "tenants", "queues", "untenanted")


@click.group()
def user() -> None:
    """Create users."""


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
    help="A permission of the user; repeatable.",
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
    wanted = validate(UserRequest, document)
    check_user(wanted)
    try:
        created = await create_user(UserStore(admin.database), wanted, hash_password(wanted.password), by=COMMAND_LINE)
    except Conflict:
        raise click.ClickException(f"there is a user {name!r} already") from None
    show_one(render_user(created), "id", "name", *_SHOWN, "groups", as_json=as_json)
