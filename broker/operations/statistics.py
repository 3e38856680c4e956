"""Statistics as the native API answers them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson

from broker.moments import show_moment
from broker.slices import Slices
from broker.statistics import Figures, Split, Window, percentiles

OTHERS = "\x1f"
"""The key of the tenants, or names, for which there was no room."""
_SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


async def render_statistics(
    window: Window, figures: Sequence[Figures], *, split: Split | None, slices: Slices
) -> bytes:
    """Return *figures*, which are in the order of the steps, as `StatisticsSchema` has them.

    Without a *split* there are steps without figures, too. Other tasks get their turns meanwhile.
    """
    moments: dict[datetime, str] = {}
    if split is None:
        there = {one.at: one for one in figures}
        figures = [there.get(at) or Figures(at=at) for at in window.steps]
    parts = []
    async with slices.take() as turn:
        for one in figures:
            at = moments.get(one.at) or moments.setdefault(one.at, show_moment(one.at))
            parts.append(orjson.dumps({"at": at, **_group(one.key, split), **_counts(one)}))
            if turn.is_over:
                await turn.pause()
    head = {
        "since": show_moment(window.since),
        "until": show_moment(window.until),
        "step": window.step,
        "by": None if split is None else split.value,
    }
    return b'%s,"steps":[%s]}' % (orjson.dumps(head)[:-1], b",".join(parts))


def _counts(one: Figures) -> dict[str, Any]:
    latency = percentiles(one, _SHARES.values())
    return {
        "accepted": one.accepted,
        "recorded": one.recorded,
        "delivered": one.delivered,
        "dead": one.dead,
        "retried": one.retried,
        "latencyMs": None
        if latency is None
        else dict(zip(_SHARES, [round(value, 1) for value in latency], strict=True)),
    }


def _group(key: str, split: Split | None) -> dict[str, Any]:
    match split:
        case None:
            return {}
        case Split.SUBSCRIPTION:
            return {"subscriptionId": int(key), "other": False}
        case Split.TENANT:
            return {"tenantId": None if key in ("", OTHERS) else key, "other": key == OTHERS}
        case Split.NAME:
            return {"name": None if key == OTHERS else key, "other": key == OTHERS}
