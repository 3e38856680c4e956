"""Callbacks: URLs by which receivers permit webhooks later (HTTP 1.1 Web Hooks for Event Delivery, 4.1.3).

A callback has a sealed key, which says whose permission it is: nothing is stored until it is called, any gateway
can open it, and no caller can forge one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Self

from broker.errors import SecretUnreadable
from broker.secrets import SecretBox, sealing_moment

PATH = "/v1/webhook-permissions"
KEY_LIMIT = 1000
"""The most characters that a key may have."""
VALID_FOR = timedelta(hours=24)
"""How long a callback may be called. An attempt that asks later has a new one."""
_PURPOSE = "webhook permission"
"""What a key begins with, so that nothing else that is sealed is taken for one."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """Who is asked for permission: the receiver at one URL, by one origin, for one subscription.

    Args:
        subscription_id: The subscription's id.
        digest: SHA-256 of origin and URL, which may hold credentials, in hexadecimal.
    """

    subscription_id: int
    digest: str

    @classmethod
    def at(cls, url: str, origin: str, *, subscription_id: int) -> Self:
        """Return the receiver at *url*, asked by *origin*."""
        return cls(subscription_id, sha256(f"{origin.lower()} {url}".encode()).hexdigest())


class Callbacks:
    """Makes the URLs of callbacks, and reads the keys in them.

    Args:
        secrets: The key ring, which is the same for every process.
        public_url: Where receivers reach the gateways; empty if that is not known.
    """

    def __init__(self, secrets: SecretBox, public_url: str) -> None:
        self._secrets = secrets
        self._public_url = public_url

    def url_for(self, receiver: Receiver) -> str | None:
        """Return the URL that *receiver* gives permission by, None without a public URL."""
        if not self._public_url:
            return None
        sealed = self._secrets.seal(f"{_PURPOSE} {receiver.subscription_id} {receiver.digest}").decode()
        return f"{self._public_url}{PATH}?key={sealed.rstrip('=')}"

    def read(self, key: str, *, now: datetime) -> Receiver | None:
        """Return whose permission *key* is; None if it is no key, or was made more than `VALID_FOR` before *now*."""
        sealed = (key + "=" * (-len(key) % 4)).encode(errors="replace")
        try:
            text = self._secrets.open(sealed)
        except SecretUnreadable:
            return None
        purpose, _, whose = text.partition(f"{_PURPOSE} ")
        if purpose or not whose or now - sealing_moment(sealed) > VALID_FOR:
            return None
        subscription_id, digest = whose.split(" ")
        return Receiver(int(subscription_id), digest)
