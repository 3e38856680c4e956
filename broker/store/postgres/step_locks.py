"""The locks on tables that a step of the schema takes ahead of its statements.

A step that has locked one table and waits for another waits in vain for a transaction that uses the second and needs
the first. Under load there is always such a transaction, and the order in which an earlier version's transactions use
tables is not known here. So a table that could not be locked in time is locked first next time: after a few tries the
order is theirs, and each table is waited for only until the transactions that are under way end.
"""

from __future__ import annotations

import re

from broker.errors import StoreRefusal
from broker.store.postgres.database import Session
from broker.store.postgres.statements import Statement, Statements

_COMMENT = re.compile(r"--.*$", re.MULTILINE)
_CREATE_INDEX = re.compile(r"^CREATE (?:UNIQUE )?INDEX [^;]+", re.MULTILINE)
_WORD = re.compile(r"\w+")


class _Sql(Statements, file="step_locks.sql"):
    find_tables: Statement


class StepLocks:
    """The locks of the tables that *script* names, itself or by an index of theirs.

    Those of which it does no more than build an index can be read meanwhile.
    """

    def __init__(self, script: str) -> None:
        text = _COMMENT.sub("", script)
        self._named = sorted(set(_WORD.findall(text)))
        self._changed = sorted(set(_WORD.findall(_CREATE_INDEX.sub("", text))))
        self._locks: list[str] = []

    async def take(self, session: Session) -> None:
        """Lock the tables until the transaction ends.

        Raises:
            StoreRefusal: One of them was not free within the ``lock_timeout``; it is the first one next time.
        """
        if not self._locks:
            rows = await session.fetch(_Sql.find_tables, named=self._named, changed=self._changed)
            self._locks = [f"{row['name']} IN {row['mode']} MODE" for row in rows]
        for lock in list(self._locks):
            try:
                await session.execute(f"LOCK TABLE {lock}")
            except StoreRefusal:
                self._locks.remove(lock)
                self._locks.insert(0, lock)
                raise
