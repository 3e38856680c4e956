"""How a team tests its handlers: neither store nor broker is needed."""

import asyncio

from billing import handlers

from workers.handlers import Outcome


def test_an_order_that_was_paid_is_booked() -> None:
    """Matching handlers are called, by the rules that match signals."""
    outcomes = asyncio.run(handlers.try_out("order.paid", {"order": 7, "cents": 1200}))
    assert {name: result.outcome for name, result in outcomes.items()} == {"book": Outcome.SUCCEEDED}


def test_dollars_are_not_booked() -> None:
    """A result also says why."""
    outcomes = asyncio.run(handlers.try_out("order.paid", {"order": 8, "cents": 500, "currency": "USD"}))
    assert (outcomes["book"].outcome, outcomes["book"].error) == (Outcome.GIVEN_UP, "there are no books in USD")


def test_a_large_order_is_reported_to_sales() -> None:
    """The scope is given as in a throw."""
    outcomes = asyncio.run(handlers.try_out("order.sent", {"order": 9, "cents": 250_000}, tenant_id="acme"))
    assert list(outcomes) == ["tell_sales"]
