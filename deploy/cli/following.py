"""``tail`` and ``listen``: following the signals that are recorded, and passing them on on this machine."""

from __future__ import annotations

import asyncio
import json
import signal as process_signals
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime

import click
from aiohttp import ClientError, ClientSession, ClientTimeout

from broker.errors import SecretUnreadable
from broker.integers import MAX_ID
from broker.jsonparts import raw_member
from broker.jsontext import read
from broker.names import check_id
from broker.reasons import reason_of
from broker.secrets import make_secret
from deploy.cli.api import Api, with_api
from deploy.cli.output import example, say, show_line
from deploy.cli.products import parse_url
from deploy.cli.streams import follow
from deploy.cli.throws import show_recipients
from workers.webhooks.signing import signature_headers

_FORWARDING = ClientTimeout(total=30)

_tenant = click.option("--tenant", "tenant_id", metavar="ID", help="Only signals of this tenant.")
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
@_tenant
@_since_id
@_count
@_as_json_lines
@with_api()
async def tail(
    api: Api, *, pattern: str | None, tenant_id: str | None, since_id: int | None, count: int | None, as_json: bool
) -> None:
    """Print the signals that are recorded, one line each, until Ctrl-C.

    A connection that is lost is made again, and goes on where it was.
    """
    async with _following(api, pattern=pattern, tenant_id=tenant_id, since_id=since_id, count=count) as signals:
        async for _, signal in signals:
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
@_tenant
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
    tenant_id: str | None,
    since_id: int | None,
    count: int | None,
    as_json: bool,
) -> None:
    """Receive signals on this machine, without an address that others can reach, until Ctrl-C.

    NAME is a name or a pattern. With --forward each signal is posted to a local URL, signed as webhooks are, with the
    id listen-N: once, and nothing about it is recorded. With --json a line {"forwarded": ID, "result": ...} follows.
    A connection that is lost is made again, and goes on where it was.
    """
    if forward is None and secret is not None:
        raise click.UsageError("--secret goes with --forward")
    if forward is not None:
        if parse_url(forward) is None:
            raise click.UsageError(f"--forward: {forward!r} is no URL like http://127.0.0.1:9000/hook")
        if secret is None:
            secret = make_secret()
            click.echo(f"signing with {secret}", err=True)
        _sign(secret, "", b"")
    async with (
        ClientSession(timeout=_FORWARDING) as session,
        _following(api, pattern=pattern, tenant_id=tenant_id, since_id=since_id, count=count) as signals,
    ):
        async for signal_id, signal in signals:
            _show(signal, as_json=as_json)
            if forward is not None and secret is not None:
                result = await _forward(session, forward, secret, signal_id, signal)
                told = {"forwarded": signal_id, "result": result}
                show_line(json.dumps(told) if as_json else f"{'':>8}  -> {result}")


async def _forward(session: ClientSession, url: str, secret: str, signal_id: int, signal: bytes) -> str:
    """Post *signal* to *url*; return the status of the answer, or why there is none."""
    signature = _sign(secret, f"listen-{signal_id}", signal)
    headers = {"Content-Type": "application/json", **signature}
    try:
        async with session.post(url, data=signal, headers=headers, allow_redirects=False) as response:
            return str(response.status)
    except (ClientError, TimeoutError, ValueError) as error:
        return reason_of(error)


def _sign(secret: str, message_id: str, body: bytes) -> dict[str, str]:
    try:
        return signature_headers([secret], message_id=message_id, timestamp=datetime.now(UTC), body=body)
    except SecretUnreadable as error:
        raise click.UsageError(f"--secret: {error}") from error


@asynccontextmanager
async def _following(
    api: Api, *, pattern: str | None, tenant_id: str | None, since_id: int | None, count: int | None
) -> AsyncIterator[AsyncGenerator[tuple[int, bytes], None]]:
    """Yield what yields the signals that are recorded from now on, or after one, each once; *count* of them at most.

    Ctrl-C ends the block, and says where to go on.
    """
    for name, value in (("name", pattern), ("tenant", tenant_id)):
        if value is not None:
            check_id(value, name)
    done = since_id

    async def read() -> AsyncGenerator[tuple[int, bytes], None]:
        nonlocal done
        if done is None:  # from the newest one, so that a connection that is lost before the next one is no gap
            newest = (await api.pages("/v1/signals", {"order": "desc"}, limit=1)).documents
            done = newest[0]["id"] if newest else 0
        left = count
        async with aclosing(follow(api, {"name": pattern, "tenantId": tenant_id}, done)) as signals:
            async for signal_id, signal in signals:
                yield signal_id, signal
                done = signal_id
                left = None if left is None else left - 1
                if left == 0:
                    return

    try:
        async with _interruptible() as limit, aclosing(read()) as signals:
            yield signals
    except TimeoutError:
        if not limit.expired():
            raise
        if done is not None:
            say(f"interrupted: --since-id {done} goes on", err=True)


@asynccontextmanager
async def _interruptible() -> AsyncIterator[asyncio.Timeout]:
    """Raise `TimeoutError` in the block on SIGINT and SIGTERM; what is yielded has expired then."""
    loop, numbers = asyncio.get_running_loop(), (process_signals.SIGINT, process_signals.SIGTERM)
    async with asyncio.timeout(None) as limit:

        def interrupt() -> None:
            if not limit.expired():
                limit.reschedule(loop.time())

        for number in numbers:
            loop.add_signal_handler(number, interrupt)
        try:
            yield limit
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)


def _show(signal: bytes, *, as_json: bool) -> None:
    if as_json:
        show_line(signal.decode())
        return
    document, payload = read(signal.decode()), (raw_member(signal, "payload") or b"").decode()
    recipients = show_recipients(document)
    show_line(f"{document['id']:>8}  {document['createdAt']}  {document['name']}  {recipients}  {payload}")
