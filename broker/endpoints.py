"""Signal endpoints: configured addresses where signals come in, each with its own URL and tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from broker.errors import InvalidField

_NAME = re.compile(r"[a-z0-9_-]{1,100}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A signal endpoint; the signals that come in there have its name.

    Args:
        id: Its id.
        name: The name of its signals, and the last part of its path.
        enabled: Whether calls of it are answered.
        description: A note for people.
        created_at: When it was created.
        created_by: The principal that created it.
        created_by_user_id: The id of that user, if it was one.
        tenants: The tenants that this principal was limited to, and so are its signals; None is no limit.
    """

    id: int
    name: str
    enabled: bool
    description: str | None
    created_at: datetime
    created_by: str
    created_by_user_id: int | None
    tenants: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointToken:
    """A token that opens one endpoint, without its value.

    Args:
        id: Its id.
        endpoint_id: The endpoint.
        name: The name of its caller.
        created_at: When it was created.
        created_by: The principal that created it.
        created_by_user_id: The id of that user, if it was one.
        expires_at: From when on it opens nothing; None: never.
        last_used_at: When it was last used, to about a minute; None: never.
    """

    id: int
    endpoint_id: int
    name: str
    created_at: datetime
    created_by: str
    created_by_user_id: int | None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSignal:
    """A signal that came in through an endpoint, with the present names of the endpoint and the token.

    Args:
        id: Its id.
        created_at: When it was accepted.
        endpoint_id: The id of the endpoint.
        payload: Plain JSON text, as sent.
        token_name: None once the token is deleted.
        endpoint_name: None once the endpoint is deleted.
        endpoint_description: None without one, and once the endpoint is deleted.
    """

    id: int
    created_at: datetime
    endpoint_id: int
    payload: bytes
    token_name: str | None
    endpoint_name: str | None
    endpoint_description: str | None


def check_endpoint_name(name: str) -> str:
    """Return *name* if it can name an endpoint.

    Raises:
        InvalidField: It is not 1 to 100 characters of ``a-z 0-9 - _``.
    """
    if not _NAME.fullmatch(name):
        raise InvalidField("/name", "must be 1 to 100 characters of a-z, 0-9, - and _")
    return name


def endpoint_names(patterns: Sequence[str] | None) -> list[str] | None:
    """Return the endpoint names that *patterns* match; None stands for all of them.

    An endpoint's name is a single word, so a pattern matches one name, all of them, or none.
    """
    if patterns is None:
        return None
    names = set()
    for pattern in patterns:
        words = [word for word in pattern.split(".") if word != "#"]
        if words in ([], ["*"]):
            return None
        if len(words) == 1:
            names.add(words[0])
    return sorted(names)
