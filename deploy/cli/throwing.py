"""``throw`` and ``tail``: throwing signals, and following the recorded ones."""

from __future__ import annotations

import asyncio
import signal as process_signals
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, BinaryIO

import click

from broker.integers import MAX_ID
from broker.jsonparts import raw_member
from broker.jsontext import read
from broker.names import check_id
from deploy.cli.api import Api, with_api
from deploy.cli.batches import throw_lines
from deploy.cli.output import as_json, example, show_line, show_one
from deploy.cli.throws import read_throw, with_throw

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
@with_throw
@click.option("--idempotency-key", metavar="KEY", help="For 24 hours, the same throw with the same key is one signal.")
@click.option(
    "--batch",
    type=click.File("rb"),
    help="Throw the signals in a file (or -), one a line, each as POST /v1/signals takes it.",
)
@as_json
@with_api(declare=True)
async def throw(
    api: Api,
    /,
    *,
    name: str | None,
    idempotency_key: str | None,
    batch: BinaryIO | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Throw a signal; return once it is safe.

    Without --tenant, --without-tenant or --execution it is for all subscriptions to NAME.
    """
    if (name is None) == (batch is None):
        raise click.UsageError("give either a NAME or --batch")
    if batch is not None:
        if any(value not in (None, False) for value in options.values()):
            raise click.UsageError(
                "--batch takes no other option than --idempotency-key: everything else is in the file"
            )
        await throw_lines(api, batch, key=idempotency_key, as_json=as_json)
        return
    headers = {} if idempotency_key is None else {"Idempotency-Key": _header(idempotency_key)}
    answer = await api.post("/v1/signals", read_throw(name or "", options), headers=headers)
    if as_json:
        show_line(answer.body.decode())
        return
    accepted = answer.document
    shown = {"accepted": accepted["id"], "name": accepted["name"], "scope": show_recipients(accepted)}
    replayed = "Idempotency-Replayed" in answer.headers or None
    show_one(shown | {"replayed": replayed}, *shown, "replayed", as_json=False)


def _header(key: str) -> str:
    if not (key.isascii() and key.isprintable()):
        raise click.UsageError("--idempotency-key must be printable ASCII")
    return key


@click.command(epilog=example("signal-broker tail --name 'policy.#'", "signal-broker tail --since-id 0 --count 10"))
@click.option("--name", "pattern", metavar="PATTERN", help="Only signals whose name matches (patterns allowed).")
@click.option(
    "--since-id",
    type=click.IntRange(0, MAX_ID),
    metavar="N",
    help="Begin after the signal with this id (0: with the first one) instead of now.",
)
@click.option("--count", type=click.IntRange(1), metavar="N", help="Stop after this many signals.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document per line.")
@with_api()
async def tail(api: Api, *, pattern: str | None, since_id: int | None, count: int | None, as_json: bool) -> None:
    """Print the signals that are recorded, one line each, until Ctrl-C."""
    if pattern is not None:
        check_id(pattern, "--name")
    stopping = asyncio.Event()
    for number in (process_signals.SIGINT, process_signals.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    if since_id is None:
        newest = (await api.pages("/v1/signals", {"order": "desc"}, limit=1)).documents
        since_id = newest[0]["id"] if newest else 0
    shown = 0
    async for signal in _follow(api, {"name": pattern, "afterId": since_id}, stopping):
        _show_line(signal, as_json=as_json)
        shown += 1
        if shown == count:
            return


async def _follow(api: Api, query: Mapping[str, str | int | None], stopping: asyncio.Event) -> AsyncIterator[bytes]:
    """Yield the signals that are recorded after `afterId` of *query*, each once, until *stopping* is set."""
    after = query["afterId"]
    while not stopping.is_set():
        page = await api.page("/v1/signals", {**query, "afterId": after, "limit": 500})
        for item in page.items:
            yield item
        if page.items:
            after = read(page.items[-1].decode())["id"]
        if page.next is not None:
            after = page.next
            continue
        with suppress(TimeoutError):
            async with asyncio.timeout(_POLL_SECONDS):
                await stopping.wait()


def _show_line(item: bytes, *, as_json: bool) -> None:
    if as_json:
        show_line(item.decode())
        return
    signal, payload = read(item.decode()), (raw_member(item, "payload") or b"").decode()
    show_line(f"{signal['id']:>8}  {signal['createdAt']}  {signal['name']}  {show_recipients(signal)}  {payload}")


def show_recipients(signal: Mapping[str, Any]) -> str:
    """Return for whom *signal* is."""
    match signal["scope"]:
        case "tenant":
            return f"tenant={signal['tenantId']}"
        case "execution":
            return f"execution={signal['executionId']}"
        case scope:
            return str(scope)
