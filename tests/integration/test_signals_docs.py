"""docs/signals.md: every request in it is answered as it says."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

TEXT = (Path(__file__).parents[2] / "docs" / "signals.md").read_text()
REQUESTS = re.findall(r"^```json (POST) (\S+) (\d+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


async def test_every_request_is_answered_as_the_document_says(client):
    """Its dates are those of the day it was written; they are those of the day after tomorrow here."""
    assert len(REQUESTS) == TEXT.count("```json")
    soon = f"{datetime.now(UTC) + timedelta(days=2):%Y-%m-%d}"
    for method, path, expected, body in REQUESTS:
        status, _, answer = await client.request(
            method,
            path,
            data=body.replace("2026-12-24", soon).encode(),
            headers={"Content-Type": "application/json"},
        )
        assert status == int(expected), (path, answer)
        if path.endswith("batch"):
            assert [result["status"] for result in answer["results"]] == [202, 202, 400]
