"""The checks of ``doctor``, in turn: one that fails ends no other, and a part that is silent is asked once.

A statement that takes too long while PostgreSQL answers others is no silence: most likely it waits for a lock.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import ParamSpec

from broker.errors import SignalBrokerError, StoreRefusal, StoreTimeout, StoreUnavailable, TransportError
from broker.store.postgres.database import Database
from broker.store.postgres.waits import find_holders_of_locks
from deploy.cli.findings import Finding

P = ParamSpec("P")

Check = tuple[str, AsyncIterator[Finding]]
"""The name of a check, and what it finds."""

POSTGRESQL, RABBITMQ, MANAGEMENT = "PostgreSQL", "RabbitMQ", "RabbitMQ's management API"
_LOOKS = {
    POSTGRESQL: '`pg_isready -d "$SIGNAL_BROKER_STORE_URL"`',
    RABBITMQ: "`rabbitmq-diagnostics status`",
    MANAGEMENT: "`rabbitmq-plugins list` and SIGNAL_BROKER_MANAGEMENT_URL",
}
"""How to see whether a part runs."""
_READ_ONLY, _DENIED, _NO_DATABASE, _NOT_AUTHORIZED = "25006", "42501", "3D000", "28"
"""SQLSTATEs, and the class of wrong credentials."""
_WAITS = "SELECT pid, pg_blocking_pids(pid), state, query FROM pg_stat_activity WHERE datname = current_database()"
"""How to see which session waits for which."""


class Checkup:
    """Makes checks, and remembers which parts do not answer.

    Args:
        database: Where PostgreSQL is asked whether it answers other statements than one that took too long.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._silent: set[str] = set()
        self._waiting: str | None = None
        """The first check whose statements took too long."""

    def note_silence(self, part: str) -> None:
        """Ask *part* nothing more."""
        self._silent.add(part)

    def is_silent(self, part: str) -> bool:
        """Return whether *part* is not to be asked any more."""
        return part in self._silent

    async def make(self, check: Check, *parts: str) -> AsyncIterator[Finding]:
        """Yield what *check* finds, which asks these *parts*; a failure is a finding, too."""
        name, findings = check
        silent = next(filter(self.is_silent, parts), None)
        if silent is not None:
            yield Finding("warn", name, f"not asked: {silent} does not answer, see {_LOOKS[silent]}")
            return
        try:
            async for finding in findings:
                yield finding
        except StoreUnavailable as error:
            yield await self.judge(name, error)
        except TransportError as error:
            yield Finding("fail", name, f"cannot be seen ({error}): see {_LOOKS[RABBITMQ]}")
        except SignalBrokerError as error:
            yield Finding("fail", name, f"cannot be checked: {error}")

    async def judge(self, check: str, error: StoreUnavailable) -> Finding:
        """Return what *error* of PostgreSQL means for *check*; if it is silent, nothing more is asked of it."""
        if isinstance(error, StoreRefusal):
            return judge_refusal(check, error)
        if isinstance(error, StoreTimeout) and (wait := await self._judge_wait(check)):
            return wait
        self.note_silence(POSTGRESQL)
        return judge_silence(check, error)

    async def _judge_wait(self, check: str) -> Finding | None:
        """Return what it means that a statement took too long; None if PostgreSQL answers no other either."""
        try:
            holders = await find_holders_of_locks(self._database)
        except StoreUnavailable:
            return None
        if self._waiting is not None:
            return Finding("fail", check, f"its statements take too long as well: see the finding `{self._waiting}`")
        self._waiting = check
        seconds = f"{self._database.timeout.total_seconds():g} s (SIGNAL_BROKER_STORE_TIMEOUT_SECONDS)"
        if holders:
            return Finding(
                "fail",
                check,
                f"statements wait, although PostgreSQL answers others: for a lock, most likely that of"
                f" {'; '.join(holders)}. See who waits for whom with `{_WAITS}`, and let the transaction end, or end it"
                " with `SELECT pg_terminate_backend(PID)`",
            )
        return Finding(
            "fail",
            check,
            f"a statement takes longer than {seconds}, although PostgreSQL answers others: a lock that is gone by now,"
            f" or much to do for the disks. If it is so again, see what it waits for: `{_WAITS}`",
        )


async def one(judge: Callable[P, Awaitable[Finding]], *args: P.args, **named: P.kwargs) -> AsyncIterator[Finding]:
    """Yield the only finding of a check."""
    yield await judge(*args, **named)


def judge_silence(check: str, error: StoreUnavailable) -> Finding:
    """Return what it means that PostgreSQL does not answer."""
    return Finding("fail", check, f"{error}: see whether it runs with {_LOOKS[POSTGRESQL]}")


def judge_refusal(check: str, error: StoreRefusal) -> Finding:
    """Return what to do about a refusal of PostgreSQL, which does answer."""
    match error.sqlstate:
        case state if state == _DENIED:
            cure = "let the owner of the tables `GRANT` it to the role in SIGNAL_BROKER_STORE_URL"
        case state if state == _READ_ONLY:
            cure = "see whether it is a standby, or `SHOW default_transaction_read_only`"
        case state if state == _NO_DATABASE or state.startswith(_NOT_AUTHORIZED):
            cure = 'correct SIGNAL_BROKER_STORE_URL, and try it with `psql "$SIGNAL_BROKER_STORE_URL"`'
        case _:
            cure = "see the log of PostgreSQL, where `SHOW log_directory` says"
    return Finding("fail", check, f"{error}: {cure}")
