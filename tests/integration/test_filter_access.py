"""The look-up by filters: exactly what the matcher finds among all subscriptions, and nothing else is read."""

from __future__ import annotations

import json
from decimal import Decimal
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from broker.filters import Context, load_filter, parse_filter
from broker.filters.access import access_to, path_of, texts_for
from broker.filters.javascript import BLANKS
from broker.filters.operators import OPERATORS
from broker.matching import Matcher
from broker.signals import Scope, Throw
from broker.store.rows import read_subscription
from broker.store.signals.matches import Limits, find_matches
from broker.store.subscriptions import candidates, places
from broker.store.subscriptions.candidates import find_candidates
from broker.subscriptions import SubscriptionSpec
from tests.support.builders import QUEUE, accept
from tests.support.filtering import (
    FILTERS,
    LARGE,
    NUMBERS,
    OTHERS,
    PATHS,
    PAYLOADS,
    likely_filter,
    likely_payload,
)

TENANTS = (None, "acme", "beta")
ON_REAL_SERVERS = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
USUAL = {"paths": 64, "texts": 250, "keys": 20_000, "points": 64, "together": 2_000}
LIMITS = (USUAL, {"paths": 0}, {"paths": 1}, {"paths": 2, "texts": 1}, {"keys": 5}, {"points": 1}, {"together": 3})
"""Of paths, of texts under a path, of keys, of points under a path, and of all points."""
ALL = Limits(pairs=1 << 30, seconds=1000.0, deliveries=1 << 30)


def comparison(operator, value):
    return {"operator": operator, "value": value}


NAMES = ("order.paid", "order.paid", "order.paid", "order.*", "#", "*.paid", "other", "other.#")
AUDIENCES = (
    {},
    {},
    {"audience": ("acme", "beta")},
    {"audience": ()},
    {"scope": Scope.TENANT, "tenant_id": "acme"},
    {"scope": Scope.UNTENANTED},
    {"scope": Scope.EXECUTION, "execution_id": "order-1"},
)
COMPARING = st.dictionaries(
    st.sampled_from([path for path in PATHS if path != "anyOf"]),
    st.lists(
        st.builds(
            comparison,
            st.sampled_from([name for name in OPERATORS if name.startswith(("NUM", "SEMVER", "DATE"))]),
            st.sampled_from([value for value in (*NUMBERS, *LARGE, *OTHERS) if value.strip(BLANKS)]),
        ),
        min_size=1,
        max_size=3,
    ),
    max_size=3,
).map(load_filter)
CHANGES = ("consumed_by = 1", "disabled_because = 'gone'", "paused_at = now()", "filter = NULL", "name = 'order.#'")


@pytest.mark.slow
@given(filters=st.lists(FILTERS, min_size=1, max_size=8))
@settings(ON_REAL_SERVERS, max_examples=200)
async def test_the_store_finds_filters_by_the_same_condition(database, *, filters):
    documents = [json.dumps(one.document) for one in filters]
    rows = await database.fetch("SELECT filter_access(d::json) AS access FROM unnest($1::text[]) AS d", documents)
    for one, row in zip(filters, rows, strict=True):
        access = access_to(one.conditions)
        known = None if row["access"] is None else (row["access"][0], frozenset(row["access"][1:]))
        if known is None and access is not None:  # an escape that PostgreSQL could not read makes no difference
            assert "\\ud83d" in json.dumps(one.document) or "\\u0000" in json.dumps(one.document)
        else:
            assert known == access


