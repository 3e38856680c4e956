"""What earlier versions stored has its meaning after the steps of later ones."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.access import ADMINISTRATOR
from broker.deliveries import DueAttempt
from broker.reach import EVERYWHERE
from broker.store.administration.audit import AuditStore
from broker.store.administration.endpoints import EndpointStore
from broker.store.administration.tokens import AccessStore
from broker.store.administration.users import UserStore
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.deliveries.expiring import ExpiringStore
from broker.store.partitions.partitions import PartitionStore
from broker.store.signals.signals import SignalStore
from broker.store.subscriptions.subscriptions import SubscriptionStore
from tests.support.attempts import pace
from tests.support.builders import RESCUE_AFTER, signal
from tests.support.listing import listed
from tests.support.postgres import run_scripts, unmigrated


@pytest.mark.slow
async def test_what_waits_when_the_product_is_upgraded_expires_and_waits_for_a_reservation(postgres_url):
    async with unmigrated(postgres_url) as database:
        await run_scripts(database, to="0014")
        await PartitionStore(database).cover([1])
        await database.execute("""
            INSERT INTO subscriptions (name, is_pattern, once, kind, address, headers, schedule, since, max_per_second)
            VALUES ('a', false, false, 'queue', 'q', '{}', '{}', 1, 0.001);
            INSERT INTO signals (id, created_at, name, scope, payload, types, source, position, expires_at)
            SELECT id, now(), 'a', 'broadcast', '{}', '{}', 'native', id, CASE id WHEN 10 THEN now() END
            FROM generate_series(10, 12) AS id;
            INSERT INTO deliveries (signal_id, subscription_id, state, reason, due_at)
            SELECT id, 1, 'parked', 'rate', now() + interval '1 day' FROM generate_series(10, 12) AS id;
        """)
        await run_scripts(database, after="0014", to="9999")
        expired = await ExpiringStore(database).sweep(limit=10, overdue_too=True, rescue_after=RESCUE_AFTER)
        assert (expired.looked, expired.cancelled) == (3, 1)
        reserved = await pace(database)
        assert reserved.due_attempts == (DueAttempt(11, 1, 1),)


@pytest.mark.slow
async def test_tokens_of_earlier_versions_keep_what_they_saw_and_what_was_made_has_no_limits(postgres_url):
    async with unmigrated(postgres_url) as database:
        await run_scripts(database, to="0017")
        await database.execute("""
            INSERT INTO tokens (name, digest, permissions, tenants, created_by)
            VALUES ('t', '1', '{signals:read}', '{acme}', 'admin');
            INSERT INTO users (name, password, permissions, tenants, groups, created_by)
            VALUES ('u', '$argon2id$', '{}', '{acme}', '{}', 'admin');
            INSERT INTO endpoints (name, created_by) VALUES ('e', 'admin');
            INSERT INTO subscriptions (name, is_pattern, once, kind, address, headers, schedule, since)
            VALUES ('#', true, false, 'queue', 'q', '{}', '{}', 1);
            INSERT INTO audit_events (type, subject_id, principal) VALUES ('user-created', 1, 'admin');
        """)
        await run_scripts(database, after="0017", to="9999")
        [token] = (await AccessStore(database).tokens()).items
        [user] = (await UserStore(database).page()).items
        [endpoint] = await EndpointStore(database).all()
        [subscription] = (await SubscriptionStore(database).page()).items
        assert (token.untenanted, token.queues, user.untenanted, user.queues) == (True, None, True, None)
        assert (endpoint.tenants, subscription.tenants, subscription.owner, subscription.created_by) == (
            None,
            None,
            EVERYWHERE,
            None,
        )
        limited = replace(ADMINISTRATOR, tenants=("acme",), untenanted=True)
        assert (await AuditStore(database).page(by=limited)).items == []
        assert await EndpointStore(database).all(by=limited) == []
        assert (await AccessStore(database).tokens(by=limited)).items == [token]


@pytest.mark.slow
async def test_tokens_of_earlier_versions_never_expire_and_their_changes_are_counted(postgres_url):
    """A gateway of the version before goes on changing tokens, and knows nothing of the number."""
    async with unmigrated(postgres_url) as database:
        await run_scripts(database, to="0019")
        await database.execute("""
            INSERT INTO tokens (name, digest, permissions, created_by) VALUES ('t', '1', '{}', 'admin');
            INSERT INTO endpoints (name, created_by) VALUES ('e', 'admin');
            INSERT INTO endpoint_tokens (endpoint_id, name, digest, created_by) VALUES (1, 't', '2', 'admin');
        """)
        await run_scripts(database, after="0019", to="9999")
        access = AccessStore(database)
        for digest in (b"1", b"2"):
            caller = await access.caller(digest)
            assert (caller.seconds, caller.principal.expires_at) == (None, None)
        [token] = (await access.tokens()).items
        [of_endpoint] = await EndpointStore(database).tokens([1])
        assert (token.is_expired, token.last_used_at, of_endpoint.last_used_at) == (False, None, None)

        changes = await access.count_changes()
        await database.execute("UPDATE tokens SET revoked_at = now() WHERE id = 1")
        assert await access.count_changes() == changes + 1
        assert await access.caller(b"1") is None


@pytest.mark.slow
async def test_subscriptions_take_over_the_circuits_of_their_targets_and_short_timeouts_are_lifted(postgres_url):
    async with unmigrated(postgres_url) as database:
        await run_scripts(database, to="0021")
        await database.execute("""
            INSERT INTO subscriptions
                (name, is_pattern, once, kind, address, headers, schedule, since, timeout, steps, until)
            VALUES ('a', false, false, 'webhook', 'https://example.com/a', '{}', '{}', 1, 0.001, NULL, NULL),
                   ('b', false, false, 'webhook', 'https://example.com/a', '{}', '{}', 1, 0.1, NULL, NULL),
                   ('c', false, false, 'queue', 'q', '{}', '{}', 1, NULL,
                    '[{"kind": "queue"}, {"kind": "webhook", "address": "https://example.com/a"}]', NULL),
                   ('d', false, false, 'webhook', 'https://example.com/other', '{}', '{}', 1, 3, NULL, NULL),
                   ('e', false, false, 'webhook', 'https://example.com/a', '{}', '{}', 1, 3, NULL, 2),
                   ('f', false, false, 'handler', 'app/f', '{}', '{}', 1, 0.01, NULL, NULL);
            INSERT INTO circuits (key, address, failures, openings, retry_at, spared_until)
            SELECT circuit_key(a), a, 20, 1, now() + interval '1 hour', now() + interval '1 hour'
            FROM (VALUES ('https://example.com/a')) AS of (a);
        """)
        await run_scripts(database, after="0021", to="9999")
        rows = await database.fetch("SELECT timeout FROM subscriptions ORDER BY id")
        assert [row["timeout"] for row in rows] == [0.1, 0.1, None, 3, 3, 0.01]
        circuits = await database.fetch(
            "SELECT subscription_id, address, failures, spared_until >= retry_at FROM circuits"
            " WHERE subscription_id IS NOT NULL ORDER BY 1"
        )
        assert [tuple(circuit) for circuit in circuits] == [
            (subscription_id, "https://example.com/a", 20, True) for subscription_id in (1, 2, 3)
        ]


@pytest.mark.slow
async def test_once_subscriptions_are_freed_when_the_signals_expire_that_consumed_them_before(postgres_url):
    async with unmigrated(postgres_url) as database:
        await run_scripts(database, to="0023")
        await database.execute("""
            INSERT INTO subscriptions (name, is_pattern, once, kind, address, headers, schedule, since, consumed_by)
            SELECT 'a', false, true, 'queue', 'q', '{}', '{}', 1, id FROM (VALUES (10), (11), (NULL)) AS of (id);
        """)
        await database.execute("""
            INSERT INTO signals (id, created_at, name, scope, types, payload, source, expires_at, position)
            VALUES (10, now(), 'a', 'broadcast', '{}', '{}', 'native', now(), 1),
                   (11, now(), 'a', 'broadcast', '{}', '{}', 'native', NULL, 2);
        """)
        await run_scripts(database, after="0023", to="9999")
        rows = await database.fetch("SELECT consumed_until IS NOT NULL AS freed FROM subscriptions ORDER BY id")
        assert [row["freed"] for row in rows] == [True, False, False]


@pytest.mark.slow
async def test_filters_of_an_earlier_version_are_found_and_so_is_what_it_changes_during_the_upgrade(postgres_url):
    """A process of that version knows nothing of the columns and indexes by which filters are found."""
    wanted = '{"id": {"operator": "IN", "values": ["%s"]}}'
    async with unmigrated(postgres_url) as database:
        await run_scripts(database, to="0027")
        insert = """
            INSERT INTO subscriptions (name, is_pattern, once, kind, address, headers, schedule, since, filter)
            VALUES ('a', false, false, 'queue', 'q', '{}', '{}', 1, $1)
        """
        await database.execute(insert, wanted % 1)
        await database.execute(insert, wanted % 1)
        await run_scripts(database, after="0027", to="9999")
        await database.execute("UPDATE subscriptions SET filter = $1 WHERE id = 2", wanted % 2)
        await database.execute(insert, wanted % 3)
        for number in (1, 2, 3):
            one = signal(10 + number, payload=b'{"id": %d}' % number)
            await SignalStore(database).record([one], rescue_after=RESCUE_AFTER)
            owed = await listed(DeliveryStore(database), signal_id=one.id)
            assert [delivery.subscription_id for delivery in owed] == [number]
