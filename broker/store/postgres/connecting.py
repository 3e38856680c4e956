"""Connecting to PostgreSQL: each host of a URL has a share of the time, and who answered last is asked first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg  # noqa: TID251  (the fence)

from broker.server_urls import store_addresses

_SETTINGS = (
    "SET jit = off",
    # A process that is frozen or gone in the middle of a transaction must not block the others.
    "SET idle_in_transaction_session_timeout = '10s'",
    # What a process gave up waiting for does not go on without it.
    "SET client_connection_check_interval = '1s'",
    # Who has waited for a lock reads what was committed meanwhile, whatever is set for the role or the database.
    "SET default_transaction_isolation = 'read committed'",
)
"""Not sent when a session begins: a pooler refuses those that it was not told of."""
_NEXT = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TargetServerAttributeNotMatched,
)
"""What a host raises that is away, starts, hangs (a `TimeoutError` is an `OSError`), or is not of the wanted kind."""


async def prepare(connection: Any, timeout: float | None = None) -> None:
    """Set what the sessions of this product need, within *timeout* (seconds), or that of the connection."""
    await connection.execute("; ".join(_SETTINGS), timeout=timeout)


class Connector:
    """Connects like `asyncpg.connect`, which gives all hosts one time together: a silent one would use it up.

    Args:
        url: The database; it may name several hosts, and ``target_session_attrs``.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._addresses: Sequence[tuple[str, int]] = store_addresses(url)

    async def connect(self, *_: object, timeout: float, **options: Any) -> Any:
        """Return a connection to a host that answers and is of the wanted kind, within *timeout* (seconds).

        Raises:
            OSError, asyncpg.PostgresError, asyncpg.InternalClientError: There is none; what the last one raised.
        """
        if len(self._addresses) == 1:
            return await asyncpg.connect(self._url, timeout=timeout, **options)
        kinds: Sequence[dict[str, Any]] = [{}]
        if "target_session_attrs=prefer-standby" in self._url:
            kinds = [{"target_session_attrs": "standby"}, {"target_session_attrs": "any"}]
        share = timeout / (len(self._addresses) * len(kinds))
        last: BaseException | None = None
        for kind in kinds:
            for host, port in self._addresses:
                try:
                    connection = await asyncpg.connect(
                        self._url, host=host, port=port, timeout=share, **kind, **options
                    )
                except _NEXT as error:
                    last = error
                else:
                    self._prefer((host, port))
                    return connection
        assert last is not None  # noqa: S101  (there are several hosts)
        raise last

    def _prefer(self, address: tuple[str, int]) -> None:
        self._addresses = [address, *(other for other in self._addresses if other != address)]
