"""``doctor`` looks which roles run: each process shows itself in PostgreSQL, and workers on RabbitMQ as consumers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta

from broker.errors import TransportError
from broker.store.postgres.database import Database
from broker.store.roles import Heard, hear
from broker.topology import ATTEMPT, RECORD, attempt_queue
from broker.transport import Transport
from deploy.cli.findings import Finding, enumerate_some

_WITHIN = timedelta(seconds=5)
"""How recent a sign of a process has to be; they give one a second."""
_AGAIN = 2.0
"""Seconds until the second look at what seems to be missing: a process may be starting."""
_EFFECTS = {
    "gateway": "nothing can be thrown",
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
    """Yield which roles are missing; of gateways it is not known where the store's URL has an application name.

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

    async def look() -> tuple[Mapping[str, int], Sequence[str]]:
        there = _count(await hear(database, within=_WITHIN))
        return await _count_consumers(transport, there, apps, timeout) if shows_consumers else (there, [])

    try:
        there, idle = await look()
        if idle or not all(there.values()):
            await asyncio.sleep(_AGAIN)
            there, idle = await look()
    except TransportError:
        return  # what that means is told of the queues
    missing = [role for role, processes in there.items() if not processes]
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
        *first, last = (f"a {role}" for role in there)
        yield Finding("ok", "roles", f"{', '.join(first)} and {last} run")


def _count(heard: Heard) -> dict[str, int]:
    """Return how often each role was heard of, gateways if that can be known."""
    gateways = {} if heard.gateways is None else {"gateway": heard.gateways}
    return {
        **gateways,
        "recorder": heard.recorders,
        "deliverer": heard.deliverers,
        "scheduler": heard.schedulers,
    }


async def _count_consumers(
    transport: Transport, there: Mapping[str, int], apps: Sequence[str], timeout: timedelta
) -> tuple[Mapping[str, int], Sequence[str]]:
    """Return how often each role is *there*, those that consume by that, and which of *apps* nothing consumes for."""
    queues = {"recorder": RECORD, "deliverer": ATTEMPT}
    consuming = {role: await transport.consumers(queue, timeout=timeout) for role, queue in queues.items()}
    idle = [app for app in apps if not await transport.consumers(attempt_queue(app), timeout=timeout)]
    return {**there, **consuming}, idle


def _judge_missing(missing: Sequence[str]) -> Finding:
    effects = "; ".join(f"without a {role} {_EFFECTS[role]}" for role in missing)
    ends = ", ".join(f"`-{role}`" for role in missing)
    workers = [role for role in missing if role != "gateway"]
    commands = ["`signal-broker gateway`"] * (len(missing) - len(workers))
    if workers:
        commands.append(f"`signal-broker worker {' '.join(workers)}`")
    return Finding(
        "warn",
        "roles",
        f"no {' and no '.join(missing)} runs ({effects}): start {' and '.join(commands)}, or `signal-broker run` where"
        " one process does everything; on Kubernetes, see the Deployments whose names end in"
        f" {ends}",
    )
