"""Couriers: one for each kind of target; a deliverer has them make its attempts."""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

from broker.deliveries import Result
from broker.store.deliveries.attempts import Claimed


class Courier(Protocol):
    """Makes attempts at the targets of one kind."""

    async def deliver(self, claimed: Claimed, *, timeout: timedelta) -> Result:
        """Make the attempt *claimed* within *timeout*. A mistake of the receiver is a result, not an error."""
        ...
