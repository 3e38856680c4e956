"""Candidates: the subscriptions that signals may match, found by what the signals ask for.

A signal asks for the subscriptions of an execution, or of a name, by all tenants or by some; patterns have a few keys
(see `broker.names`). Subscriptions of other names, tenants and executions cost nothing, and nor do those whose filters
want something else of the payload (see `broker.filters.access`): which paths they look at is found out first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from broker.filters.access import access_to, is_span
from broker.jsontext import write_fast
from broker.matching import Matcher
from broker.names import pattern_keys
from broker.signals import Signal
from broker.slices import Slice
from broker.store.postgres.database import Database, Row, Session
from broker.store.postgres.statements import Statement, Statements
from broker.store.rows import read_candidate
from broker.store.subscriptions.places import UNTENANTED, Asked, Key, Paths, Place, find_keys, place_of
from broker.subscriptions import Subscription

_MOST_PATHS = 64
"""How many paths of filters are looked up for a name, or for a key of patterns."""


class _Sql(Statements, file="candidates.sql"):
    paths: Statement
    find: Statement
    changed: Statement


NEEDED_TO_RECORD = _Sql.every()


class Candidates:
    """The subscriptions that signals may match, as far as it matters to that (see `read_candidate`).

    Args:
        wanted: Where those are that each signal, by its id, may match.
        keys: The keys of the signals by their ids.
        most: How many of a kind were wanted for each place; None: all.
        total: How many were wanted together; None: all.

    Attributes:
        versions: The versions of all these subscriptions by their ids; each changes whenever the subscription does.
    """

    def __init__(
        self,
        wanted: Mapping[int, Sequence[Place]],
        keys: Mapping[int, Sequence[Key]],
        most: int | None,
        total: int | None,
    ) -> None:
        self.versions: dict[int, int] = {}
        self._wanted = wanted
        self._keys = keys
        self._most = most
        self._total = total
        self._counts: Counter[Place] = Counter()
        """How many were found in each place, of names and executions; others count together."""
        self._known: dict[int, Subscription] = {}
        self._found: dict[Place, list[Subscription]] = {}
        self._patterns: dict[tuple[str, str], dict[str, list[Subscription]]] = {}
        """Those with a pattern, by the kind of the place where others of their names are, the tenant and its key."""
        self._filtered: dict[Key, list[Subscription]] = {key: [] for key in chain.from_iterable(keys.values())}
        self._points = [key for key in self._filtered if is_span(key.path)]

    async def read(self, rows: Iterable[Row], turn: Slice) -> None:
        """Add the subscriptions in *rows*, each of which has what it was found by."""
        for row in rows:
            subscription = self._known.get(row["id"])
            if subscription is None:
                subscription = self._known[row["id"]] = read_candidate(row)
                self.versions[row["id"]] = row["version"]
            self._counts[Place(row["by"], row["value"], row["of_tenant"])] += 1
            match row["by"]:
                case "filter":
                    self._add_filtered(subscription)
                case "span":
                    self._filtered[self._points[int(row["value"])]].append(subscription)
                case "pattern" | "tenants_pattern" as by:
                    patterns = self._patterns.setdefault((by, row["of_tenant"]), {})
                    patterns.setdefault(place_of(subscription.spec), []).append(subscription)
                case by:
                    self._found.setdefault(Place(by, row["value"], row["of_tenant"]), []).append(subscription)
            if turn.is_over:
                await turn.pause()

    def _add_filtered(self, subscription: Subscription) -> None:
        spec = subscription.spec
        access = None if spec.filter is None else access_to(spec.filter.conditions)
        assert access is not None  # noqa: S101  (it was found by it)
        for tenant in (None, spec.tenant_id or UNTENANTED):
            for text in access.values:
                key = Key(tenant, place_of(spec), access.path, text)
                if key in self._filtered:
                    self._filtered[key].append(subscription)

    @property
    def keys(self) -> list[dict[str, object]]:
        """What values are looked for."""
        return [key._asdict() for key in self._filtered if not is_span(key.path)]

    @property
    def points(self) -> list[dict[str, object]]:
        """What points are looked for, those of a signal under a path together, with the number that their rows have."""
        return [
            {"number": number, "tenant": key.tenant, "place": key.place, "path": key.path, "points": key.text.split()}
            for number, key in enumerate(self._points)
        ]

    @property
    def are_cut(self) -> bool:
        """Whether these are not all, for some of the signals at least, because they are as many as were wanted."""
        return self._total is not None and self._counts.total() >= self._total

    def are_complete(self, signal: Signal) -> bool:
        """Return whether these are certainly all that *signal* may match, and not as many as were wanted."""
        if self.are_cut:
            return False
        return self._most is None or all(self._counts[place] < self._most for place in self._wanted[signal.id])

    def count(self, signal: Signal) -> int:
        """Return how many *signal* may match, or a few more."""
        return sum(map(len, self._lists(signal)))

    def of(self, signal: Signal) -> Sequence[Subscription]:
        """Return those that *signal* may match, each once."""
        lists = list(self._lists(signal))
        if len(lists) == 1:
            return lists[0]
        return list({subscription.id: subscription for subscription in chain.from_iterable(lists)}.values())

    def _lists(self, signal: Signal) -> Iterator[Sequence[Subscription]]:
        name = signal.throw.name
        for place in self._wanted[signal.id]:
            if place in self._found:
                yield self._found[place]
            if place.patterns is not None and (patterns := self._patterns.get((place.patterns, place.tenant))):
                yield from (patterns[key] for key in pattern_keys(name) if key in patterns)
        yield from (some for key in self._keys.get(signal.id, ()) if (some := self._filtered[key]))


async def find_candidates(
    on: Database,
    signals: Sequence[Signal],
    turn: Slice,
    *,
    matcher: Matcher | None = None,
    most: int | None = None,
    total: int | None = None,
    in_execution: bool = False,
    only_filtered: bool = False,
) -> Candidates:
    """Return the candidates for *signals*.

    Args:
        on: The database.
        signals: The signals.
        turn: The turn at computing.
        matcher: Looks at their payloads; None: subscriptions are found whatever their filters are.
        most: How many of a kind are wanted for each name, tenant and execution; None: all.
        total: How many are wanted together; None: all.
        in_execution: Whether only those are wanted that wait in an execution.
        only_filtered: Whether only those are wanted that are found by their filters, and of no execution.
    """
    asked, paths, keys = Asked(signals), Paths(), dict[int, tuple[Key, ...]]()
    if matcher is not None and asked.has_names:
        async with turn.suspended():
            paths = Paths(await on.fetch(_Sql.paths, places=write_fast(asked.places), most=_MOST_PATHS))
        keys = await find_keys(signals, asked, paths, matcher, turn)
    found = Candidates(asked.wanted, keys, most, total)
    async with turn.suspended():
        rows = await on.fetch(
            _Sql.find,
            places=write_fast(asked.pieces(paths, only_filtered=only_filtered)),
            keys=write_fast(found.keys),
            points=write_fast(found.points),
            first_id=min(signal.id for signal in signals),
            last_id=max(signal.id for signal in signals),
            most=most,
            total=total,
            in_execution=in_execution,
        )
    await found.read(rows, turn)
    return found


async def find_changed(session: Session, versions: Mapping[int, int]) -> dict[int, Subscription]:
    """Return, by their ids, those subscriptions that were changed since they had these *versions*."""
    rows = await session.fetch(_Sql.changed, subscription_ids=list(versions), versions=list(versions.values()))
    return {row["id"]: read_candidate(row) for row in rows}
