"""SQL as SQL: named, described statements read from the ``.sql`` files beside the code that runs them."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from types import SimpleNamespace

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@cache
def load(name: str) -> SimpleNamespace:
    """Return the statements of ``sql/<name>.sql``, each as an attribute named by its ``-- name:`` line."""
    text = files("broker.store").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    return SimpleNamespace(**dict(zip(parts[::2], parts[1::2], strict=True)))
