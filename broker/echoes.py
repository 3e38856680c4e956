"""Echoes: credentials of a request that come back in what its receiver says.

They are found as they were sent, percent-encoded, with the escapes of JSON and HTML, and in Base64, at any place of a
longer text. What a receiver makes of them otherwise (a digest, their reverse) is not.
"""

from __future__ import annotations

import html
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

from broker.redaction import HIDDEN

SHORTEST = 6
"""How many characters a credential needs to be looked for: shorter ones are found in texts that do not mean them."""
_SCHEME = re.compile(r"([A-Za-z][\w-]*) +(?=\S)")
_WORD = re.compile(r"""[^\s,;"]+""")
_ESCAPES = {
    b"%": re.compile(rb"%[0-9A-Fa-f]{2}"),
    b"\\": re.compile(rb"\\(?:u[0-9A-Fa-f]{4}|[^u])", re.DOTALL),
    b"&": re.compile(rb"&#?\w{1,31};"),
}
"""The escapes of URLs, JSON and HTML, by what each begins with."""
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_UNFINISHED = re.compile(rb"(?:%.?|\\(?:u.{0,3})?|&[#\w]{0,31})\Z", re.DOTALL)
"""How a text ends that was cut off within an escape."""


class Echoes:
    """Hides *credentials* in texts.

    Args:
        credentials: Values that were sent: of headers, or of parameters of a URL. Those with fewer than `SHORTEST`
            characters are not looked for.
    """

    def __init__(self, credentials: Iterable[str]) -> None:
        self._credentials = credentials

    def hide(self, text: str) -> str:
        """Return *text*, a line, with ``***`` in place of every credential, or of its beginning where *text* ends."""
        if len(text) < SHORTEST or not self._needles:
            return text
        raw = text.encode(errors="replace")
        shown, at = b"", 0
        for start, end in _merge(self._find(raw)):
            shown += raw[at:start] + HIDDEN.encode()
            at = end
        return (shown + raw[at:]).decode(errors="replace")

    @cached_property
    def _needles(self) -> list[bytes]:
        """What to look for in a text without escapes."""
        parts = {part for credential in self._credentials for part in _parts(credential) if len(part) >= SHORTEST}
        return list({needle for part in parts for needle in _needles(part.encode(errors="replace"))})

    def _find(self, raw: bytes) -> Iterator[tuple[int, int]]:
        yield from self._find_unescaped(raw, range(len(raw) + 1))
        for sign, escape in _ESCAPES.items():
            if sign in raw:
                yield from self._find_unescaped(*_unescape(raw, escape))

    def _find_unescaped(self, plain: bytes, places: Sequence[int]) -> Iterator[tuple[int, int]]:
        quoted = plain.removesuffix(b"'")
        ends = {quoted, _UNFINISHED.sub(b"", quoted, count=1)}
        for needle in self._needles:
            at = plain.find(needle)
            while at >= 0:
                yield places[at], places[at + len(needle)]
                at = plain.find(needle, at + len(needle))
            for end in ends:
                beginning = end.rfind(needle[:SHORTEST])
                if beginning >= 0 and needle.startswith(end[beginning:]):
                    yield places[beginning], places[len(quoted)]


def _parts(credential: str) -> Iterator[str]:
    """Yield *credential*, and what may be quoted of it alone: what is behind its scheme, in its cookies, and so on."""
    yield credential
    scheme = _SCHEME.match(credential)
    for word in _WORD.findall(credential, scheme.end() if scheme else 0):
        _, _, value = word.partition("=")
        yield value if value.strip("=") else word
    if scheme and scheme[1].lower() == "basic":
        try:
            decoded = b64decode(credential[scheme.end() :]).decode()
        except ValueError:
            return
        yield decoded
        yield decoded.partition(":")[2]


def _needles(part: bytes) -> Iterator[bytes]:
    """Yield the forms of *part* in a line without escapes."""
    line = b" ".join(part.split())
    yield from {part, line, line.replace(b" ", b"+")}
    for shift in range(3):
        encoded = b64encode(bytes(shift) + part)[(shift * 8 + 5) // 6 : (shift + len(part)) * 8 // 6]
        yield from (encoded, encoded.translate(_URL_SAFE))


def _unescape(raw: bytes, escapes: re.Pattern[bytes]) -> tuple[bytes, list[int]]:
    """Return *raw* without *escapes*, and where each byte of that, and its end, are in *raw*."""
    plain, places, at = bytearray(), list[int](), 0
    for escape in escapes.finditer(raw):
        start, end = escape.span()
        meant = _meaning(escape[0])
        plain += raw[at:start] + meant
        places += [*range(at, start), *[start] * len(meant)]
        at = end
    return bytes(plain + raw[at:]), [*places, *range(at, len(raw) + 1)]


def _meaning(escape: bytes) -> bytes:
    if escape.startswith(b"%"):
        return bytes.fromhex(escape[1:].decode())
    if escape.startswith(b"&"):
        return html.unescape(escape.decode(errors="replace")).encode(errors="replace")
    if escape.startswith(b"\\u"):
        return chr(int.from_bytes(bytes.fromhex(escape[2:].decode()))).encode(errors="replace")
    return b" " if escape[1:] in b"nrt" else escape[1:]


def _merge(spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield *spans* in order, those that overlap or touch as one."""
    last: tuple[int, int] | None = None
    for start, end in sorted(spans):
        if last is not None and start <= last[1]:
            last = last[0], max(last[1], end)
            continue
        if last is not None:
            yield last
        last = start, end
    if last is not None:
        yield last
