"""The product's own signing keys in PostgreSQL: what webhooks are signed with as ``v1a``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from broker.secrets import SecretBox, make_key_pair
from broker.store.postgres.database import Database, Row
from broker.store.postgres.statements import load

_SQL = load("broker.store.administration", "webhook_keys")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookKey:
    """A key that signs.

    Args:
        id: Its id.
        public_key: ``whpk_...``.
        private_key: ``whsk_...``, sealed.
        created_at: When it was made.
        valid_until: When it stops signing; None: not before it is rotated.
    """

    id: int
    public_key: str
    private_key: bytes = field(repr=False)
    created_at: datetime
    valid_until: datetime | None


class WebhookKeyStore:
    """Makes, reads and rotates the keys."""

    def __init__(self, database: Database, secrets: SecretBox) -> None:
        self._database = database
        self._secrets = secrets

    async def valid(self) -> list[WebhookKey]:
        """Return the keys that sign now, the newest first; whoever asks first has the first one made."""
        rows = await self._database.fetch(_SQL.valid)
        if not rows:
            await self._database.execute(_SQL.add, *self._fresh_pair())
            rows = await self._database.fetch(_SQL.valid)
        return _read_keys(rows)

    async def rotate(self, grace: timedelta) -> list[WebhookKey]:
        """Make a new key; the one before it signs, too, until *grace* is over. Return the keys that sign now."""
        async with self._database.transaction() as session:
            await session.execute(_SQL.lock)
            await session.execute(_SQL.retire, grace.total_seconds())
            await session.execute(_SQL.add, *self._fresh_pair())
            return _read_keys(await session.fetch(_SQL.valid))

    def _fresh_pair(self) -> tuple[str, bytes]:
        private, public = make_key_pair()
        return public, self._secrets.seal(private)


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
