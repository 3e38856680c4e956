"""Permissions of receivers are kept for as long as there is the subscription, and only so many of them."""

from __future__ import annotations

import pytest

from broker.callbacks import Receiver
from broker.store.subscriptions.permissions import MOST, PermissionStore
from broker.subscriptions import SubscriptionSpec
from broker.targets.webhook import WebhookTarget


def receiver(subscription, number=0):
    return Receiver.at(f"https://example.com/{number}", "broker.example.com", subscription_id=subscription.id)


async def created(subscriptions):
    target = WebhookTarget(url="https://example.com/{{payload.n}}", request_origin="broker.example.com")
    return await subscriptions.create(SubscriptionSpec(name="a", targets=(target,)), secret=None)


@pytest.mark.slow
async def test_the_latest_permissions_of_each_subscription_are_kept(database, subscriptions):
    permissions = PermissionStore(database)
    one, other = await created(subscriptions), await created(subscriptions)
    assert await permissions.grant(receiver(other))
    for number in (*range(MOST), 0, MOST):
        assert await permissions.grant(receiver(one, number))

    kept = [number for number in range(MOST + 1) if await permissions.is_granted(receiver(one, number))]
    assert kept == [0, *range(2, MOST + 1)]
    assert await permissions.is_granted(receiver(other))


async def test_a_subscription_that_is_deleted_gets_no_permission_and_takes_its_own_along(database, subscriptions):
    permissions, subscription = PermissionStore(database), await created(subscriptions)
    await permissions.grant(receiver(subscription))
    await subscriptions.delete(subscription.id)

    assert not await permissions.grant(receiver(subscription, 1))
    assert not await permissions.grant(Receiver(1 << 62, "0" * 64))
    await database.execute("DELETE FROM subscriptions")  # as retention does in the end
    assert not await permissions.is_granted(receiver(subscription))
