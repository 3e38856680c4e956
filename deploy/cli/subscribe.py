"""``subscribe``: a standing request for signals."""

from __future__ import annotations

import click

from broker.egress import Guard
from broker.secrets import make_secret
from broker.store.subscriptions import SubscriptionStore
from broker.subscriptions import Kind
from deploy.cli.admin import Admin, with_store
from deploy.cli.backends import EMBEDDED, allow_loopback, open_secrets
from deploy.cli.output import as_json, example, show_one
from gateway.bodies import validate
from gateway.documents import SubscriptionRequest
from gateway.native.answers import subscription_document
from gateway.native.requests import read_terms

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
@click.option("--tenant", metavar="ID", help="The tenant it belongs to; without one it is untenanted.")
@click.option("--execution", metavar="ID", help="The execution that waits here.")
@click.option("--once", is_flag=True, help="The first signal that matches consumes it.")
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
    tenant: str | None,
    execution: str | None,
    once: bool,
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
    wanted = validate(
        SubscriptionRequest,
        {
            "name": name,
            "target": _target(webhook, queue, headers),
            "tenantId": tenant,
            "executionId": execution,
            "once": once,
            "retry": {"schedule": _schedule(retry_schedule), "maxAttempts": max_attempts},
            "timeoutSeconds": timeout,
            "description": description,
        },
    )
    # What uses the embedded store is `signal-broker run`, which lets webhooks go to its own machine.
    settings = allow_loopback(admin.settings) if admin.settings.store_url == EMBEDDED else admin.settings
    terms = read_terms(wanted, Guard(settings.egress_allow))
    secret = make_secret() if terms.target.kind is Kind.WEBHOOK else None
    sealed = None if secret is None else open_secrets(admin.settings).seal(secret)
    created = await SubscriptionStore(admin.database).create(terms, secret=sealed)
    show_one(subscription_document(created, secret), "id", "name", "target", "secret", as_json=as_json)


def _target(webhook: str | None, queue: str | None, headers: tuple[str, ...]) -> Fields:
    if (webhook is None) == (queue is None):
        raise click.UsageError("give either --webhook or --queue")
    if queue is not None:
        if headers:
            raise click.UsageError("--header goes with --webhook")
        return {"kind": "queue", "queue": queue}
    pairs = [header.partition("=") for header in headers]
    if not all(separator for _, separator, _ in pairs):
        raise click.UsageError("--header is a name and a value, like X-Team=billing")
    return {"kind": "webhook", "url": webhook, "headers": {key: value for key, _, value in pairs}}


def _schedule(text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise click.UsageError("--retry-schedule is seconds separated by commas, like 1,5,30") from None
