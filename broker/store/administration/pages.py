"""Pages of what a principal may see, where only the domain can say what that is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar


class _Numbered(Protocol):
    @property
    def id(self) -> int: ...


T = TypeVar("T", bound=_Numbered)


async def find_page(
    fetch: Callable[[int], Awaitable[Sequence[T]]], is_seen: Callable[[T], bool], *, after_id: int, limit: int
) -> list[T]:
    """Return the first *limit* items after *after_id* that are seen.

    Args:
        fetch: Returns up to *limit* items with ids above the one that it gets, in ascending order.
        is_seen: Whether the principal may see an item.
        after_id: The id to begin after.
        limit: How many items at most.
    """
    found: list[T] = []
    while True:
        page = await fetch(after_id)
        found += filter(is_seen, page)
        if len(page) < limit or len(found) >= limit:
            return found[:limit]
        after_id = page[-1].id
