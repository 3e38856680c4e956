"""Handing on: the end of an attempt that succeeded begins that of the next delivery of its ordering group.

A handed-on attempt has no message of its own; the message of the delivery with which the deliverer began stands for it.
If the deliverer is lost, RabbitMQ redelivers that message, and the deliverer that gets it finds the attempt under way
(`find_heir`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

from broker.deliveries import DueAttempt
from broker.store.deliveries.attempts import SMALL, Claimed, Ended, end_columns, first_ends, read_claimed
from broker.store.postgres.database import Database, Row, Session
from broker.store.postgres.statements import Statement, Statements
from broker.store.rows import read_due_attempts
from broker.subscriptions import Subscription
from broker.topology import attempt_queue


class _Sql(Statements, file="handing.sql"):
    hand_on: Statement
    find_heir: Statement


NEEDED_TO_DELIVER = _Sql.every()
"""What deliverers carry out."""


async def hand_on(
    session: Session,
    batch: Sequence[Ended],
    *,
    read: Callable[[Row], Subscription],
    timeout: timedelta,
    rescue_after: timedelta,
    by: int | None,
) -> list[Claimed | None]:
    """End attempts that can hand on (see `ending.can_hand_on`), and begin the next one of each ordering group.

    Return what was begun. None stands for a group that is to be advanced after that: nothing waits there, or what does
    needs admission or more room, or another session has locked the key. *read* reads subscriptions. *timeout*,
    *rescue_after* and *by* are those of `broker.store.deliveries.attempts.begin`.
    """
    rows = await session.fetch(
        _Sql.hand_on,
        **end_columns(first_ends(batch)),
        room=SMALL,
        timeout=timeout.total_seconds(),
        rescue_after=rescue_after.total_seconds(),
        by=by,
    )
    begun = {(row["ended_id"], row["subscription_id"]): row for row in rows}
    # Popped, so that of two ends of one attempt in the same batch only the first hands it on.
    popped = (begun.pop((ended.due.signal_id, ended.due.subscription_id), None) for ended in batch)
    return [None if row is None else _read(row, read) for row in popped]


def _read(row: Row, read: Callable[[Row], Subscription]) -> Claimed:
    queue = attempt_queue(row["app"])
    return read_claimed(DueAttempt(row["signal_id"], row["subscription_id"], row["number"], queue), row, read)


async def find_heir(database: Database, due: DueAttempt) -> DueAttempt | None:
    """Return the attempt under way in the ordering group of a delivery that has ended; None: there is none."""
    rows = await database.fetch(_Sql.find_heir, signal_id=due.signal_id, subscription_id=due.subscription_id)
    return next(iter(read_due_attempts(rows)), None)
