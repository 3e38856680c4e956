"""``subscribe``: a standing request for signals."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import click

from broker.egress import Guard
from broker.jsontext import read
from broker.operations.answers import render_subscription
from broker.operations.requests import read_spec
from broker.operations.subscriptions import create_subscription
from broker.schemas.subscriptions import SubscriptionRequest
from broker.schemas.validation import validate
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.subscriptions import HeadOfLine, Method, Scheme
from deploy.cli.admin import Admin, with_store
from deploy.cli.backends import EMBEDDED, allow_loopback, open_secrets
from deploy.cli.output import as_json, example, show_one

Fields = dict[str, object]


@click.command(
    epilog=example(
        "signal-broker subscribe 'policy.#' --webhook https://example.com/hooks --retry-schedule 1,5,30",
        "signal-broker subscribe order_paid --queue billing --tenant acme --once",
    )
)
@click.argument("name")
@click.option("--webhook", metavar="URL", help="Deliver by signed HTTP POST to this URL.")
@click.option("--queue", metavar="QUEUE", help="Deliver by publishing to this queue.")
@click.option("--header", "headers", multiple=True, metavar="K=V", help="A header of the webhook's; repeatable.")
@click.option(
    "--signature",
    "signatures",
    multiple=True,
    type=click.Choice([scheme.value for scheme in Scheme]),
    help="How webhooks are signed: v1 (if none is given), v1a; repeatable.",
)
@click.option("--method", type=click.Choice([method.value for method in Method]), help="Of the webhook; else POST.")
@click.option("--body-template", metavar="TEXT|@FILE", help="What the webhook's body is made from, in Mustache.")
@click.option(
    "--steps", type=click.File(), metavar="FILE", help="Deliver to several targets in order, a JSON array of steps."
)
@click.option("--tenant", metavar="ID", help="The tenant it belongs to; without one it is untenanted.")
@click.option("--execution", metavar="ID", help="The execution that waits here.")
@click.option("--once", is_flag=True, help="The first signal that matches consumes it.")
@click.option("--ordered", is_flag=True, help="Signals with the same ordering key one after the other, in their order.")
@click.option(
    "--head-of-line",
    type=click.Choice([policy.value for policy in HeadOfLine]),
    help="Whether those behind a dead delivery wait (block, if it is not given) or go on; with --ordered.",
)
@click.option("--retry-schedule", metavar="SECONDS,...", help="Pauses between attempts.")
@click.option("--max-attempts", type=int, help="Cuts the schedule short, or repeats its last pause.")
@click.option("--timeout", type=float, metavar="SECONDS", help="How long one attempt may take.")
@click.option("--description", help="For people.")
@as_json
@with_store
async def subscribe(
    admin: Admin,
    *,
    name: str,
    webhook: str | None,
    queue: str | None,
    headers: tuple[str, ...],
    signatures: tuple[str, ...],
    method: str | None,
    body_template: str | None,
    steps: TextIO | None,
    tenant: str | None,
    execution: str | None,
    once: bool,
    ordered: bool,
    head_of_line: str | None,
    retry_schedule: str | None,
    max_attempts: int | None,
    timeout: float | None,
    description: str | None,
    as_json: bool,
) -> None:
    """Create a subscription and print its id; a webhook's signing secret is printed this once.

    NAME is a signal's name or a pattern: * is one word, # any number of words. Every signal that is accepted from
    now on and matches will be delivered.
    """
    options: Fields = {
        "headers": _headers(headers),
        "signatures": list(dict.fromkeys(signatures)),
        "method": method,
        "bodyTemplate": None if body_template is None else _text(body_template),
    }
    wanted = validate(
        SubscriptionRequest,
        {
            "name": name,
            **_targets(webhook, queue, steps, options),
            "tenantId": tenant,
            "executionId": execution,
            "once": once,
            "ordered": ordered,
            "headOfLine": head_of_line,
            "retry": {"schedule": _schedule(retry_schedule), "maxAttempts": max_attempts},
            "timeoutSeconds": timeout,
            "description": description,
        },
    )
    # What uses the embedded store is `signal-broker run`, which lets webhooks go to its own machine.
    settings = allow_loopback(admin.settings) if admin.settings.store_url == EMBEDDED else admin.settings
    spec = read_spec(wanted, Guard(settings.egress_allow, https_only=settings.egress_https_only))
    created, secret = await create_subscription(
        SubscriptionStore(admin.database), spec, seal=lambda secret: open_secrets(admin.settings).seal(secret)
    )
    document = render_subscription(created, secret)
    show_one(document, "id", "name", "target" if document.steps is None else "steps", "secret", as_json=as_json)


def _targets(webhook: str | None, queue: str | None, steps: TextIO | None, options: Fields) -> Fields:
    if [webhook, queue, steps].count(None) != 2:
        raise click.UsageError("give one of --webhook, --queue and --steps")
    given = {name: value for name, value in options.items() if value not in (None, [], {})}
    if webhook is not None:
        return {"target": {"kind": "webhook", "url": webhook, **given}}
    if given:
        raise click.UsageError("--header, --signature, --method and --body-template go with --webhook")
    if queue is not None:
        return {"target": {"kind": "queue", "queue": queue}}
    try:
        return {"steps": None if steps is None else read(steps.read())}
    except ValueError as error:
        raise click.UsageError(f"--steps is not JSON: {error}") from None


def _headers(headers: tuple[str, ...]) -> dict[str, str]:
    pairs = [header.partition("=") for header in headers]
    if not all(separator for _, separator, _ in pairs):
        raise click.UsageError("--header is a name and a value, like X-Team=billing")
    return {key: value for key, _, value in pairs}


def _text(option: str) -> str:
    """Return what an option says: itself, or what is in the file that it names after an ``@``."""
    if not option.startswith("@"):
        return option
    try:
        return Path(option[1:]).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{option}: {error}") from None


def _schedule(text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise click.UsageError("--retry-schedule is seconds separated by commas, like 1,5,30") from None
