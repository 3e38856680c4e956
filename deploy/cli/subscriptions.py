"""``subscriptions``: standing requests for signals, after their creation."""

from __future__ import annotations

from typing import Any

import click
from pydantic.alias_generators import to_camel

from broker.integers import MAX_ID
from broker.redaction import HIDDEN
from broker.schemas.subscriptions import SubscriptionOptions
from deploy.cli.api import Api, with_api
from deploy.cli.lists import read_filters, with_filters
from deploy.cli.output import Printed, as_json, example, show_answer, show_list, show_one, show_targets
from deploy.cli.subscribe import Fields, read_options, read_target, with_options, with_target

_STATES = ("active", "paused", "disabled", "failing", "leasable")
_LISTED = (
    *("id", "name", "state", "circuit", "parked", "leasable", "target", "tenantId", "executionId", "description"),
    *("disabledBecause", "createdAt"),
)
_SHOWN = (
    *("id", "name", "state", "disabledBecause", "pausedAt", "target", "steps", "tenantId", "executionId"),
    *("businessKey", "correlationKeys", "once"),
    *("consumedBy", "filter", "ordered", "headOfLine", "retry", "timeoutSeconds", "maxInFlight", "maxPerSecond"),
    *("description", "circuit", "backlog", "createdAt", "createdBy", "secret"),
)
_TESTED = ("outcome", "status", "durationMs", "error", "response", "request", "step")
_CHANGEABLE = sorted(to_camel(name) for name in SubscriptionOptions.model_fields if name not in {"target", "steps"})

_id = click.argument("subscription_id", metavar="ID", type=click.IntRange(1, MAX_ID))


@click.group()
def subscriptions() -> None:
    """List, show, change, test, pause and delete subscriptions; `signal-broker subscribe` creates them."""


@subscriptions.command(
    "list",
    epilog=example(
        "signal-broker subscriptions list --state failing",
        "signal-broker subscriptions list --host hooks.globex.example",
    ),
)
@with_filters(
    name=("Only subscriptions with exactly this name or pattern.", "NAME"),
    tenant_id=("Only subscriptions of this tenant.", "ID"),
    execution_id=("Only subscriptions of this execution.", "ID"),
    host=("Only subscriptions with a webhook at this host.", "HOST"),
    state=(
        "Only subscriptions in this state; failing: left alone; leasable: what waits for a lease.",
        click.Choice(_STATES),
    ),
    after_id=("Only subscriptions with a greater id.", click.IntRange(0, MAX_ID)),
)
@as_json
@with_api(seals=True)
async def list_(api: Api, /, *, limit: int, everything: bool, as_json: bool, **filters: Any) -> None:
    """List subscriptions."""
    page = await api.pages("/v1/subscriptions", read_filters(filters), limit=None if everything else limit)
    show_list(page, *_LISTED, as_json=as_json, shorten=_row)


@subscriptions.command(epilog=example("signal-broker subscriptions show 7"))
@_id
@as_json
@with_api(seals=True)
async def show(api: Api, *, subscription_id: int, as_json: bool) -> None:
    """Show a subscription, its backlog and its circuit."""
    show_answer((await api.get(_path(subscription_id))).body, *_SHOWN, as_json=as_json)


