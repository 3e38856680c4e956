"""Signals are found by what their payloads and keys hold, page by page, however little a page looks into."""

from __future__ import annotations

import asyncio
import json
import random
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest

from broker.searches import Search
from broker.store import pages
from broker.store.signals import listing
from tests.support.hostile import measuring_lag
from tests.support.throwing import fresh_id, recorded, throw, token

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
PAYLOADS = {
    "plain": '{"invoice": "INV-92", "customer": {"id": 7}, "items": [{"sku": "a"}, {"sku": "b"}]}',
    "other": '{"invoice": "INV-93", "customer": {"id": 77}, "items": [{"sku": "ab"}]}',
    "escaped": r'{"\u0069nvoice": "INV\u002d92", "customer": {"id": 7.0}, "items": [], "note": "M\u00dcLLER"}',
    "written differently": '{"invoice": null, "customer": {"id": 0.7e1}, "items": [{"sku": true}]}',
    "half a pair": r'{"invoice": "\ud800", "customer.id": "7", "note": "müller"}',
    "special": '{"invoice": "100%_", "a_b": "x%y", "a-b": "x-y"}',
    "no object": '["INV-92"]',
    "a text": '"inv-92"',
    "long": json.dumps({"invoice": "INV-92", "note": "x" * 3000}),
}
PATH = "must name a path of at most 500 characters, without U+0000"
SEARCHES = [
    (Search(values=(("invoice", "INV-92"),)), {"plain", "escaped", "long"}),
    (Search(values=(("invoice", "inv-92"),)), set()),
    (Search(values=(("invoice", "INV-9"),)), set()),
    (Search(values=(("invoice", "null"),)), {"written differently"}),
    (Search(values=(("invoice", "100%_"),)), {"special"}),
    (Search(values=(("invoice", "1000_"),)), set()),
    (Search(values=(("a_b", "x%y"),)), {"special"}),
    (Search(values=(("a_b", "x-y"),)), set()),
    (Search(values=(("customer.id", "7"),)), {"plain", "escaped", "written differently", "half a pair"}),
    (Search(values=(("customer.id", "7.0"),)), set()),
    (Search(values=(("items[*].sku", "b"),)), {"plain"}),
    (Search(values=(("items[1].sku", "b"),)), {"plain"}),
    (Search(values=(("items[0].sku", "true"),)), {"written differently"}),
    (Search(values=(("invoice", "INV-92"), ("customer.id", "7"))), {"plain", "escaped"}),
    (Search(text="inv-92"), {"plain", "escaped", "no object", "a text", "long"}),
    (Search(text="MÜLLER"), {"escaped", "half a pair"}),
    (Search(text="ü"), {"escaped", "half a pair"}),
    (Search(text="100%_"), {"special"}),
    (Search(text="Key-special"), {"special"}),
    (Search(text="nobody"), set()),
    (Search(text="inv", values=(("customer.id", "7"),)), {"plain", "escaped", "written differently", "half a pair"}),
]


@pytest.fixture(params=[1, 100], ids=lambda looks: f"{looks} looks a page")
def little(request, monkeypatch):
    """Let a page end after one look at so many signals, and look into few of them at a time."""
    monkeypatch.setattr(listing, "SEARCH_SECONDS", 0)
    monkeypatch.setattr(pages, "_LEAST_LOOKS", request.param)
    monkeypatch.setattr(listing, "_CANDIDATES", 2)
    monkeypatch.setattr(listing, "_SEARCH_BYTES", 2000)


async def insert(database, signal_id, payload, **columns):
    given = {"name": "found", "business_key": None, "tenant_id": None, **columns}
    await database.execute(
        "INSERT INTO signals (id, position, created_at, recorded_at, scope, payload, types, source, name, business_key,"
        " tenant_id) VALUES ($1, $1, $2, $2, 'broadcast', $3, '{}', 'native', $4, $5, $6)",
        *(signal_id, NOON + timedelta(seconds=signal_id), payload, *given.values()),
    )


@pytest.fixture
async def known(database):
    """The kind of payload, the name and the tenant of each signal."""
    chance = random.Random(7)
    rows = {}
    for signal_id in range(1, 121):
        kind, name = chance.choice(sorted(PAYLOADS)), chance.choice(("found", "lost"))
        tenant_id = chance.choice((None, "acme"))
        await insert(database, signal_id, PAYLOADS[kind], name=name, business_key=f"KEY-{kind}", tenant_id=tenant_id)
        rows[signal_id] = kind, name, tenant_id
    return rows


