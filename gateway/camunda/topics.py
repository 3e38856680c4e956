"""The topics of external tasks: which subscriptions with pull targets they stand for.

A topic is the signal name of subscriptions that a worker may lease from. If there is none of that name, it is the id of
one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta

from broker.access import Permission, Principal
from broker.integers import MAX_ID
from broker.store.deliveries.leasable import LeasableStore, Named
from broker.subscriptions import Subscription
from gateway.camunda.external_task_requests import Topic

NEEDED = (Permission.DELIVERIES, Permission.READ)
"""What a caller needs to fetch tasks, and to end them."""
_ID = re.compile(r"[1-9][0-9]{0,17}")


class Topics:
    """The topics that a worker fetches at once.

    Args:
        topics: The topics; what belongs to several belongs to the first one.
        principal: The worker.
        leasable: Finds subscriptions.
    """

    def __init__(self, topics: Sequence[Topic], principal: Principal, leasable: LeasableStore) -> None:
        self._principal = principal
        self._leasable = leasable
        self._named = {
            Named(topic.name, principal.reach, topic.tenants, topic.without_tenant): topic
            for topic in reversed(topics)
            if all(principal.may_all(permission, topic.name) for permission in NEEDED)
        }
        self._of_ids = {int(topic.name): topic for topic in reversed(topics) if is_id(topic.name)}
        self.found: dict[int, Topic] = {}
        """The topics of all subscriptions that were found so far, by their ids."""

    @property
    def keys(self) -> Collection[int | Named]:
        """What they stand for, now or later."""
        return [*self._named, *self._of_ids]

    async def find(self) -> Mapping[int, timedelta]:
        """Return how long leases last, by the ids of the subscriptions that may have tasks."""
        reach = self._principal.reach
        found: dict[int, Topic] = {}
        if self._of_ids:
            for subscription in await self._leasable.of_ids(self._of_ids, reach):
                topic = self._of_ids[subscription.id]
                if _fits(subscription, topic, self._principal):
                    found[subscription.id] = topic
        named = await self._leasable.of_names(list(self._named), reach)
        found |= {subscription_id: self._named[one] for subscription_id, one in named.items()}
        self.found |= found
        return {subscription_id: topic.duration for subscription_id, topic in found.items()}


def may_lease(subscription: Subscription, principal: Principal) -> bool:
    """Return whether *principal* may lease deliveries of a subscription with a pull target."""
    return subscription.is_owned_by(principal.reach) and all(
        principal.may_all(permission, subscription.spec.name) for permission in NEEDED
    )


def _fits(subscription: Subscription, topic: Topic, principal: Principal) -> bool:
    tenant = subscription.spec.tenant_id
    return (
        may_lease(subscription, principal)
        and (topic.tenants is None or tenant in topic.tenants)
        and not (topic.without_tenant and tenant is not None)
    )


def is_id(name: str) -> bool:
    """Return whether a topic may be the id of a subscription, if none has that name."""
    return _ID.fullmatch(name) is not None and int(name) <= MAX_ID
