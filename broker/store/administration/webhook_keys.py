"""The product's own signing keys in PostgreSQL, for the webhook signature ``v1a``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from broker.access import ADMINISTRATOR, Principal
from broker.audit import AuditType
from broker.secrets import SecretBox, make_key_pair
from broker.store.administration.audit import change_administration
from broker.store.postgres.database import Database, Row, Session
from broker.store.postgres.statements import Statement, Statements


class _Sql(Statements, file="webhook_keys.sql"):
    valid: Statement
    add: Statement
    lock: Statement
    retire: Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookKey:
    """A key that signs.

    Args:
        id: Its id.
        public_key: ``whpk_...``.
        private_key: ``whsk_...``, sealed.
        created_at: When it was made.
        valid_until: When it stops signing; None until it is rotated.
    """

    id: int
    public_key: str
    private_key: bytes = field(repr=False)
    created_at: datetime
    valid_until: datetime | None


class WebhookKeyStore:
    """Creates, reads and rotates the keys."""

    def __init__(self, database: Database, secrets: SecretBox) -> None:
        self._database = database
        self._secrets = secrets

    async def valid(self) -> list[WebhookKey]:
        """Return the keys that sign now, newest first; the first call creates the first key."""
        rows = await self._database.fetch(_Sql.valid)
        if not rows:
            await self._add(self._database)
            rows = await self._database.fetch(_Sql.valid)
        return _read_keys(rows)

    async def rotate(self, grace: timedelta, *, by: Principal = ADMINISTRATOR) -> list[WebhookKey]:
        """Create a new key and return the keys that sign now; the previous one signs too until *grace* is over.

        It does not if no key of the ring opens it.
        """
        async with change_administration(self._database, by) as change:
            await change.session.execute(_Sql.lock)
            keys = _read_keys(await change.session.fetch(_Sql.valid))
            lost = [key.id for key in keys if not self._secrets.opens(key.private_key)]
            await change.session.execute(_Sql.retire, grace=grace.total_seconds(), lost=lost)
            await self._add(change.session)
            keys = _read_keys(await change.session.fetch(_Sql.valid))
            shown = {"publicKey": keys[0].public_key, "graceSeconds": grace.total_seconds()}
            await change.note(AuditType.WEBHOOK_KEY_ROTATED, keys[0].id, after=shown)
        return keys

    async def _add(self, on: Database | Session) -> None:
        private, public = make_key_pair()
        await on.execute(_Sql.add, public_key=public, private_key=self._secrets.seal(private))


def _read_keys(rows: Sequence[Row]) -> list[WebhookKey]:
    return [
        WebhookKey(
            id=row["id"],
            public_key=row["public_key"],
            private_key=row["private_key"],
            created_at=row["created_at"],
            valid_until=row["valid_until"],
        )
        for row in rows
    ]
