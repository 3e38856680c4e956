"""What the role of the store's URL may do: write at all, and use each table and sequence of the product."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from broker.store.postgres.database import Database
from broker.store.postgres.schema import made_names
from broker.store.postgres.statements import Statement, Statements


class _Sql(Statements, file="privileges.sql"):
    look: Statement
    find_missing: Statement
    find_owned_by_others: Statement


@dataclass(frozen=True, slots=True)
class Role:
    """A session with PostgreSQL.

    Args:
        role: Whose it is, as SQL writes it.
        database: The database, as SQL writes it.
        read_only: Whether it cannot write.
        standby: Whether the server is a standby, which is read-only.
    """

    role: str
    database: str
    read_only: bool
    standby: bool


@dataclass(frozen=True, slots=True)
class Missing:
    """The privileges that the role lacks on a table or a sequence of *schema*, whose *name* is as in GRANT."""

    name: str
    schema: str
    privileges: tuple[str, ...]

    def grant(self, role: str) -> str:
        """Return the statement that gives them to *role*."""
        return f"GRANT {', '.join(self.privileges)} ON {self.name} TO {role}"


async def look_at_role(database: Database) -> Role:
    """Return whose the sessions are, and whether they can write.

    Raises:
        StoreUnavailable: PostgreSQL did not answer.
    """
    row = await database.fetchrow(_Sql.look)
    assert row is not None  # noqa: S101  (a list of expressions always is a row)
    return Role(**row)


async def find_missing(database: Database, *, schemas: Collection[str] = ()) -> list[Missing]:
    """Return what the role lacks on the product's tables and sequences, and on all of other *schemas*.

    Raises:
        StoreUnavailable: PostgreSQL did not answer.
    """
    rows = await database.fetch(_Sql.find_missing, names=sorted(made_names()), schemas=list(schemas))
    return [Missing(row["name"], row["schema"], tuple(row["privileges"])) for row in rows]


async def find_owned_by_others(database: Database) -> list[str]:
    """Return the partitioned tables that the role does not own: only their owner makes and drops partitions.

    Raises:
        StoreUnavailable: PostgreSQL did not answer.
    """
    rows = await database.fetch(_Sql.find_owned_by_others, names=sorted(made_names()))
    return [row["name"] for row in rows]
