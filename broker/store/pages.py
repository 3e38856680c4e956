"""Pages of lists. What is rare is looked for within a budget of time, and a page says how far was looked.

A list walks along one index, the one that serves the rarest of its filters, and asks of each row that it comes to
whether the other filters choose it. So a page costs about the same however long the history is: it may hold less than
was asked for, or nothing, and still have a next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

BUDGET_SECONDS = 0.03
"""How long a page goes on looking; the look that is under way then is the last one."""
_LEAST_LOOKS = 100
_MOST_LOOKS = 1_000
"""How many rows are looked at in one statement."""

K = TypeVar("K")
T = TypeVar("T")


class Order(NamedTuple):
    """The order of a list, as statements write it.

    Args:
        beyond: The operator between the key of a row and that of one before it.
        direction: The word after ``ORDER BY``.
    """

    beyond: str
    direction: str


ASCENDING = Order(">", "ASC")
DESCENDING = Order("<", "DESC")


class Page(NamedTuple, Generic[T, K]):
    """A page of a list.

    Args:
        items: The items.
        following: The key of the last one that was looked at, if more may follow; it need not be that of an item.
    """

    items: list[T]
    following: K | None


@dataclass(frozen=True, slots=True)
class Looked(Generic[T, K]):
    """What a look found.

    Args:
        items: The items that the filters choose, in order.
        last: The key of the last one that was looked at.
        is_full: Whether the page is full, however many items were asked for.
    """

    items: Sequence[T]
    last: K
    is_full: bool = False


async def read_page(
    find: Callable[[K, int], Awaitable[Sequence[K]]],
    look: Callable[[Sequence[K], int], Awaitable[Looked[T, K]]],
    *,
    after: K,
    limit: int,
    seconds: float | None = None,
) -> Page[T, K]:
    """Return a page of at most *limit* items after *after*.

    Args:
        find: Returns the keys that follow the given one in the list's order, at most so many.
        look: Looks at those of these keys, in order, that are there, until it has found so many items.
        after: The key that the first item follows.
        limit: How many items fill the page.
        seconds: The budget, if it is not `BUDGET_SECONDS`.
    """
    end = asyncio.get_running_loop().time() + (BUDGET_SECONDS if seconds is None else seconds)
    items: list[T] = []
    size = max(limit, _LEAST_LOOKS)
    while True:
        keys = await find(after, size)
        if not keys:
            return Page(items, None)
        looked = await look(keys, limit - len(items))
        items += looked.items
        after = looked.last
        if len(items) == limit or looked.is_full:
            return Page(items, after)
        if after == keys[-1] and len(keys) < size:
            return Page(items, None)
        if asyncio.get_running_loop().time() > end:
            return Page(items, after)
        size = max(size, min(4 * size, _MOST_LOOKS))
