"""Credentials hidden: what answers and records show in place of a value that may be one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import unquote_plus

HIDDEN = "***"
"""What is shown in place of a value that may be a credential."""
_CREDENTIAL = re.compile("auth|cookie|credential|key|pass|secret|session|signature|token", re.IGNORECASE)
_WORD = re.compile("[A-Z]?[a-z]+|[A-Z]+")
_SHORT_NAMES = frozenset({"code", "jwt", "pwd", "sas", "sig"})
"""Words by which parameters of URLs name a credential, but which are parts of others, too (*design*, *encoding*)."""
_PARAMETER = re.compile("([^&;=]*)=([^&;]*)")
_OWN = "webhook-signature"
"""Proves what it is sent with and nothing else, and helps to find out why a receiver refuses it."""


@lru_cache(maxsize=1000)
def is_credential(name: str) -> bool:
    """Return whether the header *name* may hold a credential."""
    return _CREDENTIAL.search(name) is not None


def hide_credentials(headers: Mapping[str, str]) -> dict[str, str]:
    """Return *headers* of a request to a webhook without values that may be credentials."""
    return {name: HIDDEN if is_credential(name) and name.lower() != _OWN else value for name, value in headers.items()}


def hide_credentials_of_url(url: str) -> str:
    """Return *url* without the values of those parameters of its query that may be credentials."""
    path, mark, query = url.partition("?")
    return path + mark + _PARAMETER.sub(_hide_parameter, query)


def _hide_parameter(parameter: re.Match[str]) -> str:
    name, value = parameter.groups()
    return f"{name}={HIDDEN if value and _names_credential(unquote_plus(name)) else value}"


def _names_credential(name: str) -> bool:
    return is_credential(name) or not _SHORT_NAMES.isdisjoint(word.lower() for word in _WORD.findall(name))
