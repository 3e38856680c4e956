"""Handlers of a billing service. In this folder: signal-broker run --app billing:handlers."""

import sqlite3
from datetime import timedelta

from pydantic import BaseModel

from workers.handlers import GiveUp, Handlers, ReceivedSignal, TryLater

handlers = Handlers("billing")


class Paid(BaseModel):
    """What `order.paid` carries."""

    order: int
    cents: int
    currency: str = "EUR"


@handlers.on("order.paid", retry=[1, 5, 30], concurrency=4, timeout=10)
def book(payload: Paid, signal: ReceivedSignal) -> None:
    """Book an invoice; the delivery's id is the same on every attempt, so that a repeat changes nothing."""
    if payload.currency != "EUR":
        raise GiveUp(f"there are no books in {payload.currency}")
    books = sqlite3.connect("billing.db")
    try:
        with books:
            books.execute(
                "CREATE TABLE IF NOT EXISTS invoices (delivery TEXT PRIMARY KEY, number INTEGER, cents INTEGER)"
            )
            row = (signal.delivery_id, payload.order, payload.cents)
            books.execute("INSERT INTO invoices VALUES (?, ?, ?) ON CONFLICT DO NOTHING", row)
    except sqlite3.OperationalError as error:
        raise TryLater(timedelta(minutes=1), f"the books cannot be written: {error}") from error
    finally:
        books.close()


@handlers.on("order.#", tenant_id="acme", filter={"cents": {"operator": "NUM_GT", "value": "100000"}}, max_per_second=2)
async def tell_sales(payload: dict[str, object], signal: ReceivedSignal) -> None:
    """Report each of acme's large orders to sales."""
    print(f"{signal.name}: {payload['order']}", flush=True)
