"""``subscribe``: a standing request for signals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO, get_args, get_origin

import click
from pydantic.alias_generators import to_camel

from broker.egress import Guard
from broker.jsontext import read
from broker.operations.answers import render_subscription
from broker.operations.subscriptions import create_subscription, read_spec
from broker.schemas.subscriptions import SubscriptionRequest
from broker.schemas.validation import validate
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.targets.webhook import Method, Scheme
from deploy.cli.admin import COMMAND_LINE, Admin, with_store
from deploy.cli.backends import EMBEDDED, allow_loopback, open_secrets
from deploy.cli.output import as_json, example, show_one

Fields = dict[str, object]

_FLAGS = {"execution_id": "--execution", "tenant_id": "--tenant", "timeout_seconds": "--timeout"}
"""The flags that are shorter than the names of their options."""
_OWN = {"name", "target", "steps", "retry"}
"""What the command takes in a form of its own."""


def with_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give *command* a flag for each option of a subscription that `SubscriptionRequest` declares."""
    for name, field in reversed(SubscriptionRequest.model_fields.items()):
        if name not in _OWN:
            flag = _FLAGS.get(name, "--" + name.replace("_", "-"))
            command = click.option(flag, name, help=field.description, **_type(field.annotation))(command)
    return command


def _type(annotation: Any) -> dict[str, Any]:
    """Return what click is told of an option with that *annotation*; its limits are checked by the schema."""
    kind = next((part for part in get_args(annotation) if part is not type(None)), annotation)
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if kind is bool:
        return {"is_flag": True}
    if get_origin(kind) is Literal:
        return {"type": click.Choice(get_args(kind))}
    if get_origin(kind) is dict:
        return {"metavar": "JSON|@FILE"}
    return {"type": kind if kind in {int, float} else str}


@click.command(
    epilog=example(
        "signal-broker subscribe 'policy.#' --webhook https://example.com/hooks --retry-schedule 1,5,30",
        "signal-broker subscribe order_paid --queue billing --tenant acme --once",
    )
)
@click.argument("name")
@click.option("--webhook", metavar="URL", help="Deliver by signed HTTP POST to this URL.")
@click.option("--queue", metavar="QUEUE", help="Deliver by publishing to this queue.")
@click.option("--header", "headers", multiple=True, metavar="K=V", help="A header of the webhook; repeatable.")
@click.option(
    "--signature",
    "signatures",
    multiple=True,
    type=click.Choice([scheme.value for scheme in Scheme]),
    help="How webhooks are signed: v1 (the default), v1a; repeatable.",
)
@click.option(
    "--method", type=click.Choice([method.value for method in Method]), help="The webhook's method; POST by default."
)
@click.option("--body-template", metavar="TEXT|@FILE", help="The Mustache template of the webhook's body.")
@click.option(
    "--steps", type=click.File(), metavar="FILE", help="Deliver to several targets in order: a JSON array of steps."
)
@click.option("--retry-schedule", metavar="SECONDS,...", help="The pauses between attempts.")
@click.option("--max-attempts", type=int, help="All attempts: shortens the schedule or repeats its last pause.")
@with_options
@as_json
@with_store
async def subscribe(
    admin: Admin,
    /,
    *,
    name: str,
    webhook: str | None,
    queue: str | None,
    headers: tuple[str, ...],
    signatures: tuple[str, ...],
    method: str | None,
    body_template: str | None,
    steps: TextIO | None,
    retry_schedule: str | None,
    max_attempts: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Create a subscription and print its id; a webhook's signing secret is printed this once.

    NAME is a signal name or a pattern: * is one word, # any number of words. Every signal that is accepted from now on
    and matches will be delivered.
    """
    of_webhook: Fields = {
        "headers": _headers(headers),
        "signatures": list(dict.fromkeys(signatures)),
        "method": method,
        "bodyTemplate": None if body_template is None else _text(body_template),
    }
    if options["filter"] is not None:
        options["filter"] = _json("--filter", _text(options["filter"]))
        if options["filter"] is None:
            raise click.UsageError("--filter must be a JSON object with conditions")
    wanted = validate(
        SubscriptionRequest,
        {
            "name": name,
            **_targets(webhook, queue, steps, of_webhook),
            "retry": {"schedule": _schedule(retry_schedule), "maxAttempts": max_attempts},
            **{to_camel(option): value for option, value in options.items()},
        },
    )
    # The embedded store is that of `signal-broker run`, which lets webhooks go to its own machine.
    settings = allow_loopback(admin.settings) if admin.settings.store_url == EMBEDDED else admin.settings
    spec = read_spec(wanted, Guard(settings.egress_allow, https_only=settings.egress_https_only))
    created, secret = await create_subscription(
        SubscriptionStore(admin.database),
        spec,
        secrets=lambda: open_secrets(admin.settings),
        by=COMMAND_LINE,
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
    return {"steps": None if steps is None else _json("--steps", steps.read())}


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


def _json(option: str, text: str) -> object:
    try:
        return read(text)
    except ValueError as error:
        raise click.UsageError(f"{option} is not JSON: {error}") from None


def _schedule(text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise click.UsageError("--retry-schedule is seconds separated by commas, like 1,5,30") from None
