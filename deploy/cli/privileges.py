"""``doctor`` looks what the role of the store's URL may do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from broker.store.postgres.database import Database
from broker.store.postgres.privileges import Missing, Role, find_missing, find_owned_by_others, look_at_role
from deploy.cli.findings import Finding, enumerate_some

_TRANSPORT = "transport"
"""The schema of the embedded transport."""
_GRANTED = 5
"""With more tables than these, they are granted all at once."""


class RoleCheck:
    """Finds out whether processes can write to the store.

    Args:
        database: The store.
        transport_too: Whether the transport is in there, too.
    """

    def __init__(self, database: Database, *, transport_too: bool) -> None:
        self._database = database
        self._schemas = [_TRANSPORT] if transport_too else []
        self.writes = False
        """Whether everything can be written, as far as is known."""

    async def examine(self) -> AsyncIterator[Finding]:
        """Yield whether the store is read-only, and which privileges are missing.

        Raises:
            StoreUnavailable: PostgreSQL did not answer.
        """
        role = await look_at_role(self._database)
        if role.read_only:
            yield _judge_read_only(role)
        missing = await find_missing(self._database, schemas=self._schemas)
        others = await find_owned_by_others(self._database)
        if missing:
            yield _judge_missing(role, missing)
        elif others:
            yield Finding(
                "warn",
                "privileges",
                f"the role {role.role} does not own {', '.join(others)}, and cannot make or drop partitions of them:"
                f" give it their owner's rights with `GRANT ... TO {role.role}`, or let the owner be the role in"
                " SIGNAL_BROKER_STORE_URL",
            )
        else:
            yield Finding("ok", "privileges", f"the role {role.role} may use every table and sequence")
        self.writes = not role.read_only and not missing


def _judge_read_only(role: Role) -> Finding:
    if role.standby:
        return Finding(
            "fail",
            "store",
            "PostgreSQL is read-only, a standby: name the primary in SIGNAL_BROKER_STORE_URL, or all servers with"
            " `?target_session_attrs=read-write`",
        )
    return Finding(
        "fail",
        "store",
        f"the database {role.database} is read-only for the role {role.role}, so that nothing is accepted or delivered:"
        " see what `SHOW default_transaction_read_only` says, and end it with"
        f" `ALTER DATABASE {role.database} RESET default_transaction_read_only` (or of the role, or the server)",
    )


def _judge_missing(role: Role, missing: Sequence[Missing]) -> Finding:
    lacking = [f"{', '.join(one.privileges)} on {one.name.replace('SEQUENCE', 'the sequence')}" for one in missing]
    if len(missing) <= _GRANTED:
        cure = "; ".join(one.grant(role.role) for one in missing)
    else:
        cure = "; ".join(
            f"GRANT ALL ON ALL {kind} IN SCHEMA {schema} TO {role.role}"
            for schema in dict.fromkeys(one.schema for one in missing)
            for kind in ("TABLES", "SEQUENCES")
        )
    return Finding(
        "fail",
        "privileges",
        f"the role {role.role} lacks {enumerate_some(lacking)}: as the owner of the tables, run `{cure}`",
    )
