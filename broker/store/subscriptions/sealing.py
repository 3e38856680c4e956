"""Sealing: credentials in the targets of subscriptions, and the secrets that sign webhooks, at rest.

Processes of earlier versions cannot read a sealed target. So a store that they may have used begins to seal only when
it is told so (`SealingStore.reseal`), once none of them runs any more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from broker.errors import SecretUnreadable
from broker.redaction import hide_credentials_of_url
from broker.secrets import SecretBox, sealing_moment
from broker.store.postgres.database import Database, Row, Session
from broker.store.postgres.statements import Statement, Statements
from broker.store.rows import read_targets, target_columns
from broker.targets import Kind

_PAGE = 100
"""How many rows a transaction seals."""


class _Sql(Statements, file="sealing.sql"):
    is_on: Statement
    begin: Statement
    lock_subscriptions: Statement
    save_subscription: Statement
    lock_keys: Statement
    save_key: Statement
    changes: Statement
    save_change: Statement
    forget_circuits: Statement
    with_targets: Statement
    sealed_subscriptions: Statement
    sealed_keys: Statement


@dataclass(frozen=True, slots=True)
class Ring:
    """What the key ring opens of what is stored.

    Args:
        opened: How many of the secrets that are needed it opens.
        sealed_at: When each of the others was sealed.
        subscriptions: The ids of those that have one of the others.
        keys: The ids of the keys that sign webhooks and cannot be opened.
        complete: Whether every subscription was looked at.
    """

    opened: int
    sealed_at: Sequence[datetime]
    subscriptions: Sequence[int]
    keys: Sequence[int]
    complete: bool


@dataclass(frozen=True, slots=True)
class Resealed:
    """What a run of `SealingStore.reseal` came to.

    Args:
        subscriptions: How many subscriptions hold anything that is now sealed with the first key of the ring.
        secrets: The ids of those whose signing secret no key opens.
        targets: The ids of those of whose targets no key opens the URL and the headers.
        keys: The ids of the keys that sign webhooks and cannot be opened.
    """

    subscriptions: int
    secrets: Sequence[int]
    targets: Sequence[int]
    keys: Sequence[int]

    @property
    def complete(self) -> bool:
        """Whether everything that is needed is sealed with the first key."""
        return not (self.secrets or self.targets or self.keys)


async def is_sealing(on: Database) -> bool:
    """Return whether new targets are to be stored with their credentials sealed."""
    return bool(await on.fetchval(_Sql.is_on))


class SealingStore:
    """Seals what is stored in clear, and what was sealed with an older key of the ring.

    Args:
        database: Where it is.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def count_clear(self) -> int:
        """Return how many subscriptions hold credentials in clear."""
        rows = await self._database.fetch(_Sql.with_targets)
        return sum(any(target.holds_credentials for target in read_targets(row)) for row in rows)

    async def try_ring(self, box: SecretBox, *, most: int) -> Ring:
        """Try to open every secret that the first *most* subscriptions need, and the keys that sign webhooks."""
        opened, after, left = 0, 0, most
        sealed_at: list[datetime] = []
        subscriptions: list[int] = []
        while left and (
            rows := await self._database.fetch(_Sql.sealed_subscriptions, after=after, limit=min(_PAGE, left))
        ):
            for row in rows:
                secrets = _sealed_of(row)
                closed = [secret for secret in secrets if not box.opens(secret)]
                opened += len(secrets) - len(closed)
                sealed_at += map(sealing_moment, closed)
                subscriptions += [row["id"]] if closed else []
            after, left = rows[-1]["id"], left - len(rows)
        keys = {row["id"]: row["private_key"] for row in await self._database.fetch(_Sql.sealed_keys)}
        lost = [key for key, sealed in keys.items() if not box.opens(sealed)]
        sealed_at += [sealing_moment(keys[key]) for key in lost]
        return Ring(opened + len(keys) - len(lost), sealed_at, subscriptions, lost, complete=left > 0)

    async def reseal(self, box: SecretBox) -> Resealed:
        """Seal everything that opens with the first key of the ring, and from now on new targets, too.

        What no key opens stays as it is. It may be interrupted and repeated. Credentials in URLs of the audit log are
        cut, and previous secrets that sign no longer are dropped.

        Raises:
            SecretUnreadable: No key of the ring opens any of the secrets that are needed, so it is another product's,
                or lost altogether; nothing was changed.
        """
        await self._check_ring(box)
        await self._database.execute(_Sql.begin)
        count, after = 0, 0
        secrets: list[int] = []
        targets: list[int] = []
        while True:
            async with self._database.transaction() as session:
                rows = await session.fetch(_Sql.lock_subscriptions, after=after, limit=_PAGE)
                pages = [(row, await _reseal(session, row, box)) for row in rows]
            for row, part in pages:
                count += part.any_sealed
                secrets += [row["id"]] if row["lives"] and part.secret_closed else []
                targets += [row["id"]] if row["lives"] and part.target_closed else []
            if not rows:
                break
            after = rows[-1]["id"]
        keys = await self._reseal_keys(box)
        await self._cut_changes()
        await self._database.execute(_Sql.forget_circuits)
        return Resealed(count, secrets, targets, keys)

    async def _check_ring(self, box: SecretBox) -> None:
        """Check that *box* opens at least one secret, if any is needed: otherwise its keys are another product's.

        Raises:
            SecretUnreadable: It opens none.
        """
        after, closed = 0, 0
        while rows := await self._database.fetch(_Sql.sealed_subscriptions, after=after, limit=_PAGE):
            secrets = [secret for row in rows for secret in _sealed_of(row)]
            if any(map(box.opens, secrets)):
                return
            closed += len(secrets)
            after = rows[-1]["id"]
        keys = [row["private_key"] for row in await self._database.fetch(_Sql.sealed_keys)]
        if any(map(box.opens, keys)):
            return
        if closed + len(keys):
            raise SecretUnreadable(
                f"no key in SIGNAL_BROKER_SECRET_KEYS opens any of the {closed + len(keys)} secrets in the store, and"
                " nothing was changed: give it the keys that the gateways and the deliverers have. If their key is"
                " lost, first make new secrets: `signal-broker doctor` says how"
            )

    async def _reseal_keys(self, box: SecretBox) -> list[int]:
        """Seal the keys that sign webhooks; return the ids of those that sign now and that no key opens."""
        closed = []
        async with self._database.transaction() as session:
            for row in await session.fetch(_Sql.lock_keys):
                if box.opens(row["private_key"]):
                    await session.execute(_Sql.save_key, id=row["id"], private_key=box.reseal(row["private_key"]))
                elif row["signs"]:
                    closed.append(row["id"])
        return closed

    async def _cut_changes(self) -> None:
        after = 0
        while True:
            async with self._database.transaction() as session:
                rows = await session.fetch(_Sql.changes, after=after, limit=_PAGE)
                for row in rows:
                    cut = {name: _cut(row[name]) for name in ("before", "after")}
                    if any(cut[name] != row[name] for name in cut):
                        await session.execute(_Sql.save_change, id=row["id"], **cut)
            if not rows:
                return
            after = rows[-1]["id"]


