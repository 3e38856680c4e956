"""Lists find what is asked for and nothing else, page by page, however little a page looks at."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest

from broker.access import Permission, Principal
from broker.deliveries import Outcome
from broker.names import matches
from broker.store import pages
from broker.subscriptions import SubscriptionSpec
from broker.targets import WebhookTarget
from tests.support.history import History
from tests.support.throwing import delivery, fresh_id, recorded, subscribe, throw, token

pytestmark = pytest.mark.slow

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
NAMES, TENANTS, KEYS = ("order.paid", "order.sent", "rare", "#x"), (None, "acme", "beta"), (None, "k1", "k2")
HOSTS = ("one.example", "two.example", "[2001:db8::1]")
STATES = ("pending", "parked", "delivered", "dead", "cancelled")
EVERYONE = Principal(name="everyone", permissions=frozenset({Permission.READ}))
ACME = Principal(name="acme", permissions=frozenset({Permission.READ}), tenants=("acme",))
ORDERS = Principal(name="orders", permissions=frozenset({Permission.READ}), names=("order.*",))


@dataclass(frozen=True, kw_only=True)
class Known:
    """A row of the history, as the test knows it."""

    key: object
    position: int
    columns: dict
    at: datetime
    attempted_at: datetime | None = None

    def meets(self, by, **wanted):
        for column, value in wanted.items():
            match column:
                case "name":
                    fits = matches(value, self.columns["name"])
                case "since":
                    fits = self.at >= value
                case "until":
                    fits = self.at < value
                case "attempted_since":
                    fits = self.attempted_at is not None and self.attempted_at >= value
                case "attempted_until":
                    fits = self.attempted_at is not None and self.attempted_at < value
                case _:
                    fits = self.columns[column] == value
            if not fits:
                return False
        return self.is_seen(by)

    def is_seen(self, by):
        named = by.names is None or any(matches(pattern, self.columns["name"]) for pattern in by.names)
        if not named or by.tenants is None:
            return named
        own = self.columns["tenant_id"] in by.tenants
        return own and self.columns.get("signal_tenant", "acme") in {None, *by.tenants}


@pytest.fixture(params=[1, 100], ids=lambda looks: f"{looks} looks a page")
def little(request, monkeypatch):
    """Let a page end after one look at so many rows."""
    monkeypatch.setattr(pages, "BUDGET_SECONDS", 0)
    monkeypatch.setattr(pages, "_LEAST_LOOKS", request.param)


@pytest.fixture(params=[0, 1_000], ids=lambda rare: f"{rare} are few")
def chance(request, monkeypatch):
    """Return chance of its own for either of what may count as few signals."""
    monkeypatch.setattr("broker.store.deliveries.listing._RARE", request.param)
    monkeypatch.setattr("broker.store.signals.listing._RARE", request.param)
    return random.Random(request.param)


@pytest.fixture
async def known(database, subscriptions):
    """A history in two partitions: (signals in the order of recording, deliveries in the order of ids)."""
    chance, rows, owed = random.Random(5), [], []
    made = []
    for number in range(7):
        spec = SubscriptionSpec(
            name=chance.choice(NAMES),
            tenant_id=chance.choice(TENANTS),
            targets=(WebhookTarget(url=f"https://{HOSTS[number % 3].upper()}:8443/hook?{number}"),),
        )
        made.append((await subscriptions.create(spec, secret=None), HOSTS[number % 3]))
    await History(database).close()
    firsts = [row["first_id"] for row in await database.fetch("SELECT first_id FROM blocks ORDER BY first_id")]
    ids = [first + 100 + number for first in firsts[:2] for number in range(60)]
    accepted = {signal_id: NOON + timedelta(minutes=number) for number, signal_id in enumerate(ids)}
    late = timedelta(minutes=12, seconds=30)
    recorded = {signal_id: at + late * (number % 5 == 0) for number, (signal_id, at) in enumerate(accepted.items())}
    positions = {signal_id: rank for rank, signal_id in enumerate(sorted(ids, key=recorded.__getitem__), 1000)}
    for signal_id in ids:
        at = accepted[signal_id]
        columns = {
            "name": chance.choice(NAMES[:2]) if chance.random() < 0.95 else "rare",
            "tenant_id": chance.choice(TENANTS),
            "execution_id": None,
            "business_key": chance.choice(KEYS),
            "ordering_key": chance.choice(KEYS),
            "state": chance.choices(("recorded", "scheduled", "cancelled"), (8, 1, 1))[0],
            "source": chance.choice(("native", "camunda")),
            "source_id": chance.choice((None, 1, 2)),
        }
        names = [*columns, "id", "created_at", "recorded_at", "position", "scope", "payload", "types"]
        scope = "tenant" if columns["tenant_id"] else "broadcast"
        values = [*columns.values(), signal_id, at, recorded[signal_id], positions[signal_id], scope, "{}", "{}"]
        numbers = ", ".join(f"${number}" for number in range(1, len(values) + 1))
        await database.execute(f"INSERT INTO signals ({', '.join(names)}) VALUES ({numbers})", *values)
        rows.append(Known(key=signal_id, position=positions[signal_id], columns=columns, at=at))
        for subscription, host in chance.sample(made, chance.choice((0, 0, 1, 3))):
            owed.append(await _owe(database, chance, rows[-1], subscription, host))
    return sorted(rows, key=lambda row: row.position), owed, [subscription for subscription, _ in made]


async def _owe(database, chance, signal, subscription, host):
    state = chance.choice(STATES)
    key = signal.key, subscription.id
    app, reason = chance.choice((("", None), ("app", None), ("$pull", None), ("$pull", "leased")))
    await database.execute(
        "INSERT INTO deliveries (signal_id, subscription_id, state, app, reason) VALUES ($1, $2, $3, $4, $5)",
        *(*key, state, app, reason),
    )
    outcome = status = attempted_at = None
    for number in range(1, chance.choice((1, 2, 3))):
        outcome, status = chance.choice((("refused", 500), ("timed_out", None), ("succeeded", 204)))
        attempted_at = signal.at + timedelta(hours=number)
        await database.execute(
            "INSERT INTO attempts (signal_id, subscription_id, number, started_at, duration, outcome, status)"
            " VALUES ($1, $2, $3, $4, 0, $5, $6)",
            *(*key, number, attempted_at, outcome, status),
        )
    columns = {
        "name": signal.columns["name"],
        "signal_tenant": signal.columns["tenant_id"],
        "tenant_id": subscription.spec.tenant_id,
        "host": host,
        "signal_id": signal.key,
        "subscription_id": subscription.id,
        "state": state,
        "outcome": outcome,
        "status": status,
    }
    return Known(key=key, position=signal.position, columns=columns, at=signal.at, attempted_at=attempted_at)


async def whole(store, key, *, limit, **wanted):
    """Return the keys of all pages of a list, and check that none holds more than was asked for."""
    found, after, name = [], None, wanted.pop("after")
    while True:
        page = await store.page(limit=limit, **({} if after is None else {name: after}), **wanted)
        assert len(page.items) <= limit
        found += [key(item) for item in page.items]
        after = page.following
        if after is None:
            return found


def some(chance, filters):
    """Return up to three of the *filters*, each with one of its values."""
    chosen = chance.sample(sorted(filters), chance.choice((0, 1, 1, 2, 3)))
    return {column: chance.choice(filters[column]) for column in chosen}


async def test_pages_of_deliveries_are_what_the_filters_choose(known, deliveries, little, chance):
    signals, owed, made = known
    moments = [signals[0].at, signals[30].at + timedelta(seconds=1), signals[-1].at + timedelta(days=1)]
    filters = {
        "state": STATES,
        "subscription_id": [one.id for one in made],
        "signal_id": [chance.choice(owed).key[0] for _ in range(3)],
        "name": [*NAMES, "order.*", "nobody"],
        "since": moments,
        "until": moments,
        "tenant_id": ["acme", "beta", "nobody"],
        "host": [*HOSTS, "nowhere.example"],
        "outcome": [Outcome.REFUSED, Outcome.TIMED_OUT],
        "status": [204, 500],
        "attempted_since": moments,
        "attempted_until": moments,
    }
    for _ in range(25):
        wanted, by, descending = some(chance, filters), chance.choice((EVERYONE, ACME, ORDERS)), chance.random() < 0.5
        found = await whole(
            deliveries,
            lambda one: (one.delivery.signal_id, one.delivery.subscription_id),
            limit=chance.choice((1, 5, 100)),
            after="after",
            by=by,
            descending=descending,
            **wanted,
        )
        expected = [row.key for row in owed if row.meets(by, **wanted)]
        assert found == sorted(expected, reverse=descending), (wanted, by.name)


async def test_pages_of_pending_deliveries_have_what_waits_in_a_queue_for_a_lease_or_is_leased(
    known, deliveries, little
):
    _, owed, made = known
    narrower = [{}, {"tenant_id": "acme"}, *({"subscription_id": one.id} for one in made)]
    for wanted, descending in itertools.product(narrower, (False, True)):
        found = await whole(
            deliveries,
            lambda one: (one.delivery.signal_id, one.delivery.subscription_id),
            limit=5,
            after="after",
            descending=descending,
            state="pending",
            **wanted,
        )
        expected = [row.key for row in owed if row.meets(EVERYONE, state="pending", **wanted)]
        assert found == sorted(expected, reverse=descending), wanted


async def test_pages_of_signals_are_what_the_filters_choose(known, signals, little, chance):
    rows, _, _ = known
    moments = [rows[0].at, rows[30].at + timedelta(seconds=1), rows[-1].at + timedelta(days=1)]
    filters = {
        "name": [*NAMES, "order.*", "nobody"],
        "tenant_id": ["acme", "beta", "nobody"],
        "business_key": ["k1", "k2", "nobody"],
        "ordering_key": ["k1", "k2"],
        "source": ["native", "camunda8"],
        "source_id": [1, 2, 3],
        "state": ["recorded", "scheduled", "cancelled"],
        "since": moments,
        "until": moments,
    }
    for _ in range(25):
        wanted, by, descending = some(chance, filters), chance.choice((EVERYONE, ORDERS)), chance.random() < 0.5
        found = await whole(
            signals,
            lambda one: one.id,
            limit=chance.choice((1, 5, 100)),
            after="after_id",
            by=by,
            descending=descending,
            **wanted,
        )
        expected = [row.key for row in rows if row.meets(by, **wanted)]
        assert found == (expected[::-1] if descending else expected), (wanted, by.name)


async def test_pages_of_subscriptions_are_what_the_filters_choose(known, subscriptions, database, little):
    chance = random.Random(3)
    _, _, made = known
    paused, disabled, failing = made[0].id, made[1].id, made[2].id
    await database.execute("UPDATE subscriptions SET paused_at = now() WHERE id = ANY ($1)", [paused, disabled])
    await database.execute("UPDATE subscriptions SET disabled_because = 'gone' WHERE id = $1", disabled)
    await database.execute(
        "INSERT INTO circuits (key, subscription_id, address, retry_at)"
        " SELECT circuit_key(id, address), id, address, now() FROM subscriptions WHERE id = $1",
        failing,
    )
    await subscriptions.delete(made[-1].id)
    states = {paused: {"paused"}, disabled: {"disabled"}, failing: {"active", "failing"}}
    filters = {
        "name": NAMES,
        "tenant_id": ["acme", "beta"],
        "host": HOSTS,
        "state": ["active", "paused", "disabled", "failing"],
    }
    for _ in range(40):
        wanted = some(chance, filters)
        found = await whole(
            subscriptions, lambda one: one.id, limit=chance.choice((1, 2, 100)), after="after_id", **wanted
        )
        expected = [
            one.id
            for number, one in enumerate(made[:-1])
            if wanted.get("name", one.spec.name) == one.spec.name
            and wanted.get("tenant_id", one.spec.tenant_id) == one.spec.tenant_id
            and wanted.get("host", HOSTS[number % 3]) == HOSTS[number % 3]
            and ("state" not in wanted or wanted["state"] in states.get(one.id, {"active"}))
        ]
        assert found == expected, wanted


async def test_a_list_tells_what_happened_to_each_delivery(client, webhooks, name):
    tenant = fresh_id("tenant")
    url = webhooks.url("/hook")
    own = await subscribe(client, name, url, tenantId=tenant)
    first, second = await throw(client, name), await throw(client, name)
    for signal in (first, second):
        await delivery(client, signal, own, "delivered")
    newest = await client.get(f"/v1/deliveries?tenantId={tenant}&order=desc")
    assert [item["signalId"] for item in newest["items"]] == [second["id"], first["id"]]
    (item,) = (await client.get(f"/v1/deliveries?tenantId={tenant}&order=desc&limit=1"))["items"]
    assert item["signalName"] == name
    assert (item["tenantId"], item["target"]["url"]) == (tenant, url)
    assert (item["attemptCount"], item["lastOutcome"], item["lastStatus"], item["lastError"]) == (
        1,
        "succeeded",
        200,
        None,
    )
    assert "attempts" not in item
    host = url.split("/")[2].split(":")[0]
    for query in (f"host={host}&status=200", "outcome=succeeded&attemptedSince=2020-01-01T00:00:00Z"):
        assert len((await client.get(f"/v1/deliveries?tenantId={tenant}&{query}"))["items"]) == 2
    for query in ("status=500", "host=elsewhere.example", "attemptedUntil=2020-01-01T00:00:00Z"):
        assert (await client.get(f"/v1/deliveries?tenantId={tenant}&{query}"))["items"] == []


@pytest.mark.parametrize(
    "path",
    [
        "/v1/signals",
        "/v1/deliveries",
        "/v1/subscriptions",
        "/v1/audit",
        "/v1/tokens",
        "/v1/users",
        "/v1/ledger",
        "/v1/quotas",
    ],
)
async def test_a_query_parameter_that_is_misspelt_is_refused_and_the_known_ones_named(client, path):
    status, _, problem = await client.request("GET", f"{path}?nme=x")
    assert status == 400
    assert problem["errors"][0]["pointer"] == "?nme"
    assert problem["errors"][0]["detail"].startswith("is no query parameter; ")


async def test_deliveries_of_no_signal_are_none(client, webhooks, name):
    own = await subscribe(client, name, webhooks.url("/hook"))
    await delivery(client, await throw(client, name), own, "delivered")
    for query in ("signalId=0", "signalId=0&order=desc", "signalId=0&state=dead", "signalId=9223372036854775807"):
        assert await client.get(f"/v1/deliveries?{query}") == {"items": [], "next": None}


async def test_a_token_that_names_a_tenant_twice_gets_everything_once(client, webhooks, name):
    tenant = fresh_id("tenant")
    own = await subscribe(client, name, webhooks.url("/hook"), tenantId=tenant)
    done = await delivery(client, await throw(client, name), own, "delivered")
    rights = ("signals:read", "subscriptions:manage")
    twice = client.caller(await token(client, *rights, tenants=[tenant, tenant]))
    assert [item["id"] for item in (await twice.get("/v1/subscriptions"))["items"]] == [own["id"]]
    for query in ("", "?state=delivered", f"?tenantId={tenant}", "?order=desc"):
        assert [item["id"] for item in (await twice.get(f"/v1/deliveries{query}"))["items"]] == [done["id"]]


async def test_a_key_is_found_whatever_it_holds(client, name):
    for wanted in ("two\nlines", "a'b\\%_", "ünï", " "):
        accepted = await throw(client, name, businessKey=wanted)
        await recorded(client, accepted["id"])
        query = urlencode({"businessKey": wanted, "name": name})
        assert [item["id"] for item in (await client.get(f"/v1/signals?{query}"))["items"]] == [accepted["id"]]


async def test_a_pattern_is_narrowed_to_the_names_of_the_caller(client, name):
    ours, theirs = await throw(client, f"{name}.ours"), await throw(client, f"{name}.theirs")
    for one in (ours, theirs):
        await recorded(client, one["id"])
    caller = client.caller(await token(client, "signals:read", names=[f"{name}.ours"]))
    for query in (f"name={name}.%23", f"name={name}.*", "name=%23", ""):
        found, page = [], {"next": "0"}
        while page["next"] is not None:  # a page ends when it has looked for long enough
            page = await caller.get(f"/v1/signals?{query}&afterId={page['next']}")
            found += [item["id"] for item in page["items"]]
        assert found == [ours["id"]]
    assert (await caller.request("GET", f"/v1/signals?name={name}.theirs"))[0] == 403


@pytest.mark.parametrize("limited", [ACME, ORDERS])
@pytest.mark.parametrize("descending", [False, True])
async def test_where_a_page_ends_tells_of_no_delivery_that_the_caller_may_not_read(
    known, deliveries, little, limited, descending
):
    _, owed, _ = known
    own = {row.key for row in owed if row.is_seen(limited)}
    after, told = None, set()
    while True:
        page = await deliveries.page(
            limit=2, by=limited, descending=descending, **({} if after is None else {"after": after})
        )
        after = page.following
        if after is None:
            break
        told.add(after)
    foreign = told & {row.key for row in owed} - own
    crowded = {key for key in foreign if sum(row.key[0] == key[0] for row in owed) > 1}
    assert foreign <= crowded, "but where one signal alone fills what a page looks at"


async def test_a_bulk_request_acts_on_nothing_if_its_query_is_misspelt_or_repeated(client):
    status, _, problem = await client.request("POST", "/v1/deliveries/redrive?dryRun=true", data=b"{}")
    assert (status, problem["errors"][0]["detail"]) == (400, "is no query parameter; there are none here")
    status, _, problem = await client.request("GET", "/v1/deliveries?state=dead&state=parked")
    assert (status, problem["errors"][0]["detail"]) == (400, "must be there once")
    status, _, problem = await client.request("GET", "/v1/deliveries?order=newest")
    assert (status, problem["errors"][0]["detail"]) == (400, "must be one of asc, desc")


@pytest.mark.parametrize("query", ["name=%FF", "name=%ED%A0%80", "%FF=1", "name=a&name=%C3"])
@pytest.mark.parametrize("path", ["signals", "signals/tail", "deliveries", "subscriptions", "events"])
async def test_a_query_that_is_not_utf_8_is_refused(client, path, query):
    status, _, problem = await client.request("GET", f"/v1/{path}?{query}")
    assert status == 400
    assert problem["errors"][0]["pointer"].startswith("?")
    assert problem["errors"][0]["detail"] == "must be percent-encoded UTF-8"
