"""Pull targets during an upgrade: a gateway of this version beside all roles of the one that knew no such target."""

from __future__ import annotations

import pytest

from tests.support.leasing import Puller
from tests.support.product import Process, client_of
from tests.support.releases import previous_release

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


async def test_the_version_before_records_and_releases_what_is_leased_beside_it(database_url, name, tmp_path):
    previous = previous_release(tmp_path / "previous", before="0040")
    environment = {"STORE_URL": database_url, "DATA_DIR": str(tmp_path)}
    earlier = Process("run", environment=environment, log=tmp_path / "earlier", command=previous)
    gateway = Process("gateway", environment=environment, log=tmp_path / "gateway")
    async with earlier, gateway, client_of(earlier.url) as old, client_of(gateway.url) as new:
        puller, other = Puller(new, name), Puller(old, name)
        await puller.subscribe(retry={"schedule": [0, 0]}, ordered=True)
        first = await other.throw({"n": 1}, orderingKey="k")
        second = await other.throw({"n": 2}, orderingKey="k")
        leased = await puller.lease_one()
        assert leased["signal"]["id"] == first
        await puller.settle("fail", leased)
        await puller.settle("ack", await puller.lease_one())
        leased = await puller.lease_one()
        assert leased["signal"]["id"] == second

        shown = await old.get(puller.path)
        assert shown["target"] == {"kind": "queue", "queue": "deliveries.attempt.pull"}
        assert (await old.get(f"/v1/deliveries/{leased['deliveryId']}"))["state"] == "pending"
        explained = await old.post("/v1/signals/explain", {"name": name})
        assert [one["subscriptionId"] for one in explained["matches"] if one["matches"]] == [puller.subscription_id]
        await old.post(f"{puller.path}/pause", {})
        await old.post(f"{puller.path}/resume", {})
        await puller.settle("ack", leased)
        books = await old.get(f"/v1/ledger?subscriptionId={puller.subscription_id}")
        assert (books["deliveries"]["delivered"], books["unaccounted"]) == (2, 0)
        assert (await old.request("GET", "/readyz"))[0] == 200
    assert "exception" not in (tmp_path / "earlier").read_text()
