"""Permissions to send webhooks, that receivers gave by a callback, in PostgreSQL."""

from __future__ import annotations

from broker.callbacks import Receiver
from broker.store.postgres.database import Database
from broker.store.postgres.statements import Statement, Statements

MOST = 100
"""How many permissions of one subscription are kept, the latest: its URL may be a template."""


class _Sql(Statements, file="permissions.sql"):
    grant: Statement
    is_granted: Statement


class PermissionStore:
    """Keeps what receivers permitted, for as long as there is the subscription."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def grant(self, receiver: Receiver) -> bool:
        """Note the permission of *receiver*, and return whether its subscription still exists."""
        row = await self._database.fetchrow(
            _Sql.grant, subscription_id=receiver.subscription_id, receiver=receiver.digest, most=MOST
        )
        return row is not None

    async def is_granted(self, receiver: Receiver) -> bool:
        """Return whether *receiver* gave its permission."""
        row = await self._database.fetchrow(
            _Sql.is_granted, subscription_id=receiver.subscription_id, receiver=receiver.digest
        )
        return row is not None
