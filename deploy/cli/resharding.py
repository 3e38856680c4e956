"""``topology --record-shards N --attempt-shards M`` splits the queues, while everything runs; ``doctor`` judges it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta

import click

from broker.errors import StoreRefusal, StoreUnavailable, TransportError, Unroutable
from broker.operations.resharding import Resharder
from broker.settings import Settings
from broker.store.postgres.database import Database
from broker.store.shards import ShardStore
from broker.topology import MOST_SHARDS, RECORD, Sharding, shard_names, shard_topology
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


async def declare_shards(settings: Settings, transport: Transport) -> None:
    """Declare the shards that the store knows of; say so if it cannot be asked.

    Raises:
        ConfigurationError: One exists with other arguments, or may not be declared.
    """
    async with Database(settings.store_url, timeout=settings.store_timeout, size=1) as database:
        try:
            numbers = await ShardStore(database).read()
        except StoreRefusal:  # nothing is split before `migrate`
            return
        except StoreUnavailable as error:
            say(f"whether queues are split is not known ({error}): if they are, call this again later", err=True)
            return
    for queue, known in numbers.items():
        await transport.declare(shard_topology(queue, known.count))


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
    if known.count > known.published:
        return Finding(
            "warn", "shards", f"{queue} is being split anew, or that was interrupted: then {command} completes it"
        )
    found: dict[str, int] = {}
    with suppress(Unroutable):
        for name in shard_names(queue, MOST_SHARDS, first=known.count):
            found[name] = await transport.depth(name, timeout=timeout)
    if not found:
        return None
    depth = sum(found.values())
    return Finding(
        "fail" if depth else "warn",
        "shards",
        f"{', '.join(found)} have no consumers, and {depth} messages wait there: {command} has them consumed and"
        " deletes the queues",
    )
