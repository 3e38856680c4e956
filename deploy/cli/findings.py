"""What ``doctor`` finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

_NAMED = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; `fail` means that a part does not work, `warn` that an operator should look."""

    level: Literal["ok", "warn", "fail"]
    check: str
    detail: str


def enumerate_some(names: Sequence[object]) -> str:
    """Return the first few of *names*, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(str, names[:_NAMED])) + more
