"""The operators: what each takes, how it tests a text, and which values it cannot work with.

A test answers for whatever values it was made with, as the evaluator of Unleash's SDK does. Values that cannot be meant
are refused when a filter is created, by `Operator.problem`.
"""

from __future__ import annotations

import operator
import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from math import isnan
from operator import itemgetter
from typing import Any, NamedTuple

import re2

from broker.filters.javascript import BLANKS, MAX_SAFE_INTEGER, number
from broker.moments import read_moment

Test = Callable[[str], bool]
MakeTest = Callable[[Sequence[str]], Test]
"""Given an operator's values, returns what tells whether a text passes."""

MAX_PROGRAM = 1500
"""Instructions of a compiled regular expression; matching takes at most as many steps for each byte of the text."""

LONG_SEARCH = 1 << 18
"""The effort of a search that may take longer than some 5 ms."""
_REGEX_MEMORY = 1 << 20
_REGEXES_KEPT = 256
_MAX_VERSION = 256
_MAX_NETWORK = 64

_IDENTIFIER = r"(?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)"
_VERSION = re.compile(
    r"v?(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
    rf"(?:-({_IDENTIFIER}(?:\.{_IDENTIFIER})*))?"
    r"(?:\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?"
)
_DATE = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CAMUNDA_OFFSET = re.compile(r"([+-][0-9]{2})([0-9]{2})\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """How one operator works.

    Args:
        test: Makes the test.
        ignoring_case: Makes the test that ignores case; None where case makes no difference to the operator.
        problem: Given one of the values, returns why the operator cannot work with it.
        takes_list: Whether it takes ``values``, at least *least* of them; else it takes one ``value``.
        takes_each_value: Whether a test takes time for each of its values, so that many of them are tested apart.
        negated: Whether it holds where no text passes the test.
    """

    test: MakeTest
    ignoring_case: MakeTest | None = None
    problem: Callable[[str], str | None] = lambda _: None
    takes_list: bool = False
    takes_each_value: bool = False
    least: int = 1
    negated: bool = False


def _never(_: str) -> bool:
    return False


def _trimmed(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(value.strip(BLANKS) for value in values if value)


def _equality(values: Sequence[str]) -> Test:
    return frozenset(_trimmed(values)).__contains__


def _beginning(values: Sequence[str]) -> Test:
    wanted = _trimmed(values)
    return lambda text: text.startswith(wanted)


def _ending(values: Sequence[str]) -> Test:
    wanted = _trimmed(values)
    return lambda text: text.endswith(wanted)


def _containing(values: Sequence[str]) -> Test:
    wanted = _trimmed(values)
    return lambda text: any(value in text for value in wanted)


def _lowered(make: MakeTest) -> MakeTest:
    def make_lowered(values: Sequence[str]) -> Test:
        test = make([value.lower() for value in values])
        return lambda text: test(text.lower())

    return make_lowered


def _comparison(
    compare: Callable[[Any, Any], bool], read: Callable[[str], Any], read_wanted: Callable[[str], Any] | None = None
) -> MakeTest:
    """Return how to compare what *read* makes of a text; it returns None for what cannot be compared."""

    def make(values: Sequence[str]) -> Test:
        wanted = (read_wanted or read)(values[0]) if values else None

        def test(text: str) -> bool:
            value = read(text)
            return value is not None and compare(value, wanted)

        return _never if wanted is None else test

    return make


def _number(text: str) -> float | None:
    value = number(text)
    return None if isnan(value) else value


def _version(text: str) -> tuple[Any, ...] | None:
    """Return what versions are ordered by (Semantic Versioning 2.0.0, clause 11), a leading v or not."""
    match = _VERSION.fullmatch(text.strip(BLANKS)) if len(text) <= _MAX_VERSION else None
    if match is None:
        return None
    numbers = [int(part) for part in match.group(1, 2, 3)]
    if max(numbers) > MAX_SAFE_INTEGER:
        return None
    if match[4] is None:
        return (*numbers, 1)
    return (*numbers, 0, *((0, int(part)) if part.isdigit() else (1, part) for part in match[4].split(".")))


def read_version(text: str) -> tuple[Any, ...] | None:
    """Return what versions are ordered by, numbers of the release first; None if *text* is no version."""
    return None if text.startswith("v") else _version(text)


def read_date(text: str) -> datetime | None:
    """Return the moment that *text* is, the beginning of a day in UTC if it is a date; None if it is neither."""
    try:
        return read_moment(f"{text}T00:00:00Z" if _DATE.fullmatch(text) else _CAMUNDA_OFFSET.sub(r"\1:\2", text))
    except ValueError:
        return None


class _Network(NamedTuple):
    """An address, and the first and the last one of the network that it stands for, as numbers."""

    version: int
    address: int
    first: int
    last: int


def _network(text: str) -> _Network | None:
    """Return an address with the network it stands for: ``10.1.2.3/8``, or ``10.1.2.3`` for itself alone."""
    written, slash, length = text.partition("/")
    if len(text) > _MAX_NETWORK or (slash and not (length.isascii() and length.isdigit())):
        return None
    version, bits, read = (6, 128, IPv6Address) if ":" in written else (4, 32, IPv4Address)
    if slash and int(length) > bits:
        return None
    try:
        address = int(read(written))  # several times as fast as an interface of the module ipaddress
    except ValueError:
        return None
    hosts = (1 << bits - int(length)) - 1 if slash else 0
    return _Network(version, address, address & ~hosts, address | hosts)


def _networks(values: Sequence[str]) -> Test:
    wanted = [network for network in map(_network, _trimmed(values)) if network is not None]
    addresses = {network[:2] for network in wanted}
    # Networks are apart or one holds the other; of the outermost, the last to begin is the only candidate.
    outermost: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
    for version, _, first, last in sorted(wanted, key=lambda found: (found.version, found.first, -found.last)):
        if not outermost[version] or last > outermost[version][-1][1]:
            outermost[version].append((first, last))

    def test(text: str) -> bool:
        given = _network(text)
        if given is None or given[:2] in addresses:
            return given is not None
        position = bisect_right(outermost[given.version], given.first, key=itemgetter(0))
        return position > 0 and given.last <= outermost[given.version][position - 1][1]

    return test


@lru_cache(maxsize=_REGEXES_KEPT)
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.max_mem = _REGEX_MEMORY
    options.never_capture = True
    options.log_errors = False
    regex = re2.compile(pattern.encode(errors="surrogatepass"), options)
    if regex.programsize > MAX_PROGRAM:
        raise re2.error(b"it is too large")
    return regex


class Pattern:
    """The test of a regular expression."""

    __slots__ = ("_pattern",)

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern

    def __call__(self, text: str) -> bool:
        """Return whether *text* contains a match."""
        # Compiled anew once many others were in use: filters are many, and what is compiled is large.
        return _compiled(self._pattern).search(text.encode(errors="surrogatepass")) is not None

    def effort(self, text: str) -> int:
        """Return how many steps of some 20 ns the test of *text* takes at most; commonly it takes 1 ns a character."""
        return len(text) * int(_compiled(self._pattern).programsize)


def _regex(values: Sequence[str]) -> Test:
    return Pattern(values[0]) if values and not _regex_problem(values[0]) else _never


def _regex_problem(pattern: str) -> str | None:
    try:
        _compiled(pattern)
    except re2.error as error:
        return f"is not a regular expression that can be used here (RE2 syntax): {error.args[0].decode()}"
    return None


def _number_problem(value: str) -> str | None:
    if value.strip(BLANKS) and _number(value) is not None:
        return None
    return "must be a number, such as 90, -1.5 or 1e3"


def _version_problem(value: str) -> str | None:
    if _VERSION.fullmatch(value) and read_version(value) is not None:
        return None
    return "must be a version, such as 1.2.3 or 2.0.0-beta.1, without a leading v"


def _moment_problem(value: str) -> str | None:
    if read_date(value) is not None:
        return None
    return "must be a date, such as 2026-01-31, or an RFC 3339 date-time, such as 2026-01-31T08:00:00Z"


def _network_problem(value: str) -> str | None:
    if _network(value.strip(BLANKS)) is not None:
        return None
    return "must be an IP address or a network, such as 10.0.0.0/8 or 2001:db8::/32"


def _texts(test: MakeTest, *, takes_each_value: bool = False) -> Operator:
    return Operator(test=test, ignoring_case=_lowered(test), takes_list=True, takes_each_value=takes_each_value)


def _numbers(compare: Callable[[Any, Any], bool]) -> Operator:
    return Operator(test=_comparison(compare, _number), problem=_number_problem)


def _versions(compare: Callable[[Any, Any], bool]) -> Operator:
    return Operator(test=_comparison(compare, read_version, _version), problem=_version_problem)


def _moments(compare: Callable[[Any, Any], bool]) -> Operator:
    return Operator(test=_comparison(compare, read_date), problem=_moment_problem)


OPERATORS = {
    "IN": Operator(test=_equality, takes_list=True, least=0),
    "NOT_IN": Operator(test=_equality, takes_list=True, least=0, negated=True),
    "STR_CONTAINS": _texts(_containing, takes_each_value=True),
    "STR_STARTS_WITH": _texts(_beginning),
    "STR_ENDS_WITH": _texts(_ending),
    "NUM_EQ": _numbers(operator.eq),
    "NUM_GT": _numbers(operator.gt),
    "NUM_GTE": _numbers(operator.ge),
    "NUM_LT": _numbers(operator.lt),
    "NUM_LTE": _numbers(operator.le),
    "SEMVER_EQ": _versions(operator.eq),
    "SEMVER_GT": _versions(operator.gt),
    "SEMVER_GTE": _versions(operator.ge),
    "SEMVER_LT": _versions(operator.lt),
    "SEMVER_LTE": _versions(operator.le),
    "REGEX": Operator(
        test=_regex, ignoring_case=lambda values: _regex([f"(?i){value}" for value in values]), problem=_regex_problem
    ),
    "IN_CIDR": Operator(test=_networks, problem=_network_problem, takes_list=True),
    "DATE_BEFORE": _moments(operator.lt),
    "DATE_AFTER": _moments(operator.gt),
}
