"""Candidates: the subscriptions that signals may match, found by what the signals ask for.

A signal asks for the subscriptions of an execution, or of a name, by all tenants or by some; patterns have a few keys
(see `broker.names`). Subscriptions of other names, tenants and executions cost nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from broker.names import pattern_key, pattern_keys
from broker.signals import Scope, Signal, Throw
from broker.slices import Slice
from broker.store.postgres.database import Database, Row, Session
from broker.store.postgres.statements import Statement, Statements
from broker.store.rows import read_subscription
from broker.subscriptions import Subscription

_UNTENANTED = ""
"""Stands for no tenant; the id of a tenant is not empty."""
_MOST_TENANTS = 100
"""How many tenants of one signal are looked for one by one."""
_SEPARATOR = "\x1e"


class _Sql(Statements, file="candidates.sql"):
    find: Statement
    changed: Statement


NEEDED_TO_RECORD = _Sql.every()


class _Wanted(NamedTuple):
    """What subscriptions are found by.

    Args:
        by: Whether `value` is the `name` of a signal, its name for one `tenant`, or an `execution`.
        value: That name or execution.
        tenant: The tenant, or `_UNTENANTED`.
    """

    by: str
    value: str
    tenant: str = _UNTENANTED


def _wanted_by(throw: Throw) -> tuple[_Wanted, ...]:
    """Return what the subscriptions that the signal of *throw* may match are found by."""
    match throw.scope:
        case Scope.EXECUTION:
            return (_Wanted("execution", throw.execution_id or ""),)
        case Scope.TENANT:
            return (_Wanted("tenant", throw.name, throw.tenant_id or _UNTENANTED),)
        case Scope.UNTENANTED:
            return (_Wanted("tenant", throw.name),)
        case Scope.BROADCAST if throw.audience is not None and len(throw.audience) <= _MOST_TENANTS:
            return tuple(_Wanted("tenant", throw.name, tenant) for tenant in {_UNTENANTED, *throw.audience})
        case _:
            return (_Wanted("name", throw.name),)


class Candidates:
    """The subscriptions that signals may match.

    Attributes:
        versions: The versions of all these subscriptions by their ids; each changes whenever the subscription does.
    """

    def __init__(self) -> None:
        self.versions: dict[int, int] = {}
        self._known: dict[int, Subscription] = {}
        self._found: dict[_Wanted, list[Subscription]] = {}
        self._patterns: dict[str, list[Subscription]] = {}
        """Those of all tenants with a pattern, by its key."""

    async def read(self, rows: Iterable[Row], turn: Slice) -> None:
        """Add the subscriptions in *rows*, each of which has what it was found by."""
        for row in rows:
            subscription = self._known.get(row["id"])
            if subscription is None:
                subscription = self._known[row["id"]] = read_subscription(row)
                self.versions[row["id"]] = row["version"]
            if row["by"] == "pattern":
                self._patterns.setdefault(pattern_key(subscription.spec.name), []).append(subscription)
            else:
                wanted = _Wanted(row["by"], row["value"], row["of_tenant"])
                self._found.setdefault(wanted, []).append(subscription)
            if turn.is_over:
                await turn.pause()

    def of(self, throw: Throw) -> Sequence[Subscription]:
        """Return those that the signal of *throw* may match, each once."""
        wanted = _wanted_by(throw)
        found = [self._found.get(one, ()) for one in wanted]
        if self._patterns and wanted[0].by == "name":
            found += [self._patterns.get(key, ()) for key in pattern_keys(throw.name)]
        return found[0] if len(found) == 1 else list(chain.from_iterable(found))


async def find_candidates(
    on: Database, signals: Sequence[Signal], turn: Slice, *, most: int | None = None, in_execution: bool = False
) -> Candidates:
    """Return the candidates for *signals*.

    Args:
        on: The database.
        signals: The signals.
        turn: The turn at computing.
        most: How many of a kind are wanted for each name, tenant and execution; None: all.
        in_execution: Whether only those are wanted that wait in an execution.
    """
    wanted: dict[str, set[_Wanted]] = defaultdict(set)
    for signal in signals:
        for one in _wanted_by(signal.throw):
            wanted[one.by].add(one)
    names = [name for _, name, _ in wanted["name"]]
    async with turn.suspended():
        rows = await on.fetch(
            _Sql.find,
            names=names,
            pattern_keys=list(set(chain.from_iterable(map(pattern_keys, names)))),
            tenants=[tenant for _, _, tenant in wanted["tenant"]],
            tenants_names=[name for _, name, _ in wanted["tenant"]],
            tenants_pattern_keys=[_SEPARATOR.join(pattern_keys(name)) for _, name, _ in wanted["tenant"]],
            executions=[execution_id for _, execution_id, _ in wanted["execution"]],
            first_id=min(signal.id for signal in signals),
            last_id=max(signal.id for signal in signals),
            most=most,
            in_execution=in_execution,
        )
    found = Candidates()
    await found.read(rows, turn)
    return found


async def find_changed(session: Session, versions: Mapping[int, int]) -> dict[int, Subscription]:
    """Return, by their ids, those subscriptions that were changed since they had these *versions*."""
    rows = await session.fetch(_Sql.changed, subscription_ids=list(versions), versions=list(versions.values()))
    return {row["id"]: read_subscription(row) for row in rows}
