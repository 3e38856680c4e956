"""The one form of moments: what answers, headers, logs and files show."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

FORM = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_NAME = re.compile(r".*At|.*_at|oldest|timestamp", re.ASCII)
_OF_CALLERS = {"payload", "variables", "value", "before", "after", "paths"}
"""Members that show what a caller wrote, or are no answers."""


def check_moments(document: Any) -> None:
    """Assert that every moment in an answer, JSON as Python has it, has the one form."""
    match document:
        case Mapping():
            for name, value in document.items():
                if isinstance(value, str) and _NAME.fullmatch(name):
                    assert FORM.fullmatch(value), (name, value)
                elif name not in _OF_CALLERS:
                    check_moments(value)
        case list():
            for item in document:
                check_moments(item)