def _sealed_of(row: Row) -> list[bytes]:
    """Return what a row of `sealed_subscriptions` holds sealed and needs: secrets sign for webhooks only."""
    steps = [] if row["steps"] is None else json.loads(row["steps"])
    texts = [row["sealed"], *(step.get("sealed") for step in steps)]
    signs = Kind.WEBHOOK in {row["kind"], *(step["kind"] for step in steps)}
    secrets = [row["secret"], row["previous_secret"]] if signs else []
    secrets += [None if text is None else text.encode() for text in texts]
    return [secret for secret in secrets if secret is not None]


class _Part(NamedTuple):
    """What became of one subscription: whether anything of it is sealed with the first key, and what nothing opens."""

    any_sealed: bool
    secret_closed: bool
    target_closed: bool


async def _reseal(session: Session, row: Row, box: SecretBox) -> _Part:
    """Seal what opens of a locked subscription, and leave the rest as it is."""
    stored = read_targets(row)
    openable = [target.sealed is None or box.opens(target.sealed.encode()) for target in stored]
    targets = [
        target.unseal(box).seal(box) if opens else target for target, opens in zip(stored, openable, strict=True)
    ]
    kept = {"secret": row["secret"], "previous_secret": row["previous_secret"] if row["keeps_previous"] else None}
    secrets = {name: box.reseal(one) if one and box.opens(one) else one for name, one in kept.items()}
    closed = any(one is not None and secrets[name] == one for name, one in kept.items())
    part = _Part(
        any_sealed=any(one is not None and secrets[name] != one for name, one in kept.items())
        or any(opens and target.sealed is not None for opens, target in zip(openable, targets, strict=True)),
        secret_closed=closed and any(target.is_signed for target in stored),
        target_closed=not all(openable),
    )
    if not part.any_sealed and row["previous_secret"] == kept["previous_secret"]:
        return part
    columns = target_columns(targets)
    await session.execute(
        _Sql.save_subscription,
        id=row["id"],
        address=columns["address"],
        headers=json.dumps(columns["headers"]),
        steps=None if columns["steps"] is None else json.dumps(columns["steps"]),
        sealed=columns["sealed"],
        **secrets,
    )
    return part


def _cut(snapshot: str | None) -> str | None:
    """Return a snapshot of a subscription without credentials in its URLs."""
    if snapshot is None:
        return None
    columns = json.loads(snapshot)
    cut = {**_hide(columns), "steps": columns.get("steps") and [_hide(step) for step in columns["steps"]]}
    return snapshot if cut == columns else json.dumps(cut)


def _hide(columns: Mapping[str, Any]) -> dict[str, Any]:
    is_webhook = columns.get("kind") == "webhook"
    return {**columns, "address": hide_credentials_of_url(columns["address"])} if is_webhook else dict(columns)
