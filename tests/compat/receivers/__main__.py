"""Write the table into docs/webhooks.md."""

from __future__ import annotations

import re
from pathlib import Path

from tests.compat.receivers.table import render

DOCUMENT = Path(__file__).parents[3] / "docs" / "webhooks.md"

if __name__ == "__main__":
    text = DOCUMENT.read_text()
    DOCUMENT.write_text(
        re.sub(r"^\| The receiver (?:.*\n)(?:\|.*\n)*", lambda _: f"{render()}\n", text, flags=re.MULTILINE)
    )