@pytest.mark.slow
@given(filters=st.lists(COMPARING, min_size=20, max_size=20), payloads=st.lists(PAYLOADS, min_size=5, max_size=5))
@settings(ON_REAL_SERVERS, max_examples=200)
async def test_what_matches_is_within_the_span_that_its_filter_is_found_by(database, *, filters, payloads):
    documents = [json.dumps(one.document) for one in filters]
    rows = await database.fetch("SELECT filter_span(d::json) AS span FROM unnest($1::text[]) AS d", documents)
    for one, row in zip(filters, rows, strict=True):
        for context in map(Context.of, payloads):
            if row["span"] is not None and one.mismatch(context) is None:
                path, low, high = row["span"]
                points = [Decimal(point) for point in texts_for(path, context.texts(path_of(path)))]
                assert any(Decimal(low or "-Infinity") <= it <= Decimal(high or "Infinity") for it in points)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"p": comparison("NUM_GT", "90")}, ["<#p", "90", None]),
        ({"p": comparison("NUM_LTE", "-0.5")}, ["<#p", None, "-0.5"]),
        ({"p": comparison("NUM_EQ", "1.50")}, ["<#p", "1.50", "1.50"]),
        ({"p": [comparison("NUM_GTE", "1"), comparison("NUM_LT", "5"), comparison("NUM_LT", "7")]}, ["<#p", "1", "5"]),
        ({"p": [comparison("NUM_GT", "9"), comparison("NUM_LT", "5")]}, ["<#p", "9", "9"]),
        ({"p[*]": [comparison("NUM_GT", "9"), comparison("NUM_LT", "5")]}, ["<#p[*]", "9", None]),
        (
            {"a": comparison("NUM_GT", "9"), "bb": [comparison("NUM_GT", "1"), comparison("NUM_LT", "2")]},
            ["<#bb", "1", "2"],
        ),
        ({"bb": comparison("NUM_GT", "9"), "a": comparison("NUM_GT", "8")}, ["<#a", "8", None]),
        ({"p": comparison("SEMVER_LT", "1.2.3-rc.1")}, ["<vp", None, f"{10**32 + 2 * 10**16 + 3}"]),
        ({"p": comparison("DATE_AFTER", "1970-01-02")}, ["<tp", "86400.000000", None]),
        ({"p": comparison("DATE_BEFORE", "1970-01-01T00:00:00.25+00:30")}, ["<tp", None, "-1799.750000"]),
        ({"p": comparison("DATE_AFTER", "2026-02-31")}, None),
        ({"p": comparison("DATE_AFTER", "2016-12-31T23:59:60.5Z")}, None),
        ({"p": comparison("NUM_GT", "1e3")}, None),
        ({"p": comparison("NUM_GT", "1234567890.123456")}, None),
        ({"p": comparison("NUM_GT", "9") | {"inverted": True}}, None),
        ({"anyOf": [{"p": comparison("NUM_GT", "9")}]}, None),
    ],
)
async def test_comparisons_are_what_a_filter_is_found_by(database, document, expected):
    span = await database.fetchval("SELECT filter_span($1::json)", json.dumps(document))
    assert numbered(span) == numbered(expected)


def numbered(span):
    return span and [span[0], *(None if bound is None else Decimal(bound) for bound in span[1:])]


@pytest.mark.slow
@pytest.mark.parametrize(
    "document",
    [
        '{"a": {"operator": "IN", "values": ["x\\u0000"]}}',
        '{"a": {"operator": "IN", "values": ["\\ud800"]}}',
        '{"a": {"operator": "IN", "values": [7]}}',
        '{"a": {"operator": "IN", "values": ["x"], "inverted": 1}}',
        '{"a": {"operator": "NUM_EQ", "value": 7}}',
        '{"a": {"operator": "NUM_GT", "value": 7}}',
        '{"a": {"operator": "NUM_GT", "value": "7", "inverted": 1}}',
        '{"a": {"operator": "UNKNOWN", "values": ["x"]}}',
        "{}",
    ],
)
async def test_what_no_version_has_written_is_found_without_its_filter(database, document):
    found_by = "coalesce(filter_access($1::json), filter_span($1::json))"
    assert await database.fetchval(f"SELECT {found_by}", document) is None


async def test_of_two_conditions_on_one_path_the_one_that_is_written_last_counts(database):
    document = '{"a": {"operator": "IN", "values": ["x"]}, "a": {"operator": "IN", "values": ["y"]}}'
    access = access_to(load_filter(json.loads(document)).conditions)
    assert await database.fetchval("SELECT filter_access($1::json)", document) == [access.path, *access.values]


@pytest.fixture
def check(database):
    """Assert that the look-up finds what the matcher would match among all subscriptions; return how many pairs."""

    async def check(signals):
        now = [read_subscription(row) for row in await database.fetch("SELECT * FROM subscriptions ORDER BY id")]
        found = await find_matches(database, Matcher(), signals, ALL)
        pairs = sorted((signal.id, subscription.id) for signal, subscription in found.matching)
        assert not found.left
        assert not found.exceeded
        assert pairs == [
            (signal.id, subscription.id)
            for signal in signals
            for subscription in now
            if subscription.mismatch(signal) is None
        ]
        return len(pairs)

    return check


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(14))
async def test_what_is_found_is_what_matches(database, subscriptions, check, monkeypatch, seed):
    """Subscriptions are created, changed, deleted and disabled before signals, and between them and their recording."""
    random = Random(seed)
    limits = {**USUAL, **LIMITS[seed % len(LIMITS)]}
    monkeypatch.setattr(candidates, "_MOST_PATHS", limits["paths"])
    monkeypatch.setattr(places, "_MOST_TEXTS", limits["texts"])
    monkeypatch.setattr(places, "_MOST_KEYS", limits["keys"])
    monkeypatch.setattr(places, "_MOST_POINTS", limits["points"])
    monkeypatch.setattr(places, "_MOST_POINTS_TOGETHER", limits["together"])
    signals = []
    for _ in range(2):
        for _ in range(60):
            spec = SubscriptionSpec(
                name=random.choice(NAMES),
                targets=(QUEUE,),
                tenant_id=random.choice(TENANTS),
                execution_id=random.choice((None, None, None, "order-1")),
                filter=random.choice((None, *[likely_filter(random)] * 5)),
            )
            await subscriptions.create(spec, secret=None)
        ids = [
            row["id"] for row in await database.fetch("SELECT id FROM subscriptions WHERE until IS NULL ORDER BY id")
        ]
        for gone in random.sample(ids, 10):
            await subscriptions.delete(gone)
        for changed in random.sample(ids, 10):
            await database.execute(f"UPDATE subscriptions SET {random.choice(CHANGES)} WHERE id = $1", changed)
        for changed in random.sample(ids, 10):
            document = json.dumps(likely_filter(random).document)
            await database.execute("UPDATE subscriptions SET filter = $2 WHERE id = $1", changed, document)
        signals += await accept(
            database,
            *(
                Throw(name=random.choice(NAMES), payload=likely_payload(random), **random.choice(AUDIENCES))
                for _ in range(20)
            ),
        )
    assert await check(signals) > 50


