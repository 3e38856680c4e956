"""Interrupts: the first Ctrl-C lets the request under way end, because its answer says what was done."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from deploy.cli.output import say


async def finish(request: Coroutine[Any, Any, None], waiting: str) -> None:
    """Await *request*, to its end if it is interrupted once: then say on standard error what it is *waiting* for.

    Raises:
        asyncio.CancelledError: It was interrupted. If it was interrupted again, *request* did not come to its end.
    """
    task = asyncio.create_task(request)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            say(f"{waiting}; Ctrl-C again does not wait", err=True)
        await task
        raise
