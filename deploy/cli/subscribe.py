"""``subscribe``: a standing request for signals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import click
from pydantic.alias_generators import to_camel

from broker.jsontext import read
from broker.schemas.subscriptions import SubscriptionOptions, SubscriptionRequest
from broker.targets import Format
from broker.targets.webhook import Method, Scheme
from deploy.cli.api import Api, with_api
from deploy.cli.output import as_json, example, show_one

Fields = dict[str, Any]

_FLAGS = {"execution_id": "--execution", "tenant_id": "--tenant", "timeout_seconds": "--timeout"}
"""The flags that are shorter than the names of their options."""
_OWN = {"name", "target", "steps", "retry"}
"""What the command takes in a form of its own."""


def with_options(schema: type[SubscriptionOptions]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that gives a command a flag for each option of a subscription that *schema* declares."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for name, field in reversed(schema.model_fields.items()):
            if name not in _OWN:
                flag = _FLAGS.get(name, "--" + name.replace("_", "-"))
                command = click.option(flag, name, help=field.description, **_type(field.annotation))(command)
        return command

    return decorate


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


_TARGETS = ("--webhook", "--queue", "--pull", "--steps")
_ONE_TARGET = f"give one of {', '.join(_TARGETS[:-1])} and {_TARGETS[-1]}"
_TARGET = (
    click.option("--webhook", metavar="URL", help="Deliver by signed HTTP POST to this URL."),
    click.option("--queue", metavar="QUEUE", help="Deliver by publishing to this queue."),
    click.option("--pull", is_flag=True, help="Keep deliveries until a caller leases them over HTTP."),
    click.option("--header", "headers", multiple=True, metavar="K=V", help="A header of the webhook; repeatable."),
    click.option(
        "--signature",
        "signatures",
        multiple=True,
        type=click.Choice([scheme.value for scheme in Scheme]),
        help="How webhooks are signed: v1 (the default), v1a; repeatable.",
    ),
    click.option(
        "--method",
        type=click.Choice([method.value for method in Method]),
        help="The webhook's method; POST by default.",
    ),
    click.option(
        "--format",
        "form",
        type=click.Choice([form.value for form in Format]),
        help="How a webhook or a queue gets signals: standard (the default), or as CloudEvents.",
    ),
    click.option("--request-origin", metavar="NAME", help="Ask the webhook's receiver for permission under this name."),
    click.option("--body-template", metavar="TEXT|@FILE", help="The Mustache template of the webhook's body."),
    click.option(
        "--steps", type=click.File(), metavar="FILE", help="Deliver to several targets in order: a JSON array of steps."
    ),
    click.option("--retry-schedule", metavar="SECONDS,...", help="The pauses between attempts."),
    click.option("--max-attempts", type=int, help="All attempts: shortens the schedule or repeats its last pause."),
)


def with_target(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give *command* the options that `read_target` and `read_options` read."""
    for option in reversed(_TARGET):
        command = option(command)
    return command


@click.command(
    epilog=example(
        "signal-broker subscribe 'policy.#' --webhook https://example.com/hooks --retry-schedule 1,5,30",
        "signal-broker subscribe order_paid --queue billing --tenant acme --once",
    )
)
@click.argument("name")
@with_target
@with_options(SubscriptionRequest)
@as_json
@with_api(seals=True)
async def subscribe(api: Api, /, *, name: str, as_json: bool, **options: Any) -> None:
    """Create a subscription and print its id; a webhook's signing secret is printed this once.

    NAME is a signal name or a pattern: * is one word, # any number of words. Every signal that is accepted from now on
    and matches will be delivered.
    """
    target = read_target(options)
    if not target:
        raise click.UsageError(_ONE_TARGET)
    answer = await api.post("/v1/subscriptions", {"name": name, **target, **read_options(options)})
    document = answer.document
    show_one(document, "id", "name", "target" if document["steps"] is None else "steps", "secret", as_json=as_json)


def read_target(options: Fields, *, may_be_partial: bool = False) -> Fields:
    """Return the members `target` or `steps` of a subscription as *options* say, none if they do not.

    If it *may_be_partial*, a webhook may be given without its URL: then `target` has no `kind` either.

    Raises:
        UsageError: They do not go together, or cannot be read.
    """
    webhook, queue, steps = options.pop("webhook"), options.pop("queue"), options.pop("steps")
    pull = options.pop("pull") or None
    template, form = options.pop("body_template"), options.pop("form")
    written = {} if form is None else {"format": form}
    of_webhook: Fields = {
        "headers": _headers(options.pop("headers")),
        "signatures": list(dict.fromkeys(options.pop("signatures"))),
        "method": options.pop("method"),
        "bodyTemplate": None if template is None else _text(template),
        "requestOrigin": options.pop("request_origin"),
    }
    if [webhook, queue, pull, steps].count(None) < len(_TARGETS) - 1:
        raise click.UsageError(_ONE_TARGET)
    given = {name: value for name, value in of_webhook.items() if value not in (None, [], {})}
    if webhook is not None:
        return {"target": {"kind": "webhook", "url": webhook, **given, **written}}
    if (given or written) and may_be_partial and (queue, pull, steps) == (None, None, None):
        return {"target": given | written}
    if given:
        raise click.UsageError(
            "--header, --signature, --method, --request-origin and --body-template go with --webhook"
        )
    if queue is not None:
        return {"target": {"kind": "queue", "queue": queue, **written}}
    if written:
        raise click.UsageError("--format goes with --webhook or --queue")
    if pull:
        return {"target": {"kind": "pull"}}
    return {} if steps is None else {"steps": _json("--steps", steps.read())}


def read_options(options: Fields) -> Fields:
    """Return the other members of a subscription that *options* give.

    Raises:
        UsageError: They cannot be read.
    """
    retry = {"schedule": _schedule(options.pop("retry_schedule")), "maxAttempts": options.pop("max_attempts")}
    if options["filter"] is not None:
        options["filter"] = _json("--filter", _text(options["filter"]))
        if options["filter"] is None:
            raise click.UsageError("--filter must be a JSON object with conditions")
    if options.get("correlation_keys") is not None:
        options["correlation_keys"] = _json("--correlation-keys", _text(options["correlation_keys"]))
    members = {to_camel(option): value for option, value in options.items() if value is not None}
    return members if retry == {"schedule": None, "maxAttempts": None} else {**members, "retry": retry}


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
