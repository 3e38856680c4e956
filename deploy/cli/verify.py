"""``verify``: checks the signature of a webhook, as a receiver should (Standard Webhooks 1.0)."""

from __future__ import annotations

import base64
import hmac
import re
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import BinaryIO, TextIO

import click
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from broker.errors import SecretUnreadable
from broker.jsontext import read
from broker.secrets import PUBLIC_PREFIX, decode_secret
from deploy.cli.lifetimes import Duration
from deploy.cli.output import as_json, example, show_one

_PARTS = ("id", "timestamp", "signature")
_LINE = re.compile(r"(?:[<>] ?)?([A-Za-z0-9-]+):\s*(.*?)\s*")
"""A header as it is in a request, or as `curl -v` shows it."""


@click.command(
    epilog=example(
        "signal-broker verify --secret whsec_... --headers headers.txt < body.json",
        "signal-broker verify --secret whsec_... --id 34-7 --timestamp 1795860698 --signature v1,K5oZ... body.json",
    )
)
@click.option(
    "--secret",
    "secrets",
    multiple=True,
    required=True,
    metavar="SECRET",
    help="The subscription's secret (whsec_...), or a public key of the product (whpk_...); repeatable.",
)
@click.option("--id", "id", metavar="ID", help="The header webhook-id.")
@click.option("--timestamp", metavar="SECONDS", help="The header webhook-timestamp.")
@click.option("--signature", metavar="TEXT", help="The header webhook-signature.")
@click.option(
    "--headers", type=click.File(), metavar="FILE", help="All headers: one a line (Name: value), or a JSON object."
)
@click.option(
    "--tolerance",
    type=Duration(),
    metavar="DURATION",
    help="Refuse a timestamp that is further away from now (5m, as receivers do); without it, any is accepted.",
)
@click.argument("body", type=click.File("rb"), default="-")
@as_json
def verify(
    *,
    secrets: tuple[str, ...],
    headers: TextIO | None,
    tolerance: timedelta | None,
    body: BinaryIO,
    as_json: bool,
    **parts: str | None,
) -> None:
    """Check the signature of a webhook that was received: its BODY is a file, or standard input.

    The body is signed byte for byte: a space more, or a line break that an editor added at the end, is another body.
    """
    found = {} if headers is None else _read_headers(headers.read())
    given = {part: parts[part] or found.get(f"webhook-{part}") for part in _PARTS}
    missing = [f"webhook-{part}" for part in _PARTS if not given[part]]
    if missing:
        raise click.UsageError(
            f"there is no {', no '.join(missing)}: pass --headers, or --id, --timestamp, --signature"
        )
    moment = _read_timestamp(str(given["timestamp"]), tolerance)
    content = f"{given['id']}.{given['timestamp']}.".encode() + body.read()
    signatures = str(given["signature"]).split()
    if not any(_is_signed(secret, content, signatures) for secret in secrets):
        raise click.ClickException(
            "the signature is not of this body with this secret: is it the secret of this subscription, and the body"
            " byte for byte as it came?"
        )
    shown = {"valid": True, "id": given["id"], "age": f"{round(time.time() - moment)} s"}
    show_one(shown, "valid", "id", "age", as_json=as_json)


def _read_headers(text: str) -> Mapping[str, str]:
    """Return the headers in *text* by their names in lower case."""
    if text.lstrip().startswith("{"):
        try:
            document = read(text)
        except ValueError as error:
            raise click.UsageError(f"--headers is not JSON: {error}") from None
        return {name.lower(): str(value) for name, value in document.items()}
    lines = filter(None, map(_LINE.fullmatch, text.splitlines()))
    return {line[1].lower(): line[2] for line in lines}


def _read_timestamp(text: str, tolerance: timedelta | None) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise click.ClickException(f"webhook-timestamp is {text!r}, and not seconds since 1970")
    age = time.time() - int(text)
    if tolerance is not None and abs(age) > tolerance.total_seconds():
        raise click.ClickException(
            f"webhook-timestamp is {abs(round(age))} s {'old' if age > 0 else 'ahead'}: a receiver refuses that as a"
            " replay, or one of the clocks is wrong"
        )
    return int(text)


def _is_signed(secret: str, content: bytes, signatures: list[str]) -> bool:
    """Return whether one of *signatures* is of *content*, by *secret*: that of a subscription, or a public key.

    Raises:
        SecretUnreadable: *secret* is neither.
    """
    if not secret.startswith(PUBLIC_PREFIX):
        digest = base64.b64encode(hmac.digest(decode_secret(secret), content, "sha256")).decode()
        return any(hmac.compare_digest(f"v1,{digest}".encode(), signature.encode()) for signature in signatures)
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(secret.removeprefix(PUBLIC_PREFIX), validate=True))
    except ValueError:
        raise SecretUnreadable(f"a public key is {PUBLIC_PREFIX!r} and 32 bytes in base64") from None
    return any(_is_signed_by(key, content, signature) for signature in signatures)


def _is_signed_by(key: Ed25519PublicKey, content: bytes, signature: str) -> bool:
    version, _, text = signature.partition(",")
    try:
        key.verify(base64.b64decode(text, validate=True), content)
    except (InvalidSignature, ValueError):
        return False
    return version == "v1a"