async def ids(store, *, limit, **wanted):
    found, after, count = [], None, 0
    while True:
        page = await store.page(limit=limit, after_id=after, **wanted)
        assert len(page.items) <= limit
        found += [signal.id for signal in page.items]
        after, count = page.following, count + 1
        if after is None:
            return found, count


@pytest.mark.slow
@pytest.mark.usefixtures("little")
async def test_following_next_finds_everything_once_and_nothing_else(known, signals):
    chance = random.Random(3)
    for search, kinds in SEARCHES:
        for descending in (False, True):
            filters = chance.choice(({}, {"name": "found"}, {"name": "#"}, {"tenant_id": "acme"}, {"since": NOON}))
            expected = [
                signal_id
                for signal_id, (kind, name, tenant_id) in known.items()
                if kind in kinds
                and filters.get("name") in {None, "#", name}
                and filters.get("tenant_id") in {None, tenant_id}
            ]
            found, count = await ids(
                signals, limit=chance.choice((1, 3, 100)), descending=descending, search=search, **filters
            )
            assert found == sorted(expected, reverse=descending), (search, filters)
            assert count > 1


@pytest.mark.slow
@pytest.mark.parametrize("search", [Search(text="b" + "a" * 254), Search(values=(("a[*].b", "2"), ("s", "7")))])
async def test_large_payloads_are_looked_into_a_few_at_a_time(signals, database, monkeypatch, search):
    monkeypatch.setattr(listing, "SEARCH_SECONDS", 0)
    length = 1 << 20
    hostile = (
        '{"s": "\\n", "a": [' + ",".join(['{"b": 1}'] * (length // 9 - 9)) + "]}",
        '{"s": "\\ud800", "a": [' + ",".join(["[]"] * (length // 3 - 9)) + "]}",
        '{"s": "' + "\\u0061" * (length // 6 - 9) + '"}',
        '{"b": 2.0, "s": 7.0, "a": ' + "[" * 240 + "]" * 240 + ', "aa": "' + "a" * (length - 999) + '"}',
    )
    for number in range(12):
        await insert(database, 1 + number, hostile[number % len(hostile)])
    after = 0
    while (page := await signals.page(after_id=after, search=search)).following is not None:
        assert page.items == []
        assert page.following - after <= 3, "3 MiB, though a look is at a hundred signals"
        after = page.following
    assert after >= 9


@pytest.mark.slow
async def test_a_search_of_large_payloads_holds_nobody_up(signals, database):
    length = 1 << 20
    for number in range(4):
        await insert(database, 1 + number, '{"s": "\\n", "a": [' + ",".join(["[]"] * (length // 3 - 9)) + "]}")
    async with measuring_lag() as lag:
        await ids(signals, limit=100, search=Search(values=(("a[*]", "x"),), text="x"))
        await asyncio.sleep(0)
    assert lag.longest < 0.05


async def found(client, name, **query):
    """Return the ids that all pages of a list have, the name's signals only."""
    ids, after = [], None
    while True:
        further = {} if after is None else {"afterId": after}
        page = await client.get(f"/v1/signals?{urlencode({'name': f'{name}.#', **query, **further})}")
        ids += [item["id"] for item in page["items"]]
        after = page["next"]
        if after is None:
            return ids


@pytest.mark.slow
async def test_signals_are_found_by_values_of_their_payloads_and_by_texts(client, name):
    first = await throw(client, f"{name}.a", payload={"invoice": "INV-92", "items": [{"sku": "x"}, {"sku": "y"}]})
    second = await throw(client, f"{name}.b", payload={"invoice": "INV-92"}, businessKey="Key-8")
    third = await throw(client, f"{name}.c", payload={"invoice": "INV-93", "paid": False, "due": None, "cents": 1.50})
    for one in (first, second, third):
        await recorded(client, one["id"])
    one, two, three = first["id"], second["id"], third["id"]
    assert sorted(await found(client, name, **{"payload.invoice": "INV-92"})) == [one, two]
    newest = await found(client, name, **{"payload.invoice": "INV-92", "order": "desc"})
    assert newest == (await found(client, name, **{"payload.invoice": "INV-92"}))[::-1]
    assert await found(client, name, **{"payload.invoice": "INV-92", "payload.items[*].sku": "y"}) == [one]
    assert await found(client, name, **{"payload.items[1].sku": "y"}) == [one]
    for path, value in (("paid", "false"), ("due", "null"), ("cents", "1.5")):
        assert await found(client, name, **{f"payload.{path}": value}) == [three]
    assert await found(client, name, q="kEy-8") == [two]
    assert await found(client, name, q="inv-93") == [three]
    assert await found(client, name, q="inv-93", businessKey="Key-8") == []


async def test_a_search_tells_a_caller_of_what_it_may_read_alone(client, name):
    tenant = fresh_id("tenant")
    own = await throw(client, f"{name}.mine", tenantId=tenant, payload={"secret": name})
    for one in (
        own,
        await throw(client, f"{name}.mine", tenantId=fresh_id("tenant"), payload={"secret": name}),
        await throw(client, f"{name}.hidden", tenantId=tenant, payload={"secret": name}),
    ):
        await recorded(client, one["id"])
    caller = client.caller(await token(client, "signals:read", names=[f"{name}.mine"], tenants=[tenant]))
    for query in ({"payload.secret": name}, {"q": name}):
        assert await found(caller, name, **query) == [own["id"]]


@pytest.mark.parametrize(
    ("query", "pointer", "detail"),
    [
        ("q=", "?q", "must not be empty"),
        (f"q={'x' * 256}", "?q", "must have at most 255 characters, and no U+0000"),
        ("q=a%00", "?q", "must have at most 255 characters, and no U+0000"),
        ("payload.=x", "?payload.", PATH),
        (
            f"payload.{'a' * 501}=x",
            f"?payload.{'a' * 247}",
            "must name a path of at most 500 characters, without U+0000",
        ),
        ("payload.a%00=x", "?payload.a\x00", PATH),
        (f"payload.a={'x' * 1001}", "?payload.a", "must have at most 1000 characters, and no U+0000"),
        ("payload.a=%00", "?payload.a", "must have at most 1000 characters, and no U+0000"),
        ("payload.a=1&payload.a=2", "?payload.a", "must be there once"),
        ("&".join(f"payload.a{n}=1" for n in range(11)), "?payload.*", "must be there 10 times at most"),
    ],
)
async def test_what_no_payload_can_hold_is_refused(client, query, pointer, detail):
    status, _, problem = await client.request("GET", f"/v1/signals?{query}")
    assert (status, problem["errors"]) == (400, [{"pointer": pointer, "detail": detail}])


async def test_a_search_is_only_for_signals_and_is_named_where_it_is_allowed(client):
    _, _, problem = await client.request("GET", "/v1/signals?payload=x")
    assert "payload.*, q" in problem["errors"][0]["detail"]
    for path in ("/v1/deliveries", "/v1/subscriptions"):
        status, _, problem = await client.request("GET", f"{path}?payload.a=x")
        assert (status, problem["errors"][0]["pointer"]) == (400, "?payload.a")


async def test_searches_are_described_as_parameters_of_any_path(client):
    document = await client.get("/openapi.json")
    parameters = {one["name"]: one for one in document["paths"]["/v1/signals"]["get"]["parameters"]}
    assert (parameters["payload.*"]["style"], parameters["payload.*"]["explode"]) == ("form", True)
    assert parameters["payload.*"]["schema"] == {
        "type": "object",
        "propertyNames": {"pattern": "^payload\\."},
        "additionalProperties": {"type": "string", "maxLength": 1000, "pattern": "^[^\\x00]*$"},
    }


@pytest.mark.slow
@pytest.mark.transports("embedded")
async def test_the_command_line_finds_signals_by_their_payloads(client, laptop, name):
    first = await throw(client, name, payload={"invoice": "INV-92", "note": "a=b"})
    second = await throw(client, name, payload={"invoice": "INV-93", "note": "a=b"})
    for one in (first, second):
        await recorded(client, one["id"])

    async def listed(*options):
        return [item["id"] for item in await laptop.ask("signals", "list", "--name", name, "--all", *options)]

    assert await listed("--payload", "invoice=INV-92") == [first["id"]]
    assert await listed("--payload", "note=a=b", "--payload", "invoice=INV-93") == [second["id"]]
    assert await listed("--q", "inv-9") == await listed()
    assert await listed("--q", "inv-93") == [second["id"]]
    for options, said in ((["invoice"], "is not PATH=VALUE"), (["a=1", "--payload", "a=2"], "is there twice")):
        wrong = await laptop.call("signals", "list", "--payload", *options)
        assert (wrong.returncode, said in wrong.stderr) == (2, True)
