"""``throw``: throws signals."""

from __future__ import annotations

from typing import Any, BinaryIO

import click

from deploy.cli.api import Api, with_api
from deploy.cli.batches import throw_lines
from deploy.cli.output import as_json, example, show_line, show_one
from deploy.cli.throws import read_throw, show_recipients, with_throw


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
