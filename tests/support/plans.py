"""What statements read when they are carried out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from broker.store.postgres.database import Session
from broker.store.postgres.statements import Statement


async def count_pages(session: Session, statement: Statement, **arguments: str) -> int:
    """Carry *statement* out, its arguments written in SQL, and return how many pages it read, from memory or disk."""
    await session.execute(f"PREPARE counted AS {statement.sql}")
    try:
        values = ", ".join(arguments[name] for name in statement.parameters)
        listed = f"({values})" if values else ""
        (row,) = await session.fetch(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE counted {listed}")
    finally:
        await session.execute("DEALLOCATE counted")
    return _most_pages(json.loads(row[0])[0]["Plan"])


def _most_pages(plan: Mapping[str, Any]) -> int:
    """Return how many pages that part of the plan read that read most: each tells them with all that is below it."""
    own = int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
    return max(own, *(_most_pages(part) for part in plan.get("Plans", ())), 0)
