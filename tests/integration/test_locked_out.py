"""A running product that PostgreSQL refuses, for any reason, answers "not now", and goes on once it may."""

from __future__ import annotations

from tests.support.eventually import eventually
from tests.support.product import Process, client_of
from tests.support.roles import LOCKOUTS, role_of
from tests.support.throwing import delivery, recorded, subscribe, throw


async def test_whatever_postgresql_refuses_nothing_ends_and_nothing_is_lost(
    database_url, postgres_url, tmp_path, webhooks, name
):
    async with role_of(database_url, postgres_url) as role:
        environment = {"STORE_URL": role.url(), "DATA_DIR": str(tmp_path)}
        async with Process("run", environment=environment, log=tmp_path / "log") as process:
            async with client_of(process.url) as client:
                subscription = await subscribe(client, name, webhooks.url("/hook"))
                for lockout in LOCKOUTS.values():
                    signal = await throw(client, name)
                    async with lockout(role):
                        await refuses(client, name)
                    await recorded(client, signal["id"])
                    await delivery(client, signal, subscription, "delivered")
            assert await process.stop() == 0
    assert "request.failed" not in process.log.read_text()


async def refuses(client, name):
    """Wait until the gateway is not ready; it may accept throws until then, and answers 503 to others."""

    async def is_not_ready():
        status, _, body = await client.request("GET", "/readyz")
        assert status in {200, 503}, body
        return status == 503

    async def throw_is_refused():
        status, headers, body = await client.request("POST", "/v1/signals", json={"name": name})
        assert status in {202, 503}, body
        return status == 503 and headers["Retry-After"] == "1"

    await eventually(is_not_ready)
    await eventually(throw_is_refused)
    assert (await client.request("GET", "/v1/ledger"))[0] in {200, 503}
    assert (await client.caller("sb_unknown").request("GET", "/v1/ledger"))[0] in {401, 503}
    assert (await client.request("GET", "/livez"))[0] == 200
