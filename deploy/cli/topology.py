"""``topology``: the exchanges, queues and bindings in RabbitMQ."""

from __future__ import annotations

from dataclasses import asdict

import click

from broker.settings import Settings
from broker.topology import ATTEMPT, MOST_SHARDS, RECORD, RETIRED, TOPOLOGY, Topology
from broker.transport import Transport
from deploy.cli.admin import with_transport
from deploy.cli.backends import EMBEDDED
from deploy.cli.output import as_json, example, say, show_json, show_table
from deploy.cli.resharding import declare_shards, reshard

_COUNT = click.IntRange(1, MOST_SHARDS)


@click.command(
    epilog=example(
        "signal-broker topology --json",
        "signal-broker topology --apply",
        "signal-broker topology --record-shards 3 --attempt-shards 3",
    )
)
@click.option("--apply", is_flag=True, help="Declare those that do not exist yet.")
@click.option("--prune", is_flag=True, help="Also remove bindings that only gateways of earlier versions need.")
@click.option("--record-shards", type=_COUNT, metavar="N", help=f"Split {RECORD} into N queues (1: only itself).")
@click.option("--attempt-shards", type=_COUNT, metavar="N", help=f"Split {ATTEMPT} into N queues (1: only itself).")
@as_json
def topology(*, apply: bool, prune: bool, record_shards: int | None, attempt_shards: int | None, as_json: bool) -> None:
    """Show the exchanges, queues and bindings of the product.

    Processes declare them when they start, and again when they are lost. --apply declares them beforehand, with a
    RabbitMQ user that has the permission `configure`; then the processes do not need it, and wait for this. It changes
    nothing that exists, and does not need PostgreSQL, unless the transport is `embedded:`, or queues are split: their
    numbers of shards are there. --prune is the last step of
    an upgrade, when no gateway of an earlier version runs any more; it says what it removed, as far as the transport
    tells.

    --record-shards and --attempt-shards split a queue, so that several leaders of RabbitMQ share its work, or join it
    again. They need PostgreSQL, declare what is missing, and take half a minute or longer, while everything goes on.
    Interrupted, they go on when they are called again.
    """
    if prune and not apply:
        raise click.UsageError("--prune needs --apply")
    wanted = {RECORD: record_shards, ATTEMPT: attempt_shards}
    if numbers := {queue: count for queue, count in wanted.items() if count is not None}:
        if prune:
            raise click.UsageError("--prune is a step of its own, without numbers of shards")
        reshard(numbers, as_json=as_json)
    elif apply:
        _apply(prune=prune, as_json=as_json)
    elif as_json:
        show_json(_document() | {"applied": False, "pruned": False})
    else:
        _show()


@with_transport
async def _apply(settings: Settings, transport: Transport, *, prune: bool, as_json: bool) -> None:
    await transport.declare(Topology(bindings=TOPOLOGY.bindings))  # they may have been left for later
    if EMBEDDED not in (settings.store_url, settings.transport_url):
        await declare_shards(settings, transport)
    removed = await transport.unbind(RETIRED) if prune else 0
    if as_json:
        show_json(_document() | {"applied": True, "pruned": prune, "removed": removed})
        return
    _show()
    say("\neverything is declared" + (_tell_removed(removed) if prune else ""))


def _tell_removed(count: int | None) -> str:
    if count is None:  # RabbitMQ answers the same, whether there was one or not
        return ", and bindings that only earlier versions need are removed, if there were any"
    if not count:
        return "; there was nothing to prune: no binding of an earlier version is left"
    return f", and {count} bindings that only earlier versions need are removed"


def _document() -> dict[str, object]:
    return {
        "exchanges": [asdict(exchange) for exchange in TOPOLOGY.exchanges],
        "queues": [{"name": queue.name, "arguments": queue.arguments} for queue in TOPOLOGY.queues],
        "bindings": [asdict(binding) for binding in TOPOLOGY.bindings],
    }


def _show() -> None:
    show_table(["exchange", "kind"], [[exchange.name, exchange.kind] for exchange in TOPOLOGY.exchanges])
    say("")
    arguments = [[queue.name, key, str(value)] for queue in TOPOLOGY.queues for key, value in queue.arguments.items()]
    show_table(["queue", "argument", "value"], arguments)
    say("")
    bindings = [[b.source, b.routing_key or "-", b.destination, b.to] for b in TOPOLOGY.bindings]
    show_table(["from", "routing key", "to", "which is"], bindings)
