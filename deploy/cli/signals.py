"""``throw`` and ``tail``: throwing signals, and following the recorded ones."""

from __future__ import annotations

import asyncio
import signal as process_signals
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import BinaryIO

import click

from broker.access import ADMINISTRATOR
from broker.integers import MAX_ID
from broker.jsontext import read
from broker.moments import show_moment
from broker.names import check_id, matches
from broker.operations.answers import render_signal
from broker.operations.idempotency import make_key
from broker.operations.intake import open_intake
from broker.operations.throws import read_throw
from broker.schemas.signals import SignalRequest
from broker.schemas.validation import validate
from broker.signals import Scope, Signal
from broker.store.signals.signals import SignalStore
from deploy.cli.admin import Admin, with_store
from deploy.cli.batches import throw_lines
from deploy.cli.output import as_json, example, show_line, show_one

_MEMBERS = {
    "tenant": "tenantId",
    "without_tenant": "withoutTenantId",
    "execution": "executionId",
    "ordering_key": "orderingKey",
    "deliver_at": "deliverAt",
    "expires_at": "expiresAt",
}
"""The members of a throw's document that its options set."""

_POLL_SECONDS = 0.5


@click.command(
    epilog=example(
        """signal-broker throw policy_conditions_changed --payload '{"policy": 42}' --tenant acme""",
        "signal-broker throw order.paid --payload-file - < order.json",
        "signal-broker throw invoice.overdue --deliver-at 2026-12-24T08:00:00Z --expires-at 2026-12-24T20:00:00Z",
        "signal-broker throw --batch signals.jsonl --idempotency-key import-7",
    )
)
@click.argument("name", required=False)
@click.option("--payload", metavar="JSON", help="Any JSON, delivered as it is written; {} if left out.")
@click.option("--payload-file", type=click.File("rb"), help="Read the payload from a file, or - for standard input.")
@click.option("--tenant", metavar="ID", help="Only for subscriptions of this tenant.")
@click.option("--without-tenant", is_flag=True, help="Only for subscriptions without a tenant.")
@click.option("--execution", metavar="ID", help="Only for this execution.")
@click.option("--ordering-key", metavar="KEY", help="What the signal is about, such as an order's id.")
@click.option("--deliver-at", metavar="TIME", help="Not delivered before this time (RFC 3339, 2026-11-22T10:00:00Z).")
@click.option("--expires-at", metavar="TIME", help="Do not deliver after this time (RFC 3339).")
@click.option("--idempotency-key", metavar="KEY", help="For 24 hours, the same throw with the same key is one signal.")
@click.option(
    "--batch",
    type=click.File("rb"),
    help="Throw the signals in a file (or -), one a line, each as POST /v1/signals takes it.",
)
@as_json
@with_store
async def throw(
    admin: Admin,
    /,
    *,
    name: str | None,
    payload: str | None,
    payload_file: BinaryIO | None,
    idempotency_key: str | None,
    batch: BinaryIO | None,
    as_json: bool,
    **options: str | bool | None,
) -> None:
    """Throw a signal; return once it is safe.

    Without --tenant, --without-tenant or --execution it is for all subscriptions to NAME.
    """
    if (name is None) == (batch is None):
        raise click.UsageError("give either a NAME or --batch")
    if batch is not None:
        if payload is not None or payload_file is not None or any(options.values()):
            raise click.UsageError(
                "--batch takes no other option than --idempotency-key: everything else is in the file"
            )
        await throw_lines(admin, batch, key=idempotency_key, as_json=as_json)
        return
    if options["tenant"] is not None and options["without_tenant"]:
        raise click.UsageError("--tenant and --without-tenant exclude each other")
    fields = {"name": name, **{_MEMBERS[option]: value for option, value in options.items()}}
    body = _read_payload(payload, payload_file, admin.settings.max_body_bytes)
    wanted = replace(read_throw(ADMINISTRATOR, validate(SignalRequest, fields), b"{}"), payload=body)
    asked = "\0".join(("throw", *map(str, fields.values()))).encode() + b"\0" + body
    key = None if idempotency_key is None else make_key(idempotency_key, ADMINISTRATOR, asked)
    async with admin.transport() as transport, open_intake(admin.database, transport, admin.settings) as intake:
        accepted = await intake.accept(wanted, key=key)
    if as_json:
        show_line(render_signal(accepted.signal).decode())
        return
    shown = {"accepted": accepted.signal.id, "name": name, "scope": _recipients(accepted.signal)}
    show_one(shown | {"replayed": accepted.replayed or None}, *shown, "replayed", as_json=False)


def _read_payload(text: str | None, file: BinaryIO | None, limit: int) -> bytes:
    if text is not None and file is not None:
        raise click.UsageError("give either --payload or --payload-file")
    body = file.read() if file is not None else (text or "{}").encode()
    if len(body) > limit:
        raise click.ClickException(f"the payload has {len(body)} bytes; at most {limit} are allowed")
    try:
        read(body.decode())
    except ValueError as error:
        raise click.ClickException(f"the payload is not JSON: {error}") from None
    return body


@click.command(epilog=example("signal-broker tail --name 'policy.#'", "signal-broker tail --since-id 0 --count 10"))
@click.option(
    "--name", "pattern", default="#", metavar="PATTERN", help="Only signals whose name matches (patterns allowed)."
)
@click.option(
    "--since-id",
    type=click.IntRange(0, MAX_ID),
    metavar="N",
    help="Begin after the signal with this id (0: with the first one) instead of now.",
)
@click.option("--count", type=click.IntRange(1), metavar="N", help="Stop after this many signals.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document per line.")
@with_store
async def tail(admin: Admin, *, pattern: str, since_id: int | None, count: int | None, as_json: bool) -> None:
    """Print the signals that are recorded, one line each, until Ctrl-C."""
    check_id(pattern, "--name")
    stopping = asyncio.Event()
    for number in (process_signals.SIGINT, process_signals.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    signals = SignalStore(admin.database)
    after = await signals.last_id() if since_id is None else since_id
    shown = 0
    async for signal in _follow(signals, after, stopping):
        if matches(pattern, signal.throw.name):
            _show_line(signal, as_json=as_json)
            shown += 1
        if shown == count:
            return


async def _follow(signals: SignalStore, after: int, stopping: asyncio.Event) -> AsyncIterator[Signal]:
    """Yield the signals that are recorded after the one with the id *after*, each once, until *stopping* is set."""
    while not stopping.is_set():
        following: int | None = after
        while following is not None:
            page = await signals.page(after_id=following, limit=500)
            for signal in page.items:
                yield signal
                after = signal.id
            following = page.following
        with suppress(TimeoutError):
            async with asyncio.timeout(_POLL_SECONDS):
                await stopping.wait()


def _show_line(signal: Signal, *, as_json: bool) -> None:
    if as_json:
        show_line(render_signal(signal).decode())
        return
    payload = signal.throw.payload.decode()
    accepted = show_moment(signal.created_at)
    show_line(f"{signal.id:>8}  {accepted}  {signal.throw.name}  {_recipients(signal)}  {payload}")


def _recipients(signal: Signal) -> str:
    match signal.throw.scope:
        case Scope.TENANT:
            return f"tenant={signal.throw.tenant_id}"
        case Scope.EXECUTION:
            return f"execution={signal.throw.execution_id}"
        case scope:
            return scope.value
