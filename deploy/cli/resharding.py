"""``topology --record-shards N --attempt-shards M`` splits the queues, while everything runs; ``doctor`` judges it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta

import click

from broker.errors import TransportError, Unroutable
from broker.operations.resharding import Resharder
from broker.store.postgres.database import Database
from broker.store.shards import ShardStore
from broker.topology import MOST_SHARDS, RECORD, Sharding, shard_names
from broker.transport import Transport
from broker.transport.sharding import ShardingTransport
from deploy.cli.admin import Admin, with_store
from deploy.cli.findings import Finding
from deploy.cli.output import say, show_json


@with_store
async def reshard(admin: Admin, numbers: Mapping[str, int], *, as_json: bool) -> None:
    """Split each queue of *numbers* into so many shards, and say on the way what is being done."""
    async with admin.transport() as transport:
        if not isinstance(transport, ShardingTransport):
            raise click.ClickException("only RabbitMQ as the transport splits queues: see SIGNAL_BROKER_TRANSPORT_URL")
        resharder = Resharder(ShardStore(admin.database), transport, timeout=admin.settings.confirm_timeout)
        for queue, count in numbers.items():
            async for step in resharder.reshard(queue, count):
                say(f"{queue}: {step}", err=True)
            if not as_json:
                say(f"{queue} is split into {count} queues" if count > 1 else f"{queue} is one queue")
    if as_json:
        show_json({"shards": dict(numbers)})


async def judge_shards(database: Database, transport: Transport, timeout: timedelta) -> Finding:
    """Return whether each queue has as many shards as it should, and none beside these, which would not be consumed."""
    numbers = await ShardStore(database).read()
    try:
        troubles = [await _find_trouble(transport, queue, numbers[queue], timeout) for queue in numbers]
    except TransportError as error:
        return Finding("warn", "shards", f"cannot be seen ({error}): see `rabbitmq-diagnostics status`")
    if found := next(filter(None, troubles), None):
        return found
    split = [f"{queue} is split into {known.published}" for queue, known in numbers.items() if known.published > 1]
    return Finding("ok", "shards", ", ".join(split) or "no queue is split")


async def _find_trouble(transport: Transport, queue: str, known: Sharding, timeout: timedelta) -> Finding | None:
    option = "--record-shards" if queue == RECORD else "--attempt-shards"
    command = f"`signal-broker topology {option} {known.published}`"
    if known.consumed > known.published:
        return Finding(
            "warn", "shards", f"{queue} is being split anew, or that was interrupted: then {command} completes it"
        )
    for name in shard_names(queue, min(known.consumed + 1, MOST_SHARDS), first=known.consumed):
        with suppress(Unroutable):
            depth = await transport.depth(name, timeout=timeout)
            return Finding(
                "fail" if depth else "warn",
                "shards",
                f"{name} has no consumers, and {depth} messages wait in it: {command} has them consumed and deletes it",
            )
    return None
