"""Places: where the subscriptions are found that signals may match, and which of their filters are asked for there.

In a place the subscriptions differ in the paths that their filters look at. What a signal has under a path makes keys;
the subscriptions whose filters want something else there are not read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from broker.filters.access import is_span, path_of, texts_for
from broker.matching import Matcher
from broker.names import is_pattern, pattern_key, pattern_keys
from broker.signals import Scope, Signal, Throw
from broker.slices import Slice
from broker.store.postgres.database import Row
from broker.subscriptions import SubscriptionSpec

UNTENANTED = ""
"""Stands for no tenant; the id of a tenant is not empty."""

_MOST_TENANTS = 100
"""How many tenants of one signal are looked for one by one."""
_MOST_TEXTS = 250
"""How many texts of a signal under a path are looked for one by one."""
_MOST_KEYS = 20_000
"""How many keys the signals of a batch have together."""
_MOST_POINTS = 64
"""How many points of a signal under a path are looked for, each by a look-up of its own."""
_MOST_POINTS_TOGETHER = 2_000
"""How many points the signals of a batch have together."""
_PATTERNS = {"name": "pattern", "tenant": "tenants_pattern"}

_NEVER = (1 << 63) - 1
_FIRST_PATH, _LAST_PATH = "!", "\x7f"
"""Come before and after every path that is not empty: they begin with one of a few characters."""
_SEPARATOR = "\x1e"


class Place(NamedTuple):
    """What subscriptions are found by.

    Args:
        by: Whether `value` is a ``name``, the key of a ``pattern``, one of these for one tenant (``tenant``,
            ``tenants_pattern``), or an ``execution``.
        value: That name, key or execution.
        tenant: The tenant, or `UNTENANTED`.
    """

    by: str
    value: str
    tenant: str = UNTENANTED

    @property
    def patterns(self) -> str | None:
        """By what patterns that match its names are found; None for an execution, where all are together."""
        return _PATTERNS.get(self.by)


class Key(NamedTuple):
    """What filters may want, as far as they are found by it.

    Args:
        tenant: The tenant of their subscriptions, or `UNTENANTED`; None: any.
        place: The name of these subscriptions, or the key of their patterns.
        path: What these filters are found by: how texts are compared, and the path (see `broker.filters.access`).
        text: The text, or the points, separated by blanks, of which one lies between two of theirs.
    """

    tenant: str | None
    place: str
    path: str
    text: str


def wanted_by(throw: Throw) -> tuple[Place, ...]:
    """Return where the subscriptions are that the signal of *throw* may match, but for those with patterns."""
    match throw.scope:
        case Scope.EXECUTION:
            return (Place("execution", throw.execution_id or ""),)
        case Scope.TENANT:
            return (Place("tenant", throw.name, throw.tenant_id or UNTENANTED),)
        case Scope.UNTENANTED:
            return (Place("tenant", throw.name),)
        case Scope.BROADCAST if throw.audience is not None and len(throw.audience) <= _MOST_TENANTS:
            return tuple(Place("tenant", throw.name, tenant) for tenant in {UNTENANTED, *throw.audience})
        case _:
            return (Place("name", throw.name),)


def place_of(spec: SubscriptionSpec) -> str:
    """Return the key of the pattern of *spec*, or its name."""
    return pattern_key(spec.name) if is_pattern(spec.name) else spec.name


class Paths:
    """The paths that filters look at, as far as they are known, by the places of their subscriptions.

    Args:
        rows: A row for each path of each place, the paths in their order.
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._paths: dict[tuple[str, str], dict[str, list[str]]] = {}
        for row in rows:
            places = self._paths.setdefault((row["by"], row["of_tenant"]), {})
            places.setdefault(row["value"], []).append(row["path"])

    def __bool__(self) -> bool:
        return bool(self._paths)

    def at(self, by: str, tenant: str = UNTENANTED) -> dict[str, list[str]]:
        """Return the paths of the places of this kind by their values."""
        return self._paths.get((by, tenant), {})

    def within(self, places: Iterable[Place], name: str) -> Iterator[tuple[Place, Sequence[str]]]:
        """Yield those of *places*, and those of patterns that match *name* beside them, that have paths, with these."""
        for place in places:
            names = self.at(place.by, place.tenant)
            if place.value in names:
                yield place, names[place.value]
            if place.patterns is not None and (patterns := self.at(place.patterns, place.tenant)):
                for key in patterns.keys() & pattern_keys(name):
                    yield Place(place.patterns, key, place.tenant), patterns[key]

    def forget(self, place: Place, path: str) -> None:
        """Forget a path, so that all those that look at it are read."""
        paths = self.at(place.by, place.tenant)[place.value]
        if path in paths:
            paths.remove(path)


