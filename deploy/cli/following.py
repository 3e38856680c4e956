"""``tail`` and ``listen``: following the signals that are recorded, and passing them on on this machine."""

from __future__ import annotations

import asyncio
import json
import signal as process_signals
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime

import click
from aiohttp import ClientError, ClientSession, ClientTimeout

from broker.errors import SecretUnreadable
from broker.integers import MAX_ID
from broker.jsonparts import raw_member
from broker.jsontext import read
from broker.names import check_id
from broker.secrets import make_secret
from deploy.cli.api import Api, with_api
from deploy.cli.output import example, show_line
from deploy.cli.throws import show_recipients
from workers.webhooks.signing import signature_headers

_POLL_SECONDS = 0.5
_FORWARDING = ClientTimeout(total=30)

_since_id = click.option(
    "--since-id",
    type=click.IntRange(0, MAX_ID),
    metavar="N",
    help="Begin after the signal with this id (0: with the first one) instead of now.",
)
_as_json_lines = click.option("--json", "as_json", is_flag=True, help="Print one JSON document per line.")
_count = click.option("--count", type=click.IntRange(1), metavar="N", help="Stop after this many signals.")


@click.command(
    epilog=example(
        "signal-broker tail --name 'policy.#'",
        "signal-broker tail --since-id 0 --count 10",
        "signal-broker signals tail --json",
    )
)
@click.option("--name", "pattern", metavar="PATTERN", help="Only signals whose name matches (patterns allowed).")
@_since_id
@_count
@_as_json_lines
@with_api()
async def tail(api: Api, *, pattern: str | None, since_id: int | None, count: int | None, as_json: bool) -> None:
    """Print the signals that are recorded, one line each, until Ctrl-C."""
    async for signal in _follow(api, pattern, since_id, count):
        _show(signal, as_json=as_json)


@click.command(
    epilog=example(
        "signal-broker listen 'invoice.#'",
        "signal-broker listen 'invoice.#' --forward http://127.0.0.1:9000/hook",
    )
)
@click.argument("pattern", metavar="NAME")
@click.option("--forward", metavar="URL", help="Post each signal to this URL as a signed webhook.")
@click.option("--secret", metavar="SECRET", help="What signs them (whsec_...); by default one is made, and printed.")
@_since_id
@_count
@_as_json_lines
@with_api()
async def listen(
    api: Api,
    *,
    pattern: str,
    forward: str | None,
    secret: str | None,
    since_id: int | None,
    count: int | None,
    as_json: bool,
) -> None:
    """Receive signals on this machine, without an address that others can reach, until Ctrl-C.

    NAME is a name or a pattern. With --forward each signal is posted to a local URL, signed as webhooks are, with the
    id listen-N: once, and nothing about it is recorded. With --json a line {"forwarded": ID, "result": ...} follows.
    """
    if forward is not None and secret is None:
        secret = make_secret()
        click.echo(f"signing with {secret}", err=True)
    async with ClientSession(timeout=_FORWARDING) as session:
        async for signal in _follow(api, pattern, since_id, count):
            _show(signal, as_json=as_json)
            if forward is not None and secret is not None:
                result = await _forward(session, forward, secret, signal)
                told = {"forwarded": read(signal.decode())["id"], "result": result}
                show_line(json.dumps(told) if as_json else f"{'':>8}  -> {result}")


async def _forward(session: ClientSession, url: str, secret: str, signal: bytes) -> str:
    """Post *signal* to *url*; return the status of the answer, or why there is none."""
    message_id = f"listen-{read(signal.decode())['id']}"
    try:
        signature = signature_headers([secret], message_id=message_id, timestamp=datetime.now(UTC), body=signal)
    except SecretUnreadable as error:
        raise click.UsageError(f"--secret: {error}") from error
    headers = {"Content-Type": "application/json", **signature}
    try:
        async with session.post(url, data=signal, headers=headers, allow_redirects=False) as response:
            return str(response.status)
    except (ClientError, TimeoutError, ValueError) as error:
        return str(error) or type(error).__name__


async def _follow(api: Api, pattern: str | None, since_id: int | None, count: int | None) -> AsyncIterator[bytes]:
    """Yield the signals that are recorded from now on, or after one, each once, until Ctrl-C or after *count*."""
    if pattern is not None:
        check_id(pattern, "name")
    stopping = asyncio.Event()
    for number in (process_signals.SIGINT, process_signals.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    if since_id is None:
        newest = (await api.pages("/v1/signals", {"order": "desc"}, limit=1)).documents
        since_id = newest[0]["id"] if newest else 0
    shown = 0
    async for signal in _recorded(api, {"name": pattern, "afterId": since_id}, stopping):
        yield signal
        shown += 1
        if shown == count:
            return


async def _recorded(api: Api, query: Mapping[str, str | int | None], stopping: asyncio.Event) -> AsyncIterator[bytes]:
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


def _show(signal: bytes, *, as_json: bool) -> None:
    if as_json:
        show_line(signal.decode())
        return
    document, payload = read(signal.decode()), (raw_member(signal, "payload") or b"").decode()
    recipients = show_recipients(document)
    show_line(f"{document['id']:>8}  {document['createdAt']}  {document['name']}  {recipients}  {payload}")
