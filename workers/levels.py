"""Levels: which shares an attempt counts towards, and how much each may have."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache

from broker.store.deliveries.surplus import Route
from workers.shares import Levels, Share

_OF_LANE = {"tenant": 128.0, "host": 4.0, "quick host": 16.0, "silent host": 0.5, "subscription": 1024.0}
"""The weights of shares in a lane (see `workers.shares.Pool`). One tenant alone has four fifths of the places for its
hosts; one host alone a third, almost half while it is quick, and a seventh while it is silent."""
_WITHOUT_HOST = {"tenant": 4096.0, "subscription": 4096.0}
"""The same for targets that have no host: there one subscription is not one of many, and alone it gets nearly all."""
_OF_HOST = {"tenant": 1024.0, "subscription": 256.0}
"""The weights of shares in the places of a host. One subscription alone has three quarters of them."""
_REMEMBERED = 20_000

Key = tuple[str, Hashable]
"""Whose share it is: that of a tenant, a host or a subscription."""


@lru_cache(_REMEMBERED)
def flows_of(route: Route) -> Sequence[Key]:
    """Return which flows an attempt is part of. In the first one everything takes turns as one."""
    return [*(("host", host) for host in route.hosts[:1]), ("subscription", route.subscription_id)]


@lru_cache(_REMEMBERED)
def shares_of(route: Route, kinds: tuple[str, ...]) -> Levels:
    """Return the shares of a lane that an attempt counts towards, while its hosts are of these *kinds*."""
    weights = _OF_LANE if route.hosts else _WITHOUT_HOST
    hosts = [Share(("host", name), weights[kind]) for name, kind in zip(route.hosts, kinds, strict=True)]
    return [
        [Share(("tenant", route.tenant_id), weights["tenant"])],
        *([hosts] if hosts else []),
        [Share(("subscription", route.subscription_id), weights["subscription"])],
    ]


@lru_cache(_REMEMBERED)
def within_host(route: Route) -> Levels:
    """Return the shares of a host's places that an attempt counts towards."""
    return [
        [Share(("tenant", route.tenant_id), _OF_HOST["tenant"])],
        [Share(("subscription", route.subscription_id), _OF_HOST["subscription"])],
    ]


def share_of(kind: str, key: Key) -> Share:
    """Return the share of a lane that all those of *key* have, whatever they call."""
    return Share(key, _OF_LANE[kind] if key[0] == "host" else _WITHOUT_HOST[kind])  # the more generous ones
