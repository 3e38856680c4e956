"""Lists of deliveries to pull targets, where there are many."""

from __future__ import annotations

import pytest

from broker.access import ADMINISTRATOR, Permission, Principal
from broker.signals import Scope, Throw
from broker.store.deliveries import pull_listing
from broker.store.deliveries.pull_listing import PullFilter, PullListing, TooMany
from broker.subscriptions import SubscriptionSpec
from broker.targets.pull import PullTarget
from tests.support.builders import throw
from tests.support.plans import count_pages

PULL = SubscriptionSpec(name="a", targets=(PullTarget(),))
MANY = """
INSERT INTO deliveries (signal_id, subscription_id, state, app)
SELECT (SELECT min(id) FROM signals) + n, $1, CASE WHEN n % 2 = 0 THEN 'delivered' ELSE 'parked' END, '$pull'
FROM generate_series(1, 20000) AS n
"""


@pytest.fixture
def listing(database):
    return PullListing(database)


async def test_more_of_an_execution_than_can_be_looked_at_are_refused(database, listing, subscriptions, monkeypatch):
    subscription = await subscriptions.create(PULL, secret=None)
    to_execution = Throw(name="a", scope=Scope.EXECUTION, execution_id="e")
    await subscriptions.create(SubscriptionSpec(name="a", targets=(PullTarget(),), execution_id="e"), secret=None)
    await throw(database, to_execution, to_execution, "a")
    of = await listing.subscriptions(by=ADMINISTRATOR, limit=10)
    wanted = PullFilter(execution_ids=["e"])

    assert len(of) == 2
    assert await listing.count(of, wanted) == 2
    monkeypatch.setattr(pull_listing, "MOST_OF_EXECUTIONS", 1)
    with pytest.raises(TooMany):
        await listing.count(of, wanted)
    with pytest.raises(TooMany):
        await listing.find(of, wanted, first=0, most=1, descending=False)
    assert await listing.count([subscription], PullFilter()) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limits", "seen"),
    [
        ({}, 3),
        ({"names": ("a",)}, 1),
        ({"names": ("a.#",)}, 2),
        ({"tenants": ("acme",)}, 1),
        ({"tenants": ("acme",), "untenanted": True}, 1),
    ],
)
async def test_a_caller_sees_its_own_subscriptions(listing, subscriptions, limits, seen):
    for name, tenant in (("a", None), ("a.#", None), ("b", "acme")):
        spec = SubscriptionSpec(name=name, targets=(PullTarget(),), tenant_id=tenant)
        await subscriptions.create(spec, secret=None)
    caller = Principal(name="c", permissions=frozenset({Permission.READ}), **limits)

    assert len(await listing.subscriptions(by=caller, limit=10)) == seen
    assert len(await listing.subscriptions(by=caller, limit=1)) == 1


async def test_a_page_costs_what_is_on_it_however_many_there_are(database, listing, subscriptions):
    subscription = await subscriptions.create(PULL, secret=None)
    await throw(database, "a")
    await database.execute(MANY, subscription.id)
    flags = dict.fromkeys(("leasable", "leased", "parked", "dead"), "true")

    async with database.session() as session:
        await session.execute("VACUUM ANALYZE deliveries")
        pages = await count_pages(
            session,
            pull_listing._Sql.find.naming(direction="DESC"),  # noqa: SLF001  (its cost matters)
            subscription_ids=f"'{{{subscription.id}}}'",
            first="0",
            most="10",
            worker="NULL",
            since="NULL",
            until="NULL",
            **flags,
        )
    assert pages < 200
