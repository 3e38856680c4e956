"""``doctor`` looks which roles run: each process shows itself in PostgreSQL, and on RabbitMQ as a consumer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

from broker.errors import TransportError
from broker.store.postgres.database import Database
from broker.store.roles import hear
from broker.topology import ATTEMPT, RECORD, attempt_queue
from broker.transport import Transport
from deploy.cli.findings import Finding, enumerate_some

_WITHIN = timedelta(seconds=5)
"""How recent a sign of a process has to be; they give one a second."""
_AGAIN = 2.0
"""Seconds until the second look at what seems to be missing: a process may be starting."""
_EFFECTS = {
    "recorder": "signals are accepted, and not recorded",
    "deliverer": "no attempt is made",
    "scheduler": "what is parked, scheduled or expired stays as it is",
}


async def examine_roles(
    database: Database,
    transport: Transport,
    apps: Sequence[str],
    *,
    shows_consumers: bool,
    shows_presence: bool,
    timeout: timedelta,
) -> AsyncIterator[Finding]:
    """Yield which roles of workers are missing; gateways do not show themselves.

    Where the transport *shows_consumers*, a recorder, a deliverer or a worker of *apps* is there if it consumes.
    Unless the store *shows_presence*, nothing can be said: processes cannot write there that they run, and workers that
    cannot do their work stop consuming.
    """
    if not shows_presence:
        yield Finding(
            "warn",
            "roles",
            "cannot be known, since no process can write to the store that it runs: look again with"
            " `signal-broker doctor` once it can be written to",
        )
        return

    async def look() -> tuple[list[str], list[str]]:
        heard = await hear(database, within=_WITHIN)
        there = {"recorder": heard.recorders, "deliverer": heard.deliverers, "scheduler": heard.schedulers}
        idle = []
        if shows_consumers:
            for role, queue in {"recorder": RECORD, "deliverer": ATTEMPT}.items():
                there[role] = await transport.consumers(queue, timeout=timeout)
            idle = [app for app in apps if not await transport.consumers(attempt_queue(app), timeout=timeout)]
        return [role for role, processes in there.items() if not processes], idle

    try:
        missing, idle = await look()
        if missing or idle:
            await asyncio.sleep(_AGAIN)
            missing, idle = await look()
    except TransportError:
        return  # what that means is told of the queues
    if missing:
        yield _judge_missing(missing)
    if idle:
        yield Finding(
            "warn",
            "roles",
            f"no worker runs for the handlers of {enumerate_some(idle)}, which are not called: start one,"
            " `signal-broker worker handlers --app SOURCE:NAME`, or delete the subscriptions of an app that is gone,"
            " `signal-broker subscriptions delete ID`",
        )
    if not missing and not idle:
        yield Finding("ok", "roles", "a recorder, a deliverer and a scheduler run")


def _judge_missing(missing: Sequence[str]) -> Finding:
    effects = "; ".join(f"without a {role} {_EFFECTS[role]}" for role in missing)
    ends = ", ".join(f"`-{role}`" for role in missing)
    return Finding(
        "warn",
        "roles",
        f"no {' and no '.join(missing)} runs ({effects}): start `signal-broker worker {' '.join(missing)}`, or"
        " `signal-broker run` where one process does everything; on Kubernetes, see the Deployments whose names end in"
        f" {ends}",
    )
