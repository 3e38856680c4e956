"""The options of a throw, and the body of its request."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import click

from broker.jsontext import read

_MEMBERS = {
    "tenant": "tenantId",
    "without_tenant": "withoutTenantId",
    "execution": "executionId",
    "ordering_key": "orderingKey",
    "business_key": "businessKey",
    "deliver_at": "deliverAt",
    "expires_at": "expiresAt",
}
"""The members of a throw's document that its options set."""

_OPTIONS = (
    click.option("--payload", metavar="JSON", help="Any JSON, delivered as it is written; {} if left out."),
    click.option(
        "--payload-file", type=click.File("rb"), help="Read the payload from a file, or - for standard input."
    ),
    click.option("--tenant", metavar="ID", help="Only for subscriptions of this tenant."),
    click.option("--without-tenant", is_flag=True, help="Only for subscriptions without a tenant."),
    click.option("--execution", metavar="ID", help="Only for this execution."),
    click.option("--ordering-key", metavar="KEY", help="What the signal is about, such as an order's id."),
    click.option("--business-key", metavar="KEY", help="What the business calls it."),
    click.option("--deliver-at", metavar="TIME", help="Not delivered before this time (2026-11-22T10:00:00Z)."),
    click.option("--expires-at", metavar="TIME", help="Do not deliver after this time (RFC 3339)."),
)


def with_throw(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give *command* the options of a throw."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def read_throw(name: str, options: Mapping[str, Any]) -> bytes:
    """Return the document of the throw that *options* describe; its payload stays as it is written.

    Raises:
        UsageError: They do not go together.
        ClickException: The payload is not JSON.
    """
    if options["tenant"] is not None and options["without_tenant"]:
        raise click.UsageError("--tenant and --without-tenant exclude each other")
    given = {member: options[option] for option, member in _MEMBERS.items() if options[option] not in (None, False)}
    payload = _read_payload(options["payload"], options["payload_file"])
    return json.dumps({"name": name, **given}).encode()[:-1] + b', "payload": ' + payload + b"}"


def _read_payload(text: str | None, file: BinaryIO | None) -> bytes:
    if text is not None and file is not None:
        raise click.UsageError("give either --payload or --payload-file")
    body = file.read() if file is not None else (text or "{}").encode()
    try:
        read(body.decode())
    except ValueError as error:
        raise click.ClickException(f"the payload is not JSON: {error}") from None
    return body.removeprefix(b"\xef\xbb\xbf")


def show_recipients(signal: Mapping[str, Any]) -> str:
    """Return for whom *signal* is."""
    match signal["scope"]:
        case "tenant":
            return f"tenant={signal['tenantId']}"
        case "execution":
            return f"execution={signal['executionId']}"
        case scope:
            return str(scope)
