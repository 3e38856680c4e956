"""Sealing: credentials in the targets of subscriptions, and the secrets that sign webhooks, at rest.

Processes of earlier versions cannot read a sealed target. So a store that they may have used begins to seal only when
it is told so (`SealingStore.reseal`), once none of them runs any more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from broker.errors import SecretUnreadable
from broker.redaction import hide_credentials_of_url
from broker.secrets import SecretBox, sealing_moment
from broker.store.postgres.database import Database, Row, Session
from broker.store.postgres.statements import Statement, Statements
from broker.store.rows import read_targets, target_columns

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
        opened: How many secrets it opens.
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
        """Try to open every secret of the first *most* subscriptions, and the keys that sign webhooks."""
        opened, after, left = 0, 0, most
        sealed_at: list[datetime] = []
        subscriptions: list[int] = []
        while left and (
            rows := await self._database.fetch(_Sql.sealed_subscriptions, after=after, limit=min(_PAGE, left))
        ):
            for row in rows:
                secrets = _sealed_of(row)
                closed = [secret for secret in secrets if not _opens(box, secret)]
                opened += len(secrets) - len(closed)
                sealed_at += map(sealing_moment, closed)
                subscriptions += [row["id"]] if closed else []
            after, left = rows[-1]["id"], left - len(rows)
        keys = {row["id"]: row["private_key"] for row in await self._database.fetch(_Sql.sealed_keys)}
        lost = [key for key, sealed in keys.items() if not _opens(box, sealed)]
        sealed_at += [sealing_moment(keys[key]) for key in lost]
        return Ring(opened + len(keys) - len(lost), sealed_at, subscriptions, lost, complete=left > 0)

    async def reseal(self, box: SecretBox) -> int:
        """Seal everything with the first key of the ring, from now on new targets too; return how many subscriptions.

        It may be interrupted and repeated. Credentials in URLs of the audit log are cut.

        Raises:
            SecretUnreadable: No key of the ring opens one of the secrets; those before it are sealed anew.
        """
        await self._database.execute(_Sql.begin)
        count, after = 0, 0
        while True:
            async with self._database.transaction() as session:
                rows = await session.fetch(_Sql.lock_subscriptions, after=after, limit=_PAGE)
                for row in rows:
                    count += await _reseal(session, row, box)
            if not rows:
                break
            after = rows[-1]["id"]
        async with self._database.transaction() as session:
            for row in await session.fetch(_Sql.lock_keys):
                await session.execute(_Sql.save_key, id=row["id"], private_key=box.reseal(row["private_key"]))
        await self._cut_changes()
        await self._database.execute(_Sql.forget_circuits)
        return count

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
    """Return what a row of `sealed_subscriptions` holds sealed."""
    steps = [] if row["steps"] is None else json.loads(row["steps"])
    texts = [row["sealed"], *(step.get("sealed") for step in steps)]
    secrets = [row["secret"], row["previous_secret"], *(None if text is None else text.encode() for text in texts)]
    return [secret for secret in secrets if secret is not None]


def _opens(box: SecretBox, sealed: bytes) -> bool:
    try:
        box.open(sealed)
    except SecretUnreadable:
        return False
    return True


async def _reseal(session: Session, row: Row, box: SecretBox) -> bool:
    """Seal a subscription's secrets; return whether it has any."""
    stored = read_targets(row)
    targets = [target.unseal(box).seal(box) for target in stored]
    secrets = {name: None if row[name] is None else box.reseal(row[name]) for name in ("secret", "previous_secret")}
    if not any(secrets.values()) and all(target.sealed is None for target in targets):
        return False
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
    return True


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
