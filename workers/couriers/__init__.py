"""Couriers: one for each kind of target; a deliverer has them make its attempts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple, Protocol

from broker.deliveries import Result
from broker.store.deliveries.attempts import Claimed


class Sent(NamedTuple):
    """What an attempt sends: headers and a body."""

    headers: Mapping[str, str]
    body: bytes


class Courier(Protocol):
    """Makes attempts at the targets of one kind."""

    def preview(self, claimed: Claimed) -> Sent:
        """Return what the attempt *claimed* sends, as far as that is known beforehand; empty if it cannot be sent."""
        ...

    async def deliver(self, claimed: Claimed, *, timeout: timedelta) -> Result:
        """Make the attempt *claimed* within *timeout*. A mistake of the receiver is a result, not an error."""
        ...
