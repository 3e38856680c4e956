"""Signal endpoints in PostgreSQL: limits, days, and the audit of changes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import date, datetime

import pytest

from broker.access import ADMINISTRATOR
from broker.errors import LimitReached
from broker.signals import Source
from broker.store.administration.audit import AuditStore
from broker.store.administration.endpoints import EndpointStore
from broker.store.signals.signals import SignalStore
from tests.support.builders import RESCUE_AFTER, signal


async def test_creations_at_the_same_time_do_not_exceed_the_limits(database):
    endpoints = EndpointStore(database)

    async def create(name):
        try:
            return (await endpoints.create(name=name, by=ADMINISTRATOR, most=2)).id
        except LimitReached:
            return None

    made = [one for one in await asyncio.gather(*map(create, "abcdef")) if one is not None]
    assert len(made) == 2

    async def create_token(name):
        try:
            return await endpoints.create_token(made[0], name=name, by=ADMINISTRATOR, most=3)
        except LimitReached:
            return None

    opened = [one for one in await asyncio.gather(*map(create_token, "abcdef")) if one is not None]
    assert len(opened) == 3
    assert len(await endpoints.tokens(made)) == 3


async def test_each_tenant_has_as_many_endpoints(database):
    endpoints = EndpointStore(database)
    for principal in (ADMINISTRATOR, *(replace(ADMINISTRATOR, tenants=(tenant,)) for tenant in ("acme", "beta"))):
        await endpoints.create(name=f"of {principal.tenants}", by=principal, most=1)
        with pytest.raises(LimitReached):
            await endpoints.create(name="b", by=principal, most=1)


async def test_a_change_that_fails_is_not_audited(database):
    endpoints = EndpointStore(database)
    await endpoints.create(name="a", by=ADMINISTRATOR, most=1)

    with pytest.raises(LimitReached):
        await endpoints.create(name="b", by=ADMINISTRATOR, most=1)

    assert [event.type for event in (await AuditStore(database).page()).items] == ["signal-endpoint-created"]


def at(signal_id, moment, name="alerts", source=Source.SIGNAL_ENDPOINT):
    throw = {"name": name, "payload": b'{"n":%d}' % signal_id, "source": source, "source_id": 1}
    return signal(signal_id, created_at=datetime.fromisoformat(moment), **throw)


async def test_days_begin_and_end_with_utc_and_both_are_included(database):
    """The total is kept by day and name, and adds up however often the same signals are recorded."""
    endpoints, signals = EndpointStore(database), SignalStore(database)
    await endpoints.create(name="alerts", by=ADMINISTRATOR, most=1)
    batch = [
        at(1, "2026-11-20T23:59:59.999999Z"),
        at(2, "2026-11-21T00:00:00Z"),
        at(3, "2026-11-21T12:00:00Z", name="renamed"),
        at(4, "2026-11-21T23:59:59.999999Z"),
        at(5, "2026-11-22T01:00:00+02:00"),
        at(6, "2026-11-22T00:00:00Z"),
        at(7, "2026-11-21T12:00:00Z", source=Source.NATIVE),
    ]
    for part in (batch[3:], batch[:4], batch):
        await signals.record(part, rescue_after=RESCUE_AFTER)

    async def found(first=None, last=None, **spec):
        page, total = await endpoints.signals(
            limit=10,
            first_day=first and date.fromisoformat(first),
            last_day=last and date.fromisoformat(last),
            **spec,
        )
        return [signal.id for signal in page], total

    assert await found() == ([6, 5, 4, 3, 2, 1], 6)
    assert await found("2026-11-21", "2026-11-21") == ([5, 4, 3, 2], 4)
    assert await found("2026-11-21") == ([6, 5, 4, 3, 2], 5)
    assert await found(last="2026-11-21") == ([5, 4, 3, 2, 1], 5)
    assert await found("2026-11-22", "2026-11-21") == ([], 0)
    assert await found("2026-11-21", "2026-11-21", by=replace(ADMINISTRATOR, names=("alerts",))) == ([5, 4, 2], 3)
    limited = replace(ADMINISTRATOR, tenants=("acme",))
    assert await found("2026-11-21", "2026-11-21", by=limited) == ([5, 4, 3, 2], 4)
    assert await found("2026-11-21", "2026-11-21", offset=3) == ([2], 4)
    assert await found("2026-11-21", "2026-11-21", offset=4) == ([], 4)
