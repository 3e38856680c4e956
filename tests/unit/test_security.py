"""docs/security.md names tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security.md"


def test_every_test_that_the_threat_model_names_is_there():
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text()))
    there = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert len(named) > 30
    assert named <= there, sorted(named - there)


def test_every_row_of_the_threat_model_names_a_test():
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and line.count("|") == 5]
    assert len(rows) > 12
    assert all("`test_" in row for row in rows[1:])
