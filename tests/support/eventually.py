"""Waiting without sleeping on a guess."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")


@overload
async def eventually(check: Callable[[], Awaitable[T]], *, within: float = ..., every: float = ...) -> T: ...
@overload
async def eventually(check: Callable[[], T], *, within: float = ..., every: float = ...) -> T: ...
async def eventually(check: Callable[[], T | Awaitable[T]], *, within: float = 60, every: float = 0.02) -> T:
    """Return the first truthy result of *check*; fail with its last result after *within* seconds.

    They only decide how long a failure takes; a busy machine may need ten times as long as an idle one.
    """
    clock = asyncio.get_running_loop().time
    end = clock() + within
    while True:
        result = check()
        if inspect.isawaitable(result):
            result = await result
        if result:
            return result
        if clock() > end:
            raise AssertionError(f"not within {within} s; last result: {result!r}")
        await asyncio.sleep(every)
