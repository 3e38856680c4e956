"""``quota``: how much tenants and API tokens may use."""

from __future__ import annotations

from collections.abc import Mapping

import click
from pydantic import BaseModel

from broker.integers import read_whole
from broker.names import check_id
from broker.operations.answers import render_quota
from broker.quotas import Quota, QuotaKind, Subject
from broker.schemas.quotas import QuotaRequest
from broker.schemas.validation import validate
from broker.store.administration.quotas import QuotaStore
from broker.store.administration.tokens import AccessStore
from deploy.cli.admin import COMMAND_LINE, Admin, with_store
from deploy.cli.output import as_json, example, show_many, show_one

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
@with_store
async def set_(admin: Admin, /, *, kind: str, subject_id: str, as_json: bool, **members: float | None) -> None:
    """Set the quota of a tenant or a token, in place of the one that it has; what is not given has no limit."""
    subject = await _subject(admin, kind, subject_id)
    quota = Quota(**validate(QuotaRequest, _camel(members)).model_dump())
    await QuotaStore(admin.database).put(subject, quota, by=COMMAND_LINE)
    show_one(render_quota(subject, quota), *_MEMBERS, as_json=as_json)


@quota.command(epilog=example("signal-broker quota show tenant acme"))
@_kind
@_id
@as_json
@with_store
async def show(admin: Admin, *, kind: str, subject_id: str, as_json: bool) -> None:
    """Show the quota of a tenant or a token."""
    subject = await _subject(admin, kind, subject_id)
    found = await QuotaStore(admin.database).get(subject)
    if found is None:
        raise click.ClickException(f"there is no quota for {subject}")
    show_one(render_quota(subject, found), *_MEMBERS, as_json=as_json)


@quota.command("list", epilog=example("signal-broker quota list"))
@as_json
@with_store
async def list_(admin: Admin, *, as_json: bool) -> None:
    """List all quotas."""
    store, quotas = QuotaStore(admin.database), list[BaseModel]()
    after: Subject | None = Subject(QuotaKind.TENANT, "")
    while after is not None:
        found, after = await store.page(after=after, limit=1000, by=COMMAND_LINE)
        quotas += [render_quota(*one) for one in found]
    show_many(quotas, *_MEMBERS, as_json=as_json)


@quota.command(epilog=example("signal-broker quota remove token 7"))
@_kind
@_id
@as_json
@with_store
async def remove(admin: Admin, *, kind: str, subject_id: str, as_json: bool) -> None:
    """Remove the quota of a tenant or a token: it has no limit from now on."""
    subject = await _subject(admin, kind, subject_id)
    if not await QuotaStore(admin.database).remove(subject, by=COMMAND_LINE):
        raise click.ClickException(f"there is no quota for {subject}")
    show_one({"kind": f"{kind}s", "id": subject.id}, "kind", "id", as_json=as_json)


async def _subject(admin: Admin, kind: str, subject_id: str) -> Subject:
    """Return the subject; a token must exist."""
    if kind == QuotaKind.TENANT:
        return Subject(QuotaKind.TENANT, check_id(subject_id, "/id"))
    token_id = read_whole(subject_id)
    if token_id is None or await AccessStore(admin.database).token(token_id) is None:
        raise click.ClickException(f"there is no token {subject_id}")
    return Subject(QuotaKind.TOKEN, str(token_id))


def _camel(members: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return options as members of the API's document."""
    words = {name: name.split("_") for name in members}
    return {first + "".join(map(str.title, rest)): members[name] for name, (first, *rest) in words.items()}
