"""Levels: which shares an attempt counts towards, and how much each may have."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache

from broker.store.deliveries.surplus import Route
from workers.shares import Levels, Share
from workers.standing import Standing

_TENANT, _TENANT_AT_HOST, _TENANT_WITHOUT_HOST = 128.0, 1024.0, 16384.0
_HOST = {Standing.UNKNOWN: 0.5, Standing.SILENT: 0.5, Standing.ANSWERING: 32.0, Standing.QUICK: 32.0}
"""The weights of hosts in a lane (see `workers.shares.Pool`). One tenant alone has four fifths of the places for its
hosts; one host alone a quarter of them, and two thirds once it has answered. So beside fifty that are silent, and keep
what they got before that was known, one that answers has several places."""
_SUBSCRIPTION = 1e6
"""The weight of a subscription in what its hosts have of a lane: all of it, even of two places; the places of the hosts
decide."""
_AT_HOST = {Standing.UNKNOWN: 4.0, Standing.ANSWERING: 64.0, Standing.QUICK: 256.0, Standing.SILENT: 0.25}
"""The weights of subscriptions in the places of a host. One alone has four fifths of them once it has answered, two
fifths before that, and an eighth while it is silent."""
_WITHOUT_HOST = _AT_HOST | {Standing.QUICK: 4096.0}
"""The same for targets that have no host, in a lane: one alone gets nearly all places while it is quick."""
_UNPROVEN, _UNPROVEN_IN_LANE = 1000.0, 6400.0
"""The weights of all subscriptions together that have not answered: a tenth of the places is left to those that do."""
_HOST_MEMORY = {Standing.UNKNOWN: 4.0, Standing.SILENT: 4.0, Standing.ANSWERING: 4.0, Standing.QUICK: 16.0}
_SUBSCRIPTION_MEMORY, _UNPROVEN_MEMORY = 1024.0, 128.0
"""The weights in the memory for payloads, of hosts, of subscriptions and of those that have not answered. A payload may
be a sixteenth of it, so there are few. That of the next receiver fits in beside eight that hang, and that of one that
has answered in any case."""
_REMEMBERED = 20_000

_NOT_ANSWERED = frozenset({Standing.UNKNOWN, Standing.SILENT})

Key = tuple[str, Hashable]
"""Whose share it is: that of tenants, a host or a subscription."""


@lru_cache(_REMEMBERED)
def flows_of(route: Route) -> Sequence[Key]:
    """Return which flows an attempt is part of. In the first one everything takes turns as one."""
    return [*(("host", host) for host in route.hosts[:1]), ("subscription", route.subscription_id)]


@lru_cache(_REMEMBERED)
def shares_of(route: Route, hosts: tuple[Standing, ...], subscription: Standing) -> Levels:
    """Return the shares of a lane that an attempt counts towards, by how its hosts and its subscription answer."""
    own = ("subscription", route.subscription_id)
    if not route.hosts:
        tenant = Share(("tenants", route.tenants), _TENANT_WITHOUT_HOST)
        return [[tenant], *_unproven(subscription, "", _UNPROVEN), [Share(own, _WITHOUT_HOST[subscription])]]
    return [
        [Share(("tenants", route.tenants), _TENANT)],
        [share_of(("host", name), standing) for name, standing in zip(route.hosts, hosts, strict=True)],
        *[level for name in route.hosts for level in _unproven(subscription, name, _UNPROVEN_IN_LANE)],
        [Share(own, _SUBSCRIPTION)],
    ]


@lru_cache(_REMEMBERED)
def memory_shares_of(route: Route, hosts: tuple[Standing, ...], subscription: Standing) -> Levels:
    """Return the shares of the memory of a lane that an attempt counts towards."""
    proven = subscription not in _NOT_ANSWERED
    at_hosts = [
        Share(("host", name), _HOST_MEMORY[standing]) for name, standing in zip(route.hosts, hosts, strict=True)
    ]
    own = Share(("subscription", route.subscription_id), _SUBSCRIPTION_MEMORY if proven else _UNPROVEN_MEMORY)
    return [
        [Share(("tenants", route.tenants), _TENANT)],
        *_unproven(subscription, "", _UNPROVEN),
        *([at_hosts] if at_hosts else []),
        [own],
    ]


@lru_cache(_REMEMBERED)
def within_host(route: Route, subscription: Standing) -> Levels:
    """Return the shares of a host's places that an attempt counts towards, by how its subscription answers."""
    return [
        [Share(("tenants", route.tenants), _TENANT_AT_HOST)],
        *_unproven(subscription, "", _UNPROVEN),
        [Share(("subscription", route.subscription_id), _AT_HOST[subscription])],
    ]


def share_of(key: Key, standing: Standing) -> Share:
    """Return the share of a lane that all those of *key* have, whatever they call: the more generous one."""
    match key[0]:
        case "tenants":
            return Share(key, _TENANT_WITHOUT_HOST)
        case "host":
            return Share(key, _HOST[standing])
        case _:
            return Share(key, _WITHOUT_HOST[standing])


def _unproven(standing: Standing, host: str, weight: float) -> Levels:
    """Return the level at which all those count that have not answered."""
    return [[Share(("unproven", host), weight)]] if standing in _NOT_ANSWERED else []