@subscriptions.command(
    epilog=example(
        "signal-broker subscriptions edit 7 --webhook https://new.example.com/hooks --timeout 10",
        "signal-broker subscriptions edit 7 --header 'Authorization=Bearer ...'",
        "signal-broker subscriptions edit 7 --unset filter --unset maxPerSecond",
    )
)
@_id
@with_target
@with_options(SubscriptionOptions)
@click.option(
    "--unset",
    multiple=True,
    type=click.Choice(_CHANGEABLE),
    metavar="OPTION",
    help=f"Remove this option of the subscription; repeatable: {', '.join(_CHANGEABLE)}.",
)
@as_json
@with_api(seals=True)
async def edit(api: Api, /, *, subscription_id: int, unset: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Change a subscription from the next attempt on, its filter from the next signal on.

    What is not given stays, except that --webhook replaces the whole target. Without it, --header, --signature,
    --method and --body-template change the webhook that there is; its other headers stay. The value *** of a header
    keeps the one that it has, as long as the webhook stays at the same host.
    """
    changes = {**dict.fromkeys(unset), **read_target(options, may_be_partial=True), **read_options(options)}
    if not changes:
        raise click.UsageError("say what to change")
    if "kind" not in changes.get("target", {"kind"}):
        changes["target"] = await _complete(api, subscription_id, changes["target"])
    answer = await api.call("PATCH", _path(subscription_id), changes)
    show_answer(answer.body, *_SHOWN, as_json=as_json)


@subscriptions.command(epilog=example("signal-broker subscriptions pause 7"))
@_id
@as_json
@with_api(seals=True)
async def pause(api: Api, *, subscription_id: int, as_json: bool) -> None:
    """Let a subscription's deliveries wait from now on; none is dropped."""
    answer = await api.post(_path(subscription_id) + "/pause")
    show_answer(answer.body, "id", "name", "state", "pausedAt", "backlog", as_json=as_json)


@subscriptions.command(epilog=example("signal-broker subscriptions resume 7 --per-second 50"))
@_id
@click.option("--per-second", type=float, metavar="N", help="How many of the waiting deliveries go each second.")
@as_json
@with_api(seals=True)
async def resume(api: Api, *, subscription_id: int, per_second: float | None, as_json: bool) -> None:
    """Let a paused or disabled subscription get its deliveries again.

    Without --per-second ten of those that wait go in the first second, and ten more in each further one.
    """
    answer = await api.post(_path(subscription_id) + "/resume", {"perSecond": per_second})
    show_answer(answer.body, "id", "name", "state", "backlog", as_json=as_json)


@subscriptions.command("close-circuit", epilog=example("signal-broker subscriptions close-circuit 7"))
@_id
@as_json
@with_api(seals=True)
async def close_circuit(api: Api, *, subscription_id: int, as_json: bool) -> None:
    """Let a subscription's target be tried again at once, and what waits for it follow."""
    await api.post(_path(subscription_id) + "/circuit/close")
    show_one({"id": subscription_id, "circuit": "closed"}, "id", "circuit", as_json=as_json)


@subscriptions.command(
    epilog=example(
        "signal-broker subscriptions test 7", """signal-broker subscriptions test 7 --payload '{"order": 7}'"""
    )
)
@_id
@click.option("--payload", metavar="JSON", help="The payload of the made signal; {} by default.")
@as_json
@with_api(seals=True)
async def test(api: Api, *, subscription_id: int, payload: str | None, as_json: bool) -> None:
    """Make one attempt at a subscription's target with a made signal, and show what came of it.

    Nothing about it is recorded. It ends with status 1 if the attempt did not succeed.
    """
    document = b"{}" if payload is None else b'{"payload": ' + payload.encode() + b"}"
    answer = await api.post(_path(subscription_id) + "/test", document)
    show_answer(answer.body, *_TESTED, as_json=as_json)
    if answer.document["outcome"] != "succeeded":
        raise SystemExit(1)


@subscriptions.command("rotate-secret", epilog=example("signal-broker subscriptions rotate-secret 7"))
@_id
@as_json
@with_api(seals=True)
async def rotate_secret(api: Api, *, subscription_id: int, as_json: bool) -> None:
    """Give a webhook another signing secret and print it; the earlier one also signs for a day."""
    answer = await api.post(_path(subscription_id) + "/rotate-secret")
    show_answer(answer.body, "id", "name", "secret", as_json=as_json)


@subscriptions.command(epilog=example("signal-broker subscriptions delete 7"))
@_id
@as_json
@with_api(seals=True)
async def delete(api: Api, *, subscription_id: int, as_json: bool) -> None:
    """Delete a subscription; the deliveries that it is still owed are cancelled."""
    await api.call("DELETE", _path(subscription_id))
    show_one({"deleted": subscription_id}, "deleted", as_json=as_json)


async def _complete(api: Api, subscription_id: int, given: Fields) -> Fields:
    """Return the webhook that the subscription delivers to, with what is *given* of another one in its place.

    Raises:
        ApiError: There is no such subscription, or it cannot be read.
        UsageError: It delivers to something else, or its URL is not shown.
    """
    document = (await api.get(_path(subscription_id))).document
    present = document["target"]
    if document["steps"] is not None or present["kind"] != "webhook":
        raise click.UsageError(
            "--header, --signature, --method and --body-template go with --webhook: the subscription has no webhook, or"
            " several steps"
        )
    if HIDDEN in present["url"]:
        raise click.UsageError("the URL of the subscription cannot be shown: give it with --webhook")
    replaced = {name.lower() for name in given.get("headers", {})}
    kept = {name: value for name, value in present["headers"].items() if name.lower() not in replaced}
    return {**present, **given, "headers": {**kept, **given.get("headers", {})}}


def _path(subscription_id: int) -> str:
    return f"/v1/subscriptions/{subscription_id}"


def _row(document: Printed) -> Printed:
    backlog = document.get("backlog") or {}
    pulls = document["target"] is not None and document["target"]["kind"] == "pull"
    leasable = backlog.get("leasable") if pulls else None
    return {**show_targets(document), "parked": backlog.get("parked"), "leasable": leasable}
