"""``recover``: poison is put back into the queue that it came from."""

from __future__ import annotations

import sys

import click

from broker.errors import Unroutable
from broker.operations.books import BookReader
from broker.operations.recovery import recover as recover_queue
from broker.topology import dead_letters
from broker.transport import Transport
from deploy.cli.admin import Admin, with_store
from deploy.cli.output import as_json, example, show_many


@click.command(
    epilog=example(
        "signal-broker recover --dry-run",
        "signal-broker recover signals.record",
    )
)
@click.argument("queue", required=False)
@click.option("--dry-run", is_flag=True, help="Only count.")
@as_json
@with_store
async def recover(admin: Admin, /, *, queue: str | None, dry_run: bool, as_json: bool) -> None:
    """Put the messages of the dead queues, or of that of QUEUE, back into the queues that they came from.

    Do this once the cause is mended: a message that still cannot be handled becomes poison again. The product may run
    meanwhile; messages that become poison now stay.
    """
    timeout = admin.settings.confirm_timeout
    async with admin.transport() as transport:
        known = await BookReader(admin.database, transport, timeout=timeout).consumed_queues()
        wanted = known if queue is None else [_find(queue, known)]
        counts = [(one, await _count(admin, transport, one)) for one in wanted]
        rows, left = [], []
        for one, count in counts:
            moved = count if dry_run else await _recover(admin, transport, one, count)
            rows.append({"deadQueue": dead_letters(one), "queue": one, "messages": moved})
            if moved < count and await _count(admin, transport, one):
                left.append(dead_letters(one))
    show_many(rows, "deadQueue", "queue", "messages", as_json=as_json)
    if left:
        raise click.ClickException(
            f"messages are left in {', '.join(left)}: they did not come in time, or the RabbitMQ user may not read it"
        )


def _find(given: str, known: list[str]) -> str:
    for queue in known:
        if given in {queue, dead_letters(queue)}:
            return queue
    names = ", ".join(map(dead_letters, known))
    raise click.ClickException(f"{given!r} is not one of the product's queues; the dead queues are {names}")


async def _count(admin: Admin, transport: Transport, queue: str) -> int:
    try:
        return await transport.depth(dead_letters(queue), timeout=admin.settings.confirm_timeout)
    except Unroutable:
        return 0  # of an app without a worker so far


async def _recover(admin: Admin, transport: Transport, queue: str, count: int) -> int:
    total = 0
    with click.progressbar(length=count, label=queue, file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        async for moved in recover_queue(transport, queue, count, timeout=admin.settings.confirm_timeout):
            total += moved
            bar.update(moved)
    return total
