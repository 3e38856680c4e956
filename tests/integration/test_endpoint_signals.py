"""What came in by signal endpoints, as Unleash's administration lists it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.eventually import eventually
from tests.support.throwing import endpoint, fresh_id, recorded, token

ROOT = "/api/admin/signal-endpoints"


async def call(client, made, value, *payloads):
    """Call an endpoint with each of *payloads*; return the signals once they are recorded."""
    caller = client.caller(value)
    signals = []
    for payload in payloads:
        status, _, body = await caller.request("POST", f"/api/signal-endpoint/{made['name']}", json=payload)
        assert status == 200, body
        signals += body["signals"]
    for signal in signals:
        await recorded(client, signal["id"])
    return signals


@pytest.mark.slow
async def test_an_endpoints_signals_are_listed_newest_first_page_by_page(client):
    made, value = await endpoint(client)
    thrown = await call(client, made, value, {"n": 1}, {"n": 2}, {"n": 3})
    path = f"{ROOT}/{made['id']}/signals"

    whole = await client.get(path)

    assert set(whole) == {"signalEndpointSignals"}
    assert whole["signalEndpointSignals"] == [
        {
            "id": signal["id"],
            "source": "signal-endpoint",
            "sourceId": made["id"],
            "createdAt": signal["createdAt"],
            "tokenName": "first",
            "payload": signal["payload"],
        }
        for signal in reversed(thrown)
    ]
    page = await client.get(f"{path}?limit=1&offset=1")
    assert [signal["payload"] for signal in page["signalEndpointSignals"]] == [{"n": 2}]
    assert await client.get(f"{path}?limit=none&offset=-3") == whole
    assert (await client.get(f"{path}?offset=3"))["signalEndpointSignals"] == []


async def test_a_signal_outlives_its_token_and_its_endpoint(client):
    made, value = await endpoint(client, description="d")
    await call(client, made, value, {})
    reader = client.caller(await token(client, "signals:read", names=[made["name"]]))

    async def found():
        [signal] = (await reader.get("/api/admin/signals"))["signals"]
        return signal["tokenName"], signal["sourceName"], signal["sourceDescription"]

    [of_it] = (await client.get(f"{ROOT}/{made['id']}/tokens"))["signalEndpointTokens"]
    assert await found() == ("first", made["name"], "d")
    await client.request("DELETE", f"{ROOT}/{made['id']}/tokens/{of_it['id']}")
    assert await found() == (None, made["name"], "d")
    await client.request("DELETE", f"{ROOT}/{made['id']}")
    assert await found() == (None, None, None)


async def test_all_signals_are_listed_with_their_total(client):
    made, value = await endpoint(client)
    thrown = await call(client, made, value, {"n": 1}, {"n": 2}, {"n": 3})
    native = await client.post("/v1/signals", {"name": made["name"]}, expect=202)
    await recorded(client, native["id"])
    reader = client.caller(await token(client, "signals:read", names=[made["name"]]))

    answer = await reader.get("/api/admin/signals?limit=2")

    assert set(answer) == {"signals", "total"}
    assert answer["total"] == 3
    assert [signal["id"] for signal in answer["signals"]] == [thrown[2]["id"], thrown[1]["id"]]
    keys = {"id", "source", "sourceId", "createdAt", "payload", "tokenName", "sourceName", "sourceDescription"}
    assert set(answer["signals"][0]) == keys
    rest = await reader.get("/api/admin/signals?limit=2&offset=2")
    assert [signal["id"] for signal in rest["signals"]] == [thrown[0]["id"]]
    assert await reader.get("/api/admin/signals?offset=3") == {"signals": [], "total": 3}
    for ignored in ("limit=0", "limit=1001", "limit=x", "offset=x", "offset=-1", "offset=" + "9" * 30):
        assert len((await reader.get(f"/api/admin/signals?{ignored}"))["signals"]) == 3


async def test_a_reader_sees_the_signals_of_its_names_only(client):
    made, value = await endpoint(client)
    other, other_value = await endpoint(client)
    await call(client, made, value, {"n": 1}, {"n": 2})
    await call(client, other, other_value, {"n": 3})
    mine = await token(client, "signals:read", "endpoints:manage", names=["x.y", f"#.{made['name']}"], tenants=[])
    reader = client.caller(mine)

    answer = await reader.get("/api/admin/signals")

    assert [signal["payload"]["n"] for signal in answer["signals"]] == [2, 1]
    assert answer["total"] == 2
    assert len((await reader.get(f"{ROOT}/{made['id']}/signals"))["signalEndpointSignals"]) == 2
    assert (await reader.get(f"{ROOT}/{other['id']}/signals"))["signalEndpointSignals"] == []


async def test_a_renamed_endpoints_signals_stay_with_it(client):
    made, value = await endpoint(client)
    await call(client, made, value, {"n": 1})
    renamed = {**made, "name": fresh_id("endpoint")}
    await client.request("PUT", f"{ROOT}/{made['id']}", json={"name": renamed["name"]})

    async def calls():
        return (await client.caller(value).request("POST", f"/api/signal-endpoint/{renamed['name']}"))[0] == 200

    await eventually(calls)
    await call(client, renamed, value, {"n": 2})

    signals = (await client.get(f"{ROOT}/{made['id']}/signals"))["signalEndpointSignals"]
    assert (signals[0]["payload"], signals[-1]["payload"]) == ({"n": 2}, {"n": 1})


@pytest.mark.parametrize(
    "query",
    ["from=2026-11-22", "from=IS:2026-02-30", "to=IS:0000-01-01", "to=IS:2026-1-1", "to=", "from=IS:%D9%A2026-01-01"],
)
async def test_what_is_no_day_is_refused(client, query):
    status, _, error = await client.request("GET", f"/api/admin/signals?{query}")

    assert (status, error["name"]) == (400, "BadDataError")
    assert error["details"][0]["path"] == query.partition("=")[0]


async def test_the_last_of_all_days_is_a_day(client):
    made, value = await endpoint(client)
    await call(client, made, value, {})
    reader = client.caller(await token(client, "signals:read", names=[made["name"]]))
    yesterday = datetime.now(UTC).date() - timedelta(days=1)

    for days in (f"from=IS:{yesterday}&to=IS:9999-12-31", "from=IS:0001-01-01"):
        assert (await reader.get(f"/api/admin/signals?{days}"))["total"] == 1


async def test_reading_needs_its_permission(client):
    caller = client.caller(await token(client, "signals:throw", "endpoints:manage"))

    status, _, error = await caller.request("GET", "/api/admin/signals")

    assert (status, error["name"]) == (403, "PermissionError")


@pytest.mark.slow
async def test_a_page_of_many_megabytes_is_complete(client):
    """The gateway reads it, and sends it, a few megabytes at a time."""
    made, value = await endpoint(client)
    await call(client, made, value, *({"n": n, "text": "x" * 100_000} for n in range(50)))
    listed = (await client.get(f"{ROOT}/{made['id']}/signals"))["signalEndpointSignals"]
    assert [signal["payload"]["n"] for signal in listed] == [*reversed(range(50))]
    found = await client.get("/api/admin/signals?limit=1000")
    assert [s["payload"]["n"] for s in found["signals"] if s["sourceId"] == made["id"]] == [*reversed(range(50))]
    assert found["total"] >= 50
