"""Sessions in the store: how many there are, how long they last, and what is kept of them."""

from __future__ import annotations

import pytest

from broker.access import Permission, Principal, digest
from broker.errors import QuotaExceeded
from broker.store.administration.audit import AuditStore
from broker.store.administration.sessions import LONGEST, MOST, MOST_AN_HOUR, Replaced, SessionStore, SignIn
from gateway.sessions import csrf_token, make_value

BY_TOKEN = SignIn(
    principal=Principal(name="t", permissions=frozenset({Permission.READ}), token_id=7), credential=digest("sb_t")
)


async def test_a_principal_has_so_many_sessions_and_a_further_one_ends_the_oldest(database):
    sessions = SessionStore(database)
    values = [make_value() for _ in range(MOST + 2)]
    for value in values:
        assert await sessions.start(value, BY_TOKEN)

    found = [await sessions.find(value) is not None for value in values]
    assert found == [False, False] + [True] * MOST


async def test_a_browser_that_signs_in_again_costs_no_other_session(database):
    sessions = SessionStore(database)
    values = [make_value() for _ in range(MOST + 1)]
    for value in values[:MOST]:
        started = await sessions.start(value, BY_TOKEN)
    assert await sessions.start(values[-1], BY_TOKEN, replaced=Replaced(*started, BY_TOKEN.principal))

    found = [await sessions.find(value) is not None for value in values]
    assert found == [True] * (MOST - 1) + [False, True]
    ended = await AuditStore(database).page(kind="session-ended")
    assert [event.subject_id for event in ended.items] == [started[0]]


async def test_a_principal_begins_only_so_many_sessions_within_an_hour(database):
    sessions = SessionStore(database)
    await database.execute(
        "INSERT INTO sessions (digest, principal, credential, ends_at)"
        f" SELECT int4send(n), 'token 7', '', now() FROM generate_series(1, {MOST_AN_HOUR}) AS n"
    )
    with pytest.raises(QuotaExceeded, match="signed in 100 times"):
        await sessions.start(make_value(), BY_TOKEN)


async def test_ended_sessions_are_forgotten_after_an_hour(database):
    sessions = SessionStore(database)
    for value in ("a", "b", "c"):
        await sessions.start(value, BY_TOKEN)
    await database.execute(
        "UPDATE sessions SET ends_at = now() - CASE id WHEN 1 THEN interval '61 minutes' ELSE interval '59 minutes' END"
        " WHERE id < 3"
    )
    assert (await sessions.forget(10), await sessions.forget(10)) == (1, 0)
    assert [await sessions.find(value) is not None for value in ("a", "b", "c")] == [False, False, True]


async def test_no_session_begins_for_a_user_that_is_gone(database):
    gone = SignIn(principal=Principal(name="u", permissions=frozenset(), user_id=7), credential=digest("hash"))
    assert await SessionStore(database).start(make_value(), gone) is None
    assert (await AuditStore(database).page()).items == []


async def test_the_store_has_digests_only(database):
    value = make_value()
    await SessionStore(database).start(value, BY_TOKEN)
    (row,) = await database.fetch("SELECT * FROM sessions")
    text = str(dict(row))
    assert value not in text
    assert csrf_token(value) not in text
    assert row["ends_at"] - row["created_at"] == LONGEST
