"""The reconciler: gathers what was thrown, recorded and received, and compares it id by id."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pika.exceptions import ChannelClosedByBroker  # type: ignore[import-untyped]

from tests.support import queues
from tests.support.audience import Audience
from tests.support.books import SLOWEST_ANSWER, Books, Receipt, Reconciliation, compare
from tests.support.load import KINDS, Load
from tests.support.product import Client
from tests.support.receiver import Receiver


async def recorded_signals(client: Client, prefix: str) -> dict[int, Any]:
    """Return the payload of every recorded signal whose name begins with *prefix*, by id."""
    signals = {}
    for name in {str(kind["name"]) for kind in KINDS.values()}:
        after = "0"
        while after is not None:
            page = await client.get(f"/v1/signals?name={prefix}.{name}&limit=1000&afterId={after}")
            signals |= {item["id"]: item["payload"] for item in page["items"]}
            after = page["next"]
    return signals


async def settled(client: Client, load: Load) -> bool:
    """Return whether everything that was accepted is recorded, and nothing is waiting or on its way."""
    if not await nothing_waits(client):
        return False
    recorded = await recorded_signals(client, load.prefix)
    return load.accepted.keys() <= recorded.keys() and await nothing_waits(client)


async def nothing_waits(client: Client) -> bool:
    """Return whether nothing awaits its record, and no delivery is pending or parked."""
    status, _, ledger = await client.request("GET", "/v1/ledger")
    if status != 200:
        return False
    return not ledger["awaitingRecord"] + ledger["deliveries"]["pending"] + ledger["deliveries"]["parked"]


async def reconcile(
    client: Client,
    load: Load,
    audience: Audience,
    receiver: Receiver,
    *,
    before: Mapping[str, Any],
    ready: float,
    slowest: float = SLOWEST_ANSWER,
) -> Reconciliation:
    """Compare what *load* threw with what is recorded and what *audience* took, once it is `settled`.

    Args:
        client: Talks to the product.
        load: What was thrown.
        audience: Who must get what; its queues are emptied.
        receiver: Took the webhooks.
        before: The ledger before the load.
        ready: Since when (monotonic seconds) every throw must be accepted.
        slowest: How long (seconds) an answer may take.
    """
    subscribers = audience.subscribers
    ledgers = {
        name: await client.get(f"/v1/ledger?subscriptionId={subscriber.id}") for name, subscriber in subscribers.items()
    }
    receipts = {name: _webhooks(receiver, subscriber.address) for name, subscriber in subscribers.items()}
    gone: list[str] = []
    if "queue" in subscribers:
        receipts["queue"] = await messages_of(audience.vhost, subscribers["queue"].address, gone)
    comparison = compare(
        Books(
            throws=load.throws,
            signals=await recorded_signals(client, load.prefix),
            subscribers=subscribers,
            receipts=receipts,
            tap=await messages_of(audience.vhost, audience.tap, gone) if audience.tap else None,
            ledgers=ledgers | {"everybody": await client.get("/v1/ledger")},
            before=before,
            ready=ready,
            slowest=slowest,
        )
    )
    return replace(comparison, violations=[*gone, *comparison.violations])


def _webhooks(receiver: Receiver, path: str) -> list[Receipt]:
    receipts = []
    for request in receiver.requests:
        if request.path == path:
            document = json.loads(request.body)
            delivery_id = frozenset({document["deliveryId"], request.headers["webhook-id"]})
            receipts.append(Receipt(document["id"], document["payload"], delivery_id, request.answer.takes))
    return receipts


async def messages_of(vhost: str, queue: str, gone: list[str]) -> list[Receipt]:
    """Return what *queue* holds, and empty it; if RabbitMQ cannot tell, add a sentence to *gone* that says why."""
    try:
        (messages,) = await queues.take(vhost, queue)
    except ChannelClosedByBroker as error:
        gone.append(f"the queue {queue} cannot be read: {error.reply_text}")
        return []
    return [
        Receipt(
            properties.headers["signal-id"],
            json.loads(body),
            frozenset({str(properties.headers["delivery-id"])} if "delivery-id" in properties.headers else ()),
        )
        for _, properties, body in messages
    ]
