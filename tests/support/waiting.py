"""Waiting for what a test acts upon: an answered throw is not recorded yet, nor is a line of the log written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.eventually import eventually
from tests.support.moments import check_moments
from tests.support.product import Client
from tests.support.throwing import recorded, throw


async def throw_recorded(client: Client, name: str, **spec: Any) -> Any:
    """Throw a signal and return it once it is recorded: later subscriptions are not owed it."""
    signal = await throw(client, name, **spec)
    await recorded(client, signal["id"])
    return signal


async def throw_one_by_one(client: Client, name: str, count: int, **spec: Any) -> list[Any]:
    """Throw *count* signals with the numbers from 0 on as payloads, each when the one before it is recorded.

    Recorders work side by side, so that signals thrown at the same time are recorded in any order.
    """
    return [await throw_recorded(client, name, payload=number, **spec) for number in range(count)]


async def logged(log: Path, wanted: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    """Return the lines of the *log* of a process once they are as *wanted*."""

    def read() -> list[dict[str, Any]] | None:
        # The last line may be half written.
        lines = [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        check_moments(lines)
        return lines if wanted(lines) else None

    lines = await eventually(read)
    assert lines is not None
    return lines
