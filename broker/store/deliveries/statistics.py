"""Reads the statistics: what happened in each step of a window, in all or by groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from broker.access import ADMINISTRATOR, Principal
from broker.slices import Slices
from broker.statistics import Figures, Split, Window, add_up, align
from broker.store.postgres.database import Database, Row
from broker.store.postgres.statements import Statement, Statements
from broker.store.sight import sight_of_subscriptions


class _Sql(Statements, file="statistics.sql"):
    progress: Statement
    rank: Statement
    rows: Statement
    steps_seen: Statement
    rates: Statement


GROUPS = 50
"""How many groups an answer has: those to which most happened."""


class _Key(NamedTuple):
    """Where the rows of a kind have their key, and where those of what a caller sees have it."""

    column: str
    of_key: str
    of_delivery: str
    of_signal: str


_WHOLE = _Key("tenant", "subscription_id = 0 AND tenant = k.key AND name = ''", "''", "''")
_KEYS = {
    Split.SUBSCRIPTION: _Key("subscription_id", "subscription_id = k.key::bigint AND tenant = ''", "s.id", "''"),
    Split.TENANT: _Key("tenant", _WHOLE.of_key, "s.tenant", "r.tenant"),
    Split.NAME: _Key("name", "subscription_id = 0 AND tenant = '' AND name = k.key", "r.name", "r.name"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What statistics are about; what is None does not matter.

    Args:
        subscription_id: Deliveries to this subscription, and the signals that are owed to it.
        tenant_id: Signals of this tenant, and deliveries to its subscriptions.
        name: Signals of this name, and their deliveries.
    """

    subscription_id: int | None = None
    tenant_id: str | None = None
    name: str | None = None

    @property
    def given(self) -> dict[Split, str]:
        """What it is narrowed to."""
        values = {Split.SUBSCRIPTION: self.subscription_id, Split.TENANT: self.tenant_id, Split.NAME: self.name}
        return {split: str(value) for split, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class SuccessRate:
    """Which part of the deliveries that ended was delivered, from 0 to 1; None if none ended.

    Args:
        hour: In the last hour.
        day: In the last 24 hours.
    """

    hour: float | None = None
    day: float | None = None


class StatisticsStore:
    """Reads the statistics, which are a few seconds behind."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._slices = Slices()

    async def read(
        self, window: Window, subject: Subject, *, split: Split | None = None, by: Principal = ADMINISTRATOR
    ) -> list[Figures]:
        """Return the figures of each step of *window* in which anything happened that *by* sees, in their order.

        They are those of *subject* in all, or of each of the `GROUPS` groups with most of them.
        """
        until = await self._database.fetchval(_Sql.progress)
        spans = _columns(window.spans(until))
        dimensions = {*subject.given, *([] if split is None else [split])}
        if by.hide_nothing and len(dimensions) <= 1:
            kind, key = "all", _WHOLE
            keys: Sequence[str] = [""]
            for one in dimensions:
                kind, key, keys = one.value, _KEYS[one], list(subject.given.values())
                if not keys:
                    keys = await self._rank(kind, key, _columns(window.spans_in_all(until)))
            rows = await self._database.fetch(_Sql.rows.naming(of_key=key.of_key), kind=kind, keys=keys, **spans)
            return await self._collect(rows, window.step, split)
        key = _WHOLE if split is None else _KEYS[split]
        rows = await self._database.fetch(
            _Sql.steps_seen.naming(of_delivery=key.of_delivery, of_signal=key.of_signal),
            subscription_id=subject.subscription_id,
            tenant_id=subject.tenant_id,
            name=subject.name,
            owed=Split.SUBSCRIPTION in dimensions,
            most=GROUPS,
            step=window.step,
            **spans,
            **await sight_of_subscriptions(self._database, by),
        )
        return await self._collect(rows, window.step, split)

    async def _collect(self, rows: Sequence[Row], step: int, split: Split | None) -> list[Figures]:
        """Return the figures of each step and key that *rows* are about; other tasks get their turns meanwhile."""
        begins: dict[datetime, datetime] = {}
        of_steps: dict[tuple[datetime, str], list[Figures]] = {}
        collected = []
        async with self._slices.take() as turn:
            for row in rows:
                one = _read(row, is_split=split is not None)
                at = begins.get(one.at) or begins.setdefault(one.at, align(one.at, step))
                of_steps.setdefault((at, one.key), []).append(one)
                if turn.is_over:
                    await turn.pause()
            for (at, _), figures in of_steps.items():
                is_whole = len(figures) == 1 and figures[0].at == at
                collected.append(figures[0] if is_whole else add_up(at, figures))
                if turn.is_over:
                    await turn.pause()
        return collected

    async def success_rates(self, subscription_ids: Sequence[int]) -> Mapping[int, SuccessRate]:
        """Return the success rate of each of these subscriptions, by their ids."""
        rows = await self._database.fetch(_Sql.rates, subscription_ids=subscription_ids)
        rates = {
            row["id"]: SuccessRate(
                hour=_rate(row["delivered_in_hour"], row["dead_in_hour"]),
                day=_rate(row["delivered_in_day"], row["dead_in_day"]),
            )
            for row in rows
        }
        return {key: rates.get(key, SuccessRate()) for key in subscription_ids}

    async def _rank(self, kind: str, key: _Key, spans: Mapping[str, object]) -> list[str]:
        rows = await self._database.fetch(_Sql.rank.naming(column=key.column), kind=kind, most=GROUPS, **spans)
        return [row["key"] for row in rows]


def _columns(spans: Sequence[tuple[int, object, object]]) -> dict[str, object]:
    return {name: [span[number] for span in spans] for number, name in enumerate(("seconds", "since", "until"))}


def _read(row: Row, *, is_split: bool) -> Figures:
    return Figures(
        at=row["at"],
        key=row["key"] if is_split else "",
        accepted=row["accepted"],
        recorded=row["recorded"],
        delivered=row["delivered"],
        dead=row["dead"],
        retried=row["retried"],
        classes=row["classes"] or (),
        counts=row["counts"] or (),
    )


def _rate(delivered: int, dead: int) -> float | None:
    return delivered / (delivered + dead) if delivered + dead else None
