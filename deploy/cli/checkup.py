"""The checks of ``doctor``, in turn: one that fails ends no other, and a part that is silent is asked once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import ParamSpec

from broker.errors import SignalBrokerError, StoreRefusal, StoreUnavailable, TransportError
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


class Checkup:
    """Makes checks, and remembers which parts do not answer."""

    def __init__(self) -> None:
        self._silent: set[str] = set()

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
        except StoreRefusal as error:
            yield judge_refusal(name, error)
        except StoreUnavailable as error:
            self.note_silence(POSTGRESQL)
            yield judge_silence(name, error)
        except TransportError as error:
            yield Finding("fail", name, f"cannot be seen ({error}): see {_LOOKS[RABBITMQ]}")
        except SignalBrokerError as error:
            yield Finding("fail", name, f"cannot be checked: {error}")


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