class Asked:
    """What *signals* ask for.

    Attributes:
        wanted: Where the subscriptions are that each signal, by its id, may match (see `wanted_by`).
    """

    def __init__(self, signals: Iterable[Signal]) -> None:
        self.wanted = {signal.id: wanted_by(signal.throw) for signal in signals}
        self._names: set[str] = set()
        self._executions: set[str] = set()
        self._tenants: dict[str, set[str]] = {}
        """The names that are asked for, by tenant."""
        for place in set(chain.from_iterable(self.wanted.values())):
            match place.by:
                case "name":
                    self._names.add(place.value)
                case "execution":
                    self._executions.add(place.value)
                case _:
                    self._tenants.setdefault(place.tenant, set()).add(place.value)
        self._keys = _keys_of(self._names)
        self._tenants_keys = {tenant: _keys_of(names) for tenant, names in self._tenants.items()}

    @property
    def has_names(self) -> bool:
        """Whether names are asked for at all, and not only executions."""
        return bool(self._names or self._tenants)

    @property
    def places(self) -> list[dict[str, object]]:
        """All places whose paths are looked up, those of a kind together."""
        kinds = [("name", UNTENANTED, self._names), ("pattern", UNTENANTED, self._keys)]
        kinds += [("tenant", tenant, names) for tenant, names in self._tenants.items()]
        kinds += [("tenants_pattern", tenant, keys) for tenant, keys in self._tenants_keys.items()]
        return [
            {"by": by, "tenant": tenant, "values": _SEPARATOR.join(values)} for by, tenant, values in kinds if values
        ]

    def pieces(self, known: Paths, *, only_filtered: bool = False) -> list[dict[str, object]]:
        """Return all places, each in the pieces in which it is read if these paths of it are *known*.

        *only_filtered*: without what is found by no filter, and without executions.
        """
        pieces = [*_cut_names("name", UNTENANTED, self._names, known)]
        pieces += _cut_keys("pattern", UNTENANTED, self._keys, known)
        for tenant, names in self._tenants.items():
            pieces += _cut_names("tenant", tenant, names, known)
            pieces += _cut_keys("tenants_pattern", tenant, self._tenants_keys[tenant], known)
        if only_filtered:
            return [piece | {"path": piece["path"] or _FIRST_PATH} for piece in pieces]
        pieces += (_piece("execution", UNTENANTED, value) for value in self._executions)
        return pieces


def _keys_of(names: Iterable[str]) -> set[str]:
    return set(chain.from_iterable(map(pattern_keys, names)))


def _cut_names(by: str, tenant: str, names: Iterable[str], known: Paths) -> Iterator[dict[str, object]]:
    paths = known.at(by, tenant)
    for name in names:
        yield from _cut(by, tenant, name, paths.get(name, ()))


def _cut_keys(by: str, tenant: str, keys: Collection[str], known: Paths) -> Iterator[dict[str, object]]:
    """Yield the pieces of the places of patterns; those that have no paths are read together."""
    paths = known.at(by, tenant)
    together = [key for key in keys if not paths.get(key)]
    if together:
        yield _piece(by, tenant, _SEPARATOR.join(together))
    for key, some in paths.items():
        if some:
            yield from _cut(by, tenant, key, some)


def _cut(by: str, tenant: str, value: str, paths: Sequence[str]) -> Iterator[dict[str, object]]:
    """Yield the pieces of a place: what is found by no filter or was deleted, and all between two known *paths*."""
    nexts = [*paths, _LAST_PATH]
    yield _piece(by, tenant, value, next_path=nexts[0])
    for path, next_path in zip(paths, nexts[1:], strict=True):
        yield _piece(by, tenant, value, path=path, top=_NEVER - 1, next_path=next_path)


def _piece(
    by: str, tenant: str, value: str, *, path: str = "", top: int = _NEVER, next_path: str = _LAST_PATH
) -> dict[str, object]:
    return {"by": by, "tenant": tenant, "value": value, "path": path, "top": top, "next": next_path}


class _Room:
    """How much is left of what the signals of a batch may look for together."""

    def __init__(self) -> None:
        self._texts = _MOST_KEYS
        self._points = _MOST_POINTS_TOGETHER

    def take(self, path: str, count: int) -> bool:
        """Return whether a signal may look for so many texts, or points, under *path*, and take their room."""
        if is_span(path):
            fits = count <= min(_MOST_POINTS, self._points)
            self._points -= count if fits else 0
        else:
            fits = count <= min(_MOST_TEXTS, self._texts)
            self._texts -= count if fits else 0
        return fits


def _together(path: str, wanted: set[str]) -> Iterable[str]:
    """Return what the keys of a signal have under *path*: each text, or all points in one."""
    if is_span(path):
        return [" ".join(sorted(wanted))] if wanted else []
    return wanted


async def find_keys(
    signals: Iterable[Signal], asked: Asked, paths: Paths, matcher: Matcher, turn: Slice
) -> dict[int, tuple[Key, ...]]:
    """Return the keys of *signals* by their ids; paths for which there would be too many are forgotten."""
    found: dict[int, tuple[Key, ...]] = {}
    room = _Room()
    for signal in signals if paths else ():
        keys: list[Key] = []
        known: dict[str, set[str] | None] = {}
        for place, some in paths.within(asked.wanted[signal.id], signal.throw.name):
            tenant = place.tenant if place.by in {"tenant", "tenants_pattern"} else None
            for path in tuple(some):
                if path not in known:
                    texts = await matcher.texts(signal, path_of(path), turn)
                    known[path] = None if texts is None else texts_for(path, texts)
                wanted = known[path]
                if wanted is None or not room.take(path, len(wanted)):
                    paths.forget(place, path)
                else:
                    keys += (Key(tenant, place.value, path, text) for text in _together(path, wanted))
        signal.context.forget()  # a parsed payload takes many times the memory of its text
        found[signal.id] = tuple(keys)
        if turn.is_over:
            await turn.pause()
    return found