@pytest.mark.slow
async def test_those_that_want_other_values_are_not_read(database, subscriptions):
    for number in range(300):
        document = {"id": {"operator": "IN", "values": [f"{number}", f"{number}-b"]}}
        document |= {"total": {"operator": "NUM_GT", "value": 1}} if number % 2 else {}
        spec = SubscriptionSpec(
            name="#" if number % 3 else "order",
            targets=(QUEUE,),
            filter=parse_filter(document),
            tenant_id=TENANTS[number % 3],
        )
        created = await subscriptions.create(spec, secret=None)
        if number in {30, 40}:
            await subscriptions.delete(created.id)
    whom = [{}, {"scope": Scope.UNTENANTED}, {"audience": ("acme",)}]
    for more in whom:
        signals = await accept(
            database, *(Throw(name="order", payload=b'{"id":%d}' % id_, **more) for id_ in (12, 30, 900))
        )
        matcher = Matcher()
        async with matcher.slice() as turn:
            found = await find_candidates(database, signals, turn, matcher=matcher)
        assert len(found.versions) == 1
        assert [len(found.of(signal)) for signal in signals] == [1, 0, 0]


@pytest.mark.slow
async def test_those_that_compare_with_what_is_not_there_are_not_read(database, subscriptions):
    for number in range(200):
        at = {"operator": "DATE_AFTER", "value": f"{2000 + number}-01-01"}
        between = [{"operator": "NUM_GTE", "value": 10 * number}, {"operator": "NUM_LT", "value": 10 * number + 5}]
        above = {"operator": "NUM_GT", "value": 100 * number}
        version = {"operator": "SEMVER_LT", "value": f"0.0.{number}"}
        spec = SubscriptionSpec(
            name="#" if number % 3 else "order",
            targets=(QUEUE,),
            filter=parse_filter([{"at": at}, {"n": between}, {"v": version}, {"n": above}][number % 4]),
            tenant_id=TENANTS[number % 3],
        )
        created = await subscriptions.create(spec, secret=None)
        if number in {5, 33}:
            await subscriptions.delete(created.id)
    payload = b'{"at":"2003-05-05","n":1012,"v":"0.0.195"}'
    whom = [
        ({}, [0, 3, 7, 101, 198]),
        ({"scope": Scope.UNTENANTED}, [0, 3, 198]),
        ({"audience": ("acme",)}, [0, 3, 7, 198]),
    ]
    for more, expected in whom:
        signals = await accept(database, *(Throw(name="order", payload=it, **more) for it in (payload, b"{}")))
        matcher = Matcher()
        async with matcher.slice() as turn:
            found = await find_candidates(database, signals, turn, matcher=matcher)
        assert sorted(subscription.id - created.id + 199 for subscription in found.of(signals[0])) == expected
        assert len(found.versions) == len(expected)
        assert found.of(signals[1]) == []


@pytest.mark.slow
@pytest.mark.parametrize("elements", [60, 600])
@pytest.mark.parametrize("tenant_id", [None, "acme"])
async def test_a_subscription_is_read_once_however_many_elements_it_wants(database, subscriptions, elements, tenant_id):
    document = {"l[*].price": {"operator": "NUM_GT", "value": 0}}
    for _ in range(20):
        spec = SubscriptionSpec(name="order", targets=(QUEUE,), filter=parse_filter(document), tenant_id=tenant_id)
        await subscriptions.create(spec, secret=None)
    payload = json.dumps({"l": [{"price": price} for price in range(elements)]}).encode()
    throws = [Throw(name="order", payload=payload, audience=None if tenant_id is None else (tenant_id,))] * 3
    signals = await accept(database, *throws)
    matcher = Matcher()
    async with matcher.slice() as turn:
        found = await find_candidates(database, signals, turn, matcher=matcher, total=100)
    assert not found.are_cut
    assert [len(found.of(signal)) for signal in signals] == [20, 20, 20]
