"""What the kinds of clients have in common."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

PROGRAMS = Path(__file__).with_name("programs")

Throw = Callable[[str, str, str], int]
"""Throws a signal: the gateway's URL, a token and the signal's name; returns its id."""
Kind = Callable[[Path, Mapping[str, Any]], Throw]
"""Makes a client in an empty folder of the OpenAPI document, and compiles it."""


class Skipped(Exception):
    """Raised when this machine lacks what makes a client; the message says what."""


def document(directory: Path, openapi: Mapping[str, Any]) -> Path:
    """Write *openapi* into *directory*, and return where it is."""
    path = directory / "openapi.json"
    path.write_text(json.dumps(openapi))
    return path
