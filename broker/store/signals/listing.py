"""Lists of recorded signals: filtered, in the order of recording or the opposite one, page by page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, TypedDict

from broker.access import Principal
from broker.integers import MAX_ID
from broker.names import expression, is_pattern
from broker.offloading import Offloader
from broker.searches import Search
from broker.signals import Signal, SignalState
from broker.store.pages import ASCENDING, DESCENDING, Looked, Page, read_page
from broker.store.postgres.database import Database, Row
from broker.store.postgres.statements import Statement, Statements
from broker.store.rows import read_signal
from broker.store.sight import sight_of_signals
from broker.store.spans import find_span, find_start

PAGE_BYTES = 2 << 20
"""Bytes of payloads that fill a page."""
SEARCH_SECONDS = 0.2
"""How long a page goes on that looks into payloads."""
_SEARCH_BYTES = 2 << 20
"""Bytes of payloads that are looked into at a time."""
_CANDIDATES = 100
"""So many signals that a search may find are read at a time, however few it is to find."""
_SPECIAL = re.compile(r"[%_\\]")
"""What means something else in a pattern of LIKE."""
_RARE = 1_000
"""Fewer signals than that are looked for by what they have in common, whatever else is asked for."""


class _Sql(Statements, file="listing.sql"):
    find: Statement
    find_along: Statement
    is_rare: Statement
    position_before: Statement
    last_position: Statement
    look: Statement


class SignalFilter(TypedDict, total=False):
    """Which signals are asked for; without a member, or with None, it does not matter.

    *name* is a name or a pattern; a signal was accepted at *since* or later and before *until*. It holds what *search*
    looks for.
    """

    name: str | None
    tenant_id: str | None
    execution_id: str | None
    business_key: str | None
    ordering_key: str | None
    source: str | None
    source_id: int | None
    state: str | None
    since: datetime | None
    until: datetime | None
    search: Search | None


class Key(NamedTuple):
    """Where a signal stands in the order of recording, and how many bytes its payload has."""

    position: int
    signal_id: int
    size: int = 0


async def list_signals(
    database: Database,
    offloader: Offloader,
    wanted: SignalFilter,
    *,
    by: Principal,
    after_id: int | None,
    limit: int,
    descending: bool,
) -> Page[Signal, int]:
    """Return a page of the signals that *by* may read; what follows it follows the signal with the id that it names.

    A page ends early where the payloads come to `PAGE_BYTES`, or its budget of time is used up, which is larger for a
    search. *offloader* looks into the payloads.
    """
    search = wanted.get("search")
    walk = await _Walk.begin(database, wanted, by, after_id=after_id, descending=descending)
    look, seconds = (walk.look, None) if search is None else (_Search(walk, search, offloader).look, SEARCH_SECONDS)
    page = await read_page(walk.find, look, after=walk.start, limit=limit, seconds=seconds)
    return Page(page.items, None if page.following is None else page.following.signal_id)


class _Walk:
    """A way along one index, past all signals that may be asked for.

    Attributes:
        start: Where it begins.
    """

    def __init__(
        self, database: Database, statement: Statement, along: Mapping[str, object], filters: Mapping[str, object]
    ) -> None:
        self.start = Key(0, 0)
        self._database = database
        self._statement = statement
        self._along = along
        self._filters = filters
        self._bytes_left = PAGE_BYTES

    @classmethod
    async def begin(
        cls, database: Database, wanted: SignalFilter, by: Principal, *, after_id: int | None, descending: bool
    ) -> _Walk:
        """Return the way that passes the fewest signals, from the one with the id *after_id*, or from its end."""
        since, until, name = wanted.get("since"), wanted.get("until"), wanted.get("name")
        last = MAX_ID
        if until is not None:
            _, last_id = await find_span(database, None, until)
            if last_id is not None:
                last = await database.fetchval(_Sql.last_position, last_id=last_id)
        first, above_id = await find_start(database, 0 if descending or after_id is None else after_id, since)
        column = await _find_rare(database, wanted)
        beyond, direction = DESCENDING if descending else ASCENDING
        if column is None:
            statement, value = _Sql.find.naming(beyond=beyond, direction=direction), {}
        else:
            where, value = _SELECTIVE[column], {"value": wanted.get(column)}
            statement = _Sql.find_along.naming(beyond=beyond, direction=direction, column=column, where=where)
        walk = cls(
            database,
            statement,
            {"first": first, "last": last, **value},
            {
                **sight_of_signals(by),
                **{
                    column: wanted.get(column)
                    for column in (*_SELECTIVE, "source", "since", "until")
                    if column != "name"
                },
                "names": None if name is None else expression([name]),
                "above_id": None if descending else above_id,
            },
        )
        if not descending:
            walk.start = Key(first, 0)
        elif after_id is None:
            walk.start = Key(MAX_ID, 0)
        else:
            walk.start = Key(await database.fetchval(_Sql.position_before, signal_id=after_id), 0)
        return walk

    async def find(self, after: Key, looks: int) -> list[Key]:
        """Return the next signals on the way; see `read_page`."""
        rows = await self._database.fetch(self._statement, **self._along, after=after.position, looks=looks)
        return [Key(row["position"], row["id"], row["size"]) for row in rows]

    async def look(self, keys: Sequence[Key], limit: int) -> Looked[Signal, Key]:
        """Return those that are asked for; see `read_page`."""
        rows = await self.read(keys, limit, self._bytes_left)
        signals = [read_signal(row) for row in rows]
        is_full = self.fill(signals)
        is_cut = is_full or len(rows) == limit
        return Looked(signals, _key(rows[-1]) if is_cut else keys[-1], is_full)

    async def read(
        self, keys: Sequence[Key], limit: int, max_bytes: int, hints: Mapping[str, object] | None = None
    ) -> list[Row]:
        """Return the first *limit* of these signals that the filters choose, until their payloads have *max_bytes*.

        Args:
            keys: The signals.
            limit: How many.
            max_bytes: The last one's payload may exceed them.
            hints: What JSON texts of payloads must hold, see the statement; by default nothing.
        """
        return await self._database.fetch(
            _Sql.look,
            signal_ids=[key.signal_id for key in keys],
            limit=limit,
            max_bytes=max_bytes,
            **self._filters,
            **(hints or _NO_HINTS),
        )

    def fill(self, signals: Sequence[Signal]) -> bool:
        """Put *signals* on the page, and return whether that is full now."""
        self._bytes_left -= sum(len(signal.throw.payload) for signal in signals)
        return self._bytes_left <= 0


class _Search:
    """Looks into the payloads of what is on the way."""

    def __init__(self, walk: _Walk, search: Search, offloader: Offloader) -> None:
        self._walk = walk
        self._search = search
        self._offloader = offloader
        self._hints = {
            "hints": [_containing(hint) for hint in search.hints],
            "number": search.number,
            "text_hint": search.text_hint,
        }

    async def look(self, keys: Sequence[Key], limit: int) -> Looked[Signal, Key]:
        """Return those that are looked for, of as many as one may look into at a time; see `read_page`."""
        near = _within(keys, _SEARCH_BYTES)
        most = max(limit, _CANDIDATES)
        rows = await self._walk.read(near, most, MAX_ID, self._hints)
        signals = [read_signal(row) for row in rows]
        size = sum(len(signal.throw.payload) for signal in signals)
        fitting = await self._offloader.run(lambda: [self._search.fits(signal) for signal in signals], size=size)
        found: list[Signal] = []
        for row, signal, fits in zip(rows, signals, fitting, strict=True):
            signal.context.forget()
            if fits:
                found.append(signal)
                is_full = self._walk.fill([signal])
                if is_full or len(found) == limit:
                    return Looked(found, _key(row), is_full)
        return Looked(found, _key(rows[-1]) if len(rows) == most else near[-1])


def _within(keys: Sequence[Key], size: int) -> Sequence[Key]:
    """Return the first ones of *keys* whose payloads have up to *size* bytes, at least one."""
    for number, key in enumerate(keys):
        size -= key.size
        if size < 0:
            return keys[: max(1, number)]
    return keys


def _key(row: Row) -> Key:
    return Key(row["position"], row["id"])


def _containing(text: str) -> str:
    """Return the pattern of LIKE for texts that contain *text*."""
    return "%" + _SPECIAL.sub(r"\\\g<0>", text) + "%"


_NO_HINTS: Mapping[str, object] = {"hints": None, "number": None, "text_hint": None}
_SELECTIVE = {
    "execution_id": "execution_id IS NOT NULL",
    "business_key": "business_key IS NOT NULL",
    "ordering_key": "ordering_key IS NOT NULL",
    "source_id": "source_id IS NOT NULL",
    "name": "true",
    "tenant_id": "tenant_id IS NOT NULL",
    "state": "state <> 'recorded'",
}
"""Columns that have an index in the order of recording, and its condition; what is likely to be rarest comes first."""


async def _find_rare(database: Database, wanted: SignalFilter) -> str | None:
    """Return the column whose filter chooses the fewest signals; None: there is none with an index."""
    columns = [column for column in _SELECTIVE if _is_indexed(column, wanted.get(column))]
    for column in columns[:-1]:
        statement = _Sql.is_rare.naming(column=column, where=_SELECTIVE[column])
        if await database.fetchval(statement, few=_RARE, value=wanted.get(column)):
            return column
    return columns[-1] if columns else None


def _is_indexed(column: str, value: object) -> bool:
    match column:
        case _ if value is None:
            return False
        case "name":
            return not is_pattern(str(value))
        case "state":
            return value != SignalState.RECORDED
        case _:
            return True
