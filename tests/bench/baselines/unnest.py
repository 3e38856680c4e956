"""Rows inserted with ``INSERT ... SELECT FROM unnest``: the most that PostgreSQL records through one connection."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime

import asyncpg
import uvloop

from tests.bench.programs import write_json

AT_ONCE = 250
"""How many rows a transaction has; the recorder takes as many."""
_CREATE = "CREATE TABLE bench (id bigint PRIMARY KEY, created_at timestamptz, name text, payload text)"
_INSERT = "INSERT INTO bench SELECT * FROM unnest($1::bigint[], $2::timestamptz[], $3::text[], $4::text[])"


async def main(url: str, body: str, count: int) -> None:
    """Insert *count* rows with the payload *body*, and print how long it took, and how much CPU time."""
    connection = await asyncpg.connect(url)
    await connection.execute(_CREATE)
    start, used = time.perf_counter(), time.process_time()
    for first in range(0, count, AT_ONCE):
        ids, now = range(first, min(first + AT_ONCE, count)), datetime.now(UTC)
        size = len(ids)
        await connection.execute(_INSERT, list(ids), [now] * size, ["bench"] * size, [body] * size)
    write_json({"elapsed": time.perf_counter() - start, "cpu": time.process_time() - used})
    await connection.execute("DROP TABLE bench")
    await connection.close()


if __name__ == "__main__":
    uvloop.run(main(**json.load(sys.stdin)))
