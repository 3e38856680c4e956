"""Signal endpoints: configured places where signals come in, each under its own URL and tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from broker.errors import InvalidField

_NAME = re.compile(r"[a-z0-9_-]{1,100}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A signal endpoint; signals that come in there bear its name."""

    id: int
    name: str
    enabled: bool
    description: str | None
    created_at: datetime
    created_by: str


def check_endpoint_name(name: str) -> str:
    """Return *name* if it can name an endpoint.

    Raises:
        InvalidField: It is not 1 to 100 characters of ``a-z 0-9 - _``.
    """
    if not _NAME.fullmatch(name):
        raise InvalidField("/name", "must be 1 to 100 characters of a-z, 0-9, - and _")
    return name
