"""An app of handlers for tests: each call is told to a webhook receiver, whose answer decides how it ends."""

from __future__ import annotations

import os
import urllib.request
from datetime import timedelta
from typing import Any

import aiohttp
from pydantic import BaseModel

from workers.handlers import GiveUp, Handlers, ReceivedSignal, TryLater

NAME = os.environ["SHOP_SIGNAL"]
handlers = Handlers(os.environ["SHOP_APP"])


class Order(BaseModel):
    """What is told, and to whom."""

    order: int
    url: str


@handlers.on(f"{NAME}.paid", retry=[0.1, 0.2, 0.3], concurrency=2, timeout=20)
async def book(payload: Order, signal: ReceivedSignal) -> None:
    """Tell the receiver, and do as it says."""
    told: dict[str, Any] = {
        "order": payload.order,
        "delivery": signal.delivery_id,
        "attempt": signal.attempt,
        "tenant": signal.tenant_id,
        "traceparent": signal.traceparent,
    }
    async with aiohttp.ClientSession() as session, session.post(payload.url, json=told) as answer:
        match answer.status:
            case 410:
                raise GiveUp("the order was cancelled")
            case 429:
                raise TryLater(timedelta(seconds=1), "the ledger is closed")
            case status if status >= 400:
                raise RuntimeError(f"the receiver answered {status}\nand more")


@handlers.on(f"{NAME}.sent.#", retry=[], tenant_id="acme")
def print_label(payload: Order) -> None:
    """Tell the receiver from a thread."""
    urllib.request.urlopen(payload.url, data=b"{}", timeout=10).close()
