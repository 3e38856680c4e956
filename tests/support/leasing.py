"""A worker that leases deliveries over HTTP."""

from __future__ import annotations

from typing import Any

from tests.support.product import Client


class Puller:
    """Subscribes with a pull target, leases what that gets, and says how it went.

    Args:
        client: Calls a gateway.
        name: The signals' name.
    """

    def __init__(self, client: Client, name: str) -> None:
        self.client = client
        self.name = name
        self.subscription_id = 0

    @property
    def path(self) -> str:
        """The subscription's path."""
        return f"/v1/subscriptions/{self.subscription_id}"

    async def subscribe(self, **options: Any) -> None:
        """Create the subscription."""
        document = {"name": self.name, "target": {"kind": "pull"}, **options}
        self.subscription_id = (await self.client.post("/v1/subscriptions", document, expect=201))["id"]

    async def throw(self, payload: object = None, **more: Any) -> int:
        """Throw a signal; return its id."""
        document = {"name": self.name, "payload": {} if payload is None else payload, **more}
        return (await self.client.post("/v1/signals", document, expect=202))["id"]  # type: ignore[no-any-return]

    async def lease(self, **wanted: Any) -> list[dict[str, Any]]:
        """Return the deliveries that are leased."""
        return (await self.client.post(f"{self.path}/lease", wanted))["deliveries"]  # type: ignore[no-any-return]

    async def lease_one(self, **wanted: Any) -> dict[str, Any]:
        """Return a delivery, once one can be leased."""
        [leased] = await self.lease(max=1, waitSeconds=30, **wanted)
        return leased

    async def settle(self, what: str, *leased: dict[str, Any], **wanted: Any) -> list[str | None]:
        """Do `ack`, `fail`, `return` or `extend`; return the errors, None for what was done."""
        tokens = [one["leaseToken"] for one in leased]
        answer = await self.client.post(f"/v1/leases/{what}", {"leaseTokens": tokens, **wanted}, expect=200)
        assert [one["leaseToken"] for one in answer["results"]] == tokens
        assert all(one["ok"] == (one["error"] is None) for one in answer["results"])
        return [one["error"] for one in answer["results"]]

    async def delivery(self, leased: dict[str, Any]) -> dict[str, Any]:
        """Return the delivery that was leased, as it is now."""
        return await self.client.get(f"/v1/deliveries/{leased['deliveryId']}")  # type: ignore[no-any-return]
