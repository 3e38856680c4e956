"""Lists as the stores return them."""

from __future__ import annotations


async def listed(store, **wanted):
    """Return the signals, or the deliveries, of the page of *store* that is *wanted*."""
    page = await store.page(**wanted)
    return [getattr(item, "delivery", item) for item in page.items]
