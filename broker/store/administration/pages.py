"""Pages of what a principal may see, where only the domain can say what that is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from broker.access import Principal

_CHUNK = 1_000
_MOST = 10_000
"""How many items one page looks at, for a caller that sees only some."""


class _Numbered(Protocol):
    @property
    def id(self) -> int: ...


T = TypeVar("T", bound=_Numbered)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page.

    Args:
        items: Its items, in ascending order of ids.
        next: The id after which the next page begins; None: there are no more.
    """

    items: Sequence[T]
    next: int | None


async def find_page(
    fetch: Callable[[int, int], Awaitable[Sequence[T]]],
    by: Principal,
    is_seen: Callable[[T], bool],
    *,
    after_id: int,
    limit: int,
) -> Page[T]:
    """Return the first items after *after_id* that *by* sees, *limit* at most; fewer after many that it does not see.

    Args:
        fetch: Returns the items after the id that it gets, as many as it is told, in ascending order.
        by: Who asks; without limits it sees all.
        is_seen: Whether it may see an item otherwise.
        after_id: The id to begin after.
        limit: How many items at most.
    """
    size = limit if by.are_none else max(limit, _CHUNK)
    items: list[T] = []
    looked = 0
    while True:
        found = await fetch(after_id, size)
        for item in found:
            after_id = item.id
            if by.are_none or is_seen(item):
                items.append(item)
                if len(items) == limit:
                    return Page(items, after_id)
            if not by.are_none:
                await asyncio.sleep(0)  # comparing patterns may take long, and other requests wait
        looked += len(found)
        if len(found) < size or looked >= _MOST:
            return Page(items, after_id if len(found) == size else None)
