"""Sessions in PostgreSQL: people who signed in with a browser, known by a cookie of which the store has the digest.

Sessions are not cached: what ended one is known to every gateway with the next request.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from broker.access import Permission, Principal, digest
from broker.audit import AuditType
from broker.errors import QuotaExceeded
from broker.moments import show_moment
from broker.store.administration.audit import Change, change_administration
from broker.store.administration.limits import limit_columns, read_limits
from broker.store.postgres.database import Database, Row, Session
from broker.store.postgres.statements import Statement, Statements

LONGEST = timedelta(hours=12)
"""After how long a session ends at the latest."""
MOST = 20
"""Sessions that a principal may have at a time; a further one ends the oldest."""
MOST_AN_HOUR = 100
"""Sessions that a principal may begin within an hour: each is in the audit, for ever."""
_RETRY_AFTER = 60
"""Seconds after which one that has begun too many may try again."""


class _Sql(Statements, file="sessions.sql"):
    count_recent: Statement
    end_oldest: Statement
    start: Statement
    find: Statement
    end: Statement
    forget: Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """What somebody signed in with.

    Args:
        principal: Who that is.
        credential: The digest of the token, or of the stored hash of the password.
        expires_at: When the credential expires; None: never.
        is_of_issuer: Whether it is a token of an issuer, which the store does not have.
    """

    principal: Principal
    credential: bytes
    expires_at: datetime | None = None
    is_of_issuer: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSession:
    """A session as it is kept.

    Args:
        id: Its id.
        ends_at: From when on it opens nothing.
        credential: The digest of the token, or of the stored hash of the password, that it stands for.
        user_name: The name of the user, if one signed in with a password.
        claimed: The principal of a token of an issuer, if that is what it stands for.
    """

    id: int
    ends_at: datetime
    credential: bytes
    user_name: str | None
    claimed: Principal | None


class Replaced(NamedTuple):
    """The session that a browser had before.

    Args:
        id: Its id.
        ends_at: Until when it would last.
        principal: Whose it is.
    """

    id: int
    ends_at: datetime
    principal: Principal


class SessionStore:
    """Starts, finds, ends and forgets sessions; starts and ends are audited."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def start(
        self, value: str, signed_in: SignIn, *, replaced: Replaced | None = None
    ) -> tuple[int, datetime] | None:
        """Start a session with a cookie of that *value*; return its id, and when it ends. None if the user is gone.

        The session that it *replaced* ends, and so does the oldest one if the principal still has too many.

        Raises:
            QuotaExceeded: The principal has begun too many lately.
        """
        by = signed_in.principal
        await _check_recent(self._database, by)  # before it waits for its turn at the administration, too
        async with change_administration(self._database, by) as change:
            await _check_recent(change.session, by)
            row = await change.session.fetchrow(
                _Sql.start,
                digest=digest(value),
                principal=by.key,
                credential=signed_in.credential,
                user_id=by.user_id,
                claims=_write_claims(by) if signed_in.is_of_issuer else None,
                seconds=LONGEST.total_seconds(),
                expires_at=signed_in.expires_at,
            )
            if row is None:
                return None
            await change.note(AuditType.SESSION_STARTED, row["id"], after=_snapshot(row["ends_at"]))
            if replaced is not None:
                await _end(Change(change.session, replaced.principal), replaced.id, replaced.ends_at)
            await change.session.execute(_Sql.end_oldest, principal=by.key, kept=MOST)
        return row["id"], row["ends_at"]

    async def find(self, value: str) -> KeptSession | None:
        """Return the session whose cookie has that *value*; None if there is none, or it has ended."""
        row = await self._database.fetchrow(_Sql.find, digest=digest(value))
        return None if row is None else _read(row)

    async def end(self, session_id: int, ends_at: datetime, *, by: Principal) -> bool:
        """End a session that would last until *ends_at*; return whether it had not ended yet."""
        async with change_administration(self._database, by) as change:
            return await _end(change, session_id, ends_at)

    async def forget(self, limit: int) -> int:
        """Delete up to *limit* sessions that ended an hour ago; return how many."""
        return len(await self._database.fetch(_Sql.forget, limit=limit))


async def _end(change: Change, session_id: int, ends_at: datetime) -> bool:
    if await change.session.fetchrow(_Sql.end, session_id=session_id) is None:
        return False
    await change.note(AuditType.SESSION_ENDED, session_id, before=_snapshot(ends_at))
    return True


async def _check_recent(on: Database | Session, principal: Principal) -> None:
    if await on.fetchval(_Sql.count_recent, principal=principal.key) >= MOST_AN_HOUR:
        raise QuotaExceeded(
            f"{principal.name!r} has signed in {MOST_AN_HOUR} times within an hour; try again later.",
            quota="sessionsPerHour",
            retry_after=_RETRY_AFTER,
        )


def _snapshot(ends_at: datetime) -> dict[str, str]:
    return {"expiresAt": show_moment(ends_at)}


def _write_claims(principal: Principal) -> str:
    permissions = sorted(permission.value for permission in principal.permissions)
    return json.dumps({"name": principal.name, "permissions": permissions, **limit_columns(principal)})


def _read_claims(text: str) -> Principal:
    claims = json.loads(text)
    return Principal(
        name=claims["name"], permissions=frozenset(map(Permission, claims["permissions"])), **read_limits(claims)
    )


def _read(row: Row) -> KeptSession:
    return KeptSession(
        id=row["id"],
        ends_at=row["ends_at"],
        credential=row["credential"],
        user_name=row["user_name"],
        claimed=None if row["claims"] is None else _read_claims(row["claims"]),
    )
