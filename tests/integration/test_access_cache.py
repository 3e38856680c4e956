"""Who calls is looked up in PostgreSQL once, confirmed all the time, and never at the cost of throws."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from broker.access import ADMINISTRATOR, API_TOKEN, ENDPOINT_TOKEN, Permission, make_token
from broker.errors import StoreUnavailable
from broker.exposition import Exposition
from broker.store.administration.access_cache import BORNE, FRESH, AccessCache
from broker.store.administration.tokens import AccessStore
from broker.store.administration.users import UserStore
from broker.store.postgres.database import Database
from tests.support import commands
from tests.support.clock import Clock
from tests.support.eventually import eventually
from tests.support.pooler import deaf_pooler
from tests.support.product import SECRET_KEY, Process, client_of
from tests.support.proxy import proxy
from tests.support.throwing import fresh_id


@pytest.fixture
def access(database):
    return AccessStore(database)


@pytest.fixture
async def token(access):
    """A token, and its value."""
    return await access.create_token(name="t", permissions=[Permission.ADMIN], by=ADMINISTRATOR)


class Deaf(Database):
    """Hears no notification, nor when it might have missed one."""

    def listen(self, channel, on_notify):
        """Do nothing."""


@pytest.fixture
async def deaf(database_url):
    async with Deaf(database_url) as database:
        yield database


async def test_a_flood_of_wrong_tokens_leaves_connections_to_others(database):
    """The table is locked, so that every lookup waits where it can be counted."""
    cache = AccessCache(database)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with database.transaction() as session:
        await session.execute("LOCK TABLE endpoint_tokens IN ACCESS EXCLUSIVE MODE")
        lookups = [asyncio.create_task(cache.caller(make_token(ENDPOINT_TOKEN))) for _ in range(30)]

        async def are_held_up():
            return await database.fetchval(waiting) >= 4

        await eventually(are_held_up)
        assert {await database.fetchval(waiting) for _ in range(20)} == {4}

    assert await asyncio.gather(*lookups) == [None] * 30


async def test_what_changes_is_known_in_time_where_no_notification_is_heard(deaf, access, token):
    """Each change, of callers that are known and of one that was unknown: revoked, rotated, deleted and created."""
    made, value = token
    rotated, former = await access.create_token(name="r", permissions=[], by=ADMINISTRATOR)
    users = UserStore(deaf)
    user = await users.create(name="u", password="$argon2id$x", by=ADMINISTRATOR)
    async with AccessCache(deaf) as cache:
        assert (await cache.caller(value)).name == "t"
        assert (await cache.caller(former)).name == "r"
        assert (await cache.user("u")).name == "u"
        assert await cache.user("later") is None

        await access.revoke_token(made.id, by=ADMINISTRATOR)
        await access.rotate_token(rotated.id, overlap=timedelta(0), by=ADMINISTRATOR)
        await users.delete(user.id, by=ADMINISTRATOR)
        await users.create(name="later", password="$argon2id$x", by=ADMINISTRATOR)
        begun = asyncio.get_running_loop().time()

        async def are_known():
            gone = [await cache.caller(value), await cache.caller(former), await cache.user("u")]
            return gone == [None] * 3 and await cache.user("later") is not None

        await eventually(are_known)
        assert asyncio.get_running_loop().time() - begun < FRESH.total_seconds() + 10


async def test_a_process_that_was_frozen_asks_before_it_answers(deaf, access, token):
    made, value = token
    clock = Clock()
    cache = AccessCache(deaf, clock=clock)
    assert await cache.caller(value) is not None
    await access.revoke_token(made.id, by=ADMINISTRATOR)
    assert await cache.caller(value) is not None

    clock.now += FRESH.total_seconds()
    assert await cache.caller(value) is None


async def test_what_is_confirmed_is_not_looked_up_again(deaf, token):
    """The number of changes stands for all that is known."""
    clock = Clock()
    cache = AccessCache(deaf, clock=clock)
    await cache.caller(token[1])
    clock.now += FRESH.total_seconds()
    known = await cache.caller(token[1])  # the first number: nothing is known of what was before
    for _ in range(5):
        clock.now += FRESH.total_seconds()
        assert await cache.caller(token[1]) is known


async def test_a_token_ends_at_its_moment_whatever_is_known(deaf, access):
    clock = Clock()
    ahead = datetime.now(UTC) + timedelta(seconds=100)
    _, value = await access.create_token(name="t", permissions=[], expires_at=ahead, by=ADMINISTRATOR)
    cache = AccessCache(deaf, clock=clock)
    assert (await cache.caller(value)).expires_at == ahead
    await deaf.execute("ALTER TABLE tokens DISABLE TRIGGER access_changed")
    await deaf.execute("UPDATE tokens SET expires_at = now()")
    clock.now += 4
    assert await cache.caller(value) is not None
    clock.now += 97
    assert await cache.caller(value) is None


async def test_while_postgresql_is_away_who_is_known_stays_so_for_a_while_and_others_are_not_called_unknown(
    database_url, access, token
):
    clock, stranger, later = Clock(), make_token(API_TOKEN), make_token(API_TOKEN)
    async with proxy(database_url) as link, Deaf(link.url, timeout=timedelta(seconds=1)) as database:
        cache = AccessCache(database, clock=clock)
        assert (await cache.caller(token[1])).name == "t"
        assert await cache.caller(stranger) is None

        link.cut()
        clock.now += FRESH.total_seconds()
        assert (await cache.caller(token[1])).name == "t"
        assert b"signal_broker_access_unconfirmed 1.0" in Exposition().read()[0]
        for value in (stranger, later):  # it may have been made in the meantime
            with pytest.raises((StoreUnavailable, TimeoutError)):
                await cache.caller(value)
        clock.now += BORNE.total_seconds() - FRESH.total_seconds() - 1
        assert (await cache.caller(token[1])).name == "t"
        clock.now += 1
        with pytest.raises((StoreUnavailable, TimeoutError)):
            await cache.caller(token[1])

        link.restore()

        async def is_known_again():
            try:
                return [(await cache.caller(token[1])).name, await cache.caller(stranger)] == ["t", None]
            except (StoreUnavailable, TimeoutError):
                return False

        await eventually(is_known_again)
        async with cache:
            await eventually(lambda: b"signal_broker_access_unconfirmed 0.0" in Exposition().read()[0])


async def test_a_flood_of_wrong_tokens_pushes_out_no_right_one(database_url, access, token):
    async with proxy(database_url) as link, Deaf(link.url, timeout=timedelta(seconds=1)) as database:
        cache = AccessCache(database, size=10)
        await cache.caller(token[1])
        for _ in range(20):
            await cache.caller(make_token(API_TOKEN))
        link.cut()
        assert (await cache.caller(token[1])).name == "t"


# The running product behind a pooler


@pytest.mark.slow
async def test_a_gateway_behind_a_pooler_refuses_a_revoked_token_and_the_doctor_says_what_is_wrong(
    database_url, tmp_path
):
    async with deaf_pooler(database_url) as url:
        environment = {"STORE_URL": url, "DATA_DIR": str(tmp_path)}
        async with Process("gateway", environment=environment, log=tmp_path / "log") as process:
            async with client_of(process.url) as client:
                made = await client.post("/v1/tokens", {"name": fresh_id("token"), "permissions": ["admin"]})
                caller = client.caller(made["token"])
                assert (await caller.request("GET", "/v1/tokens"))[0] == 200
                assert (await client.request("DELETE", f"/v1/tokens/{made['id']}"))[0] == 204

                async def is_refused():
                    return (await caller.request("GET", "/v1/tokens"))[0] == 401

                await eventually(is_refused)
            assert await process.stop() == 0
        settings = {f"SIGNAL_BROKER_{key}": value for key, value in {**environment, "SECRET_KEYS": SECRET_KEY}.items()}
        found = await asyncio.to_thread(commands.run, "doctor", "--json", environment=settings)
        assert judgements(found)["notify"] == "warn"
    settings["SIGNAL_BROKER_STORE_URL"] = database_url
    found = await asyncio.to_thread(commands.run, "doctor", "--json", environment=settings)
    assert judgements(found)["notify"] == "ok"


def judgements(done):
    """Return the level of each of the doctor's checks."""
    return {check["check"]: check["level"] for check in json.loads(done.stdout)["checks"]}
