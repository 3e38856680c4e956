"""Credentials hidden: what answers and records show in place of a value that may be one.

A header, or a parameter of a URL, may hold a credential if a word of its name says so. Words are what is between
hyphens, underscores, dots, digits and capitals: *X-DingTalk-Sign*, *userPin* and *PHPSESSID* say so, but *design*,
*shipping* and *X-Country-Code* do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from urllib.parse import unquote_plus

HIDDEN = "***"
"""What is shown in place of a value that may be a credential."""
_WORD = re.compile("[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_WORDS = frozenset(
    {"assertion", "bearer", "code", "cred", "creds", "csrf", "hash", "hmac", "jwt", "nonce", "otp", "pin", "pw", "pwd"}
    | {"sas", "saml", "sid", "sig", "sign", "ticket", "totp", "xsrf"}
)
"""Words that name a credential, but are also parts of others."""
_STEMS = re.compile(
    "auth(?!ors?$)|cookie|credential|(?<!mon)key(?!word|board)|pass(?!ed|eng|ing|ive)|secret|sess(?:ion|id)|signature|token"
)
"""What names a credential within a word, too: *apikey*, *jsessionid*, *userpassword*."""
_CODED = frozenset(
    {"country", "currency", "error", "language", "postal", "reason", "region", "response", "result", "state", "status"}
)
"""Words that say of a *code* what it stands for."""
_OWN = "webhook-signature"
"""Proves what it is sent with and nothing else, and helps to find out why a receiver refuses it."""

_URL = re.compile(r"(?:(?:[A-Za-z][A-Za-z0-9+.-]*:)?//(?:([^/?#]*)@)?[^/?#]*)?([^?#]*)(.*)", re.DOTALL)
_PATH_PARAMETER = re.compile("(?<![^;,/])([^;,/=]*)=([^;,/]*)")
_PARAMETER = re.compile("(?<![^?&;#])([^?&;#=]*)=([^&;#]*)")
_TEXT = re.compile(r"""[^\s"'<>]+""")
"""What may be a URL, or hold parameters, within a header's value."""

_TOKEN = re.compile(
    r"(?:(?:sb|whsec|whsk)(?:_|%5F)|(?<![A-Za-z0-9])eyJ)[\w+/-]\S{5,}|signal(?:_|%5F)[\w-]{20}\S*",
    re.ASCII | re.IGNORECASE,
)
"""What begins like an API token, a webhook's secret, a private key, a JWT or an endpoint's token."""


@lru_cache(maxsize=1000)
def is_credential(name: str) -> bool:
    """Return whether the header, or parameter of a URL, *name* may hold a credential."""
    words = {word.lower() for word in _WORD.findall(name)}
    found = words & _WORDS
    if found == {"code"} and words & _CODED:
        found = set()
    return bool(found) or any(map(_STEMS.search, words))


def hide_credentials(headers: Mapping[str, str]) -> dict[str, str]:
    """Return *headers* of a request to a webhook without what may be a credential."""
    return {name: _hide(value, _in_header(name, value)) for name, value in headers.items()}


def hide_tokens(text: str) -> str:
    """Return *text* without what looks like a token or a secret of the product's own, up to the next space."""
    return _TOKEN.sub(HIDDEN, text)


def hide_credentials_of_url(url: str) -> str:
    """Return *url*, absolute or not, without user and password, and without parameters that may be credentials."""
    return _hide(url, _in_url(url))


def credentials_of(url: str, headers: Mapping[str, str]) -> Iterator[str]:
    """Yield what is hidden of a request; of URLs as it was sent, as it is meant, and a password without its user."""
    for start, end in _in_url(url):
        yield from _of_url(url[start:end])
    for name, value in headers.items():
        for start, end in _in_header(name, value):
            whole = (start, end) == (0, len(value))
            yield from (value,) if whole else _of_url(value[start:end])


def _of_url(sent: str) -> set[str]:
    meant = unquote_plus(sent)
    return {sent, meant, meant.partition(":")[2]} - {""}


Span = tuple[int, int]


def _hide(text: str, spans: Iterable[Span]) -> str:
    shown, at = "", 0
    for start, end in spans:
        shown, at = f"{shown}{text[at:start]}{HIDDEN}", end
    return shown + text[at:]


def _in_header(name: str, value: str) -> Iterator[Span]:
    """Yield where in the *value* of the header *name* credentials may be."""
    if name.lower() == _OWN or not value:
        return
    if is_credential(name):
        yield 0, len(value)
    elif "=" in value or "@" in value:
        for text in _TEXT.finditer(value):
            yield from ((text.start() + start, text.start() + end) for start, end in _in_url(text[0]))


@lru_cache(maxsize=1000)
def _in_url(url: str) -> tuple[Span, ...]:
    """Return where in *url* credentials may be."""
    parts = _URL.match(url)
    assert parts is not None  # noqa: S101 - it matches whatever there is
    found = [parts.span(1)] if parts[1] else []
    for pattern, part in ((_PATH_PARAMETER, 2), (_PARAMETER, 3)):
        for parameter in pattern.finditer(url, *parts.span(part)):
            name, value = map(unquote_plus, parameter.groups())
            if value and (is_credential(name) or ("//" in value and _in_url(value))):
                found.append(parameter.span(2))
    return tuple(found)
