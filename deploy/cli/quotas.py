"""``quota``: how much tenants and API tokens may use."""

from __future__ import annotations

from collections.abc import Mapping

import click

from broker.quotas import QuotaKind
from deploy.cli.api import Api, segment, with_api
from deploy.cli.output import as_json, example, show_answer, show_list, show_one

_MEMBERS = ("kind", "id", "throwsPerSecond", "subscriptions", "deliveriesPerThrow", "payloadBytesPerDay")

_kind = click.argument("kind", type=click.Choice([kind.value for kind in QuotaKind]))
_id = click.argument("subject_id", metavar="ID")


@click.group()
def quota() -> None:
    """Set, show, list and remove quotas of tenants and API tokens."""


@quota.command("set", epilog=example("signal-broker quota set tenant acme --throws-per-second 50 --subscriptions 100"))
@_kind
@_id
@click.option("--throws-per-second", type=float, help="Throws a second, over all gateways.")
@click.option("--subscriptions", type=int, help="Subscriptions that there may be.")
@click.option("--deliveries-per-throw", type=int, help="Subscriptions that a signal may be for.")
@click.option("--payload-bytes-per-day", type=int, help="Bytes of all payloads of a day (UTC).")
@as_json
@with_api()
async def set_(api: Api, /, *, kind: str, subject_id: str, as_json: bool, **members: float | None) -> None:
    """Set the quota of a tenant or a token, in place of the one that it has; what is not given has no limit."""
    answer = await api.call("PUT", _path(kind, subject_id), _camel(members))
    show_answer(answer.body, *_MEMBERS, as_json=as_json)


@quota.command(epilog=example("signal-broker quota show tenant acme"))
@_kind
@_id
@as_json
@with_api()
async def show(api: Api, *, kind: str, subject_id: str, as_json: bool) -> None:
    """Show the quota of a tenant or a token."""
    answer = await api.get(_path(kind, subject_id))
    show_answer(answer.body, *_MEMBERS, as_json=as_json)


@quota.command("list", epilog=example("signal-broker quota list"))
@as_json
@with_api()
async def list_(api: Api, *, as_json: bool) -> None:
    """List all quotas."""
    show_list(await api.pages("/v1/quotas", {}, after="after"), *_MEMBERS, as_json=as_json)


@quota.command(epilog=example("signal-broker quota remove token 7"))
@_kind
@_id
@as_json
@with_api()
async def remove(api: Api, *, kind: str, subject_id: str, as_json: bool) -> None:
    """Remove the quota of a tenant or a token: it has no limit from now on."""
    await api.call("DELETE", _path(kind, subject_id))
    show_one({"kind": f"{kind}s", "id": subject_id}, "kind", "id", as_json=as_json)


def _path(kind: str, subject_id: str) -> str:
    return f"/v1/quotas/{kind}s/{segment(subject_id)}"


def _camel(members: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return options as members of the API's document."""
    words = {name: name.split("_") for name in members}
    return {first + "".join(map(str.title, rest)): members[name] for name, (first, *rest) in words.items()}
