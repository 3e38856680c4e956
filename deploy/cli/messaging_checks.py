"""The checks of ``doctor`` that ask the transport: queues, bindings, policies, and what waits or lies dead there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta

from broker.errors import SignalBrokerError, StoreRefusal, StoreUnavailable, TransportError, Unavailable, Unroutable
from broker.operations.books import BookReader, Books
from broker.reasons import reason_of
from broker.settings import Settings
from broker.shards import ShardFollower
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.postgres.database import Database
from broker.store.signals.intake_books import IntakeBooks
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.topology import (
    ATTEMPT,
    RECORD,
    SLOW_ATTEMPT,
    TOPOLOGY,
    Topology,
    app_topology,
    attempt_queue,
    dead_letters,
    queues_of,
)
from broker.transport import Hazard, Transport
from deploy.cli.backends import EMBEDDED, open_transport
from deploy.cli.checkup import MANAGEMENT, POSTGRESQL, RABBITMQ, Check, Checkup, one
from deploy.cli.findings import Finding, enumerate_some
from deploy.cli.privileges import RoleCheck
from deploy.cli.resharding import judge_shards
from deploy.cli.roles import examine_roles

_WATCH_SECONDS = 1.0


async def examine_messaging(
    settings: Settings, database: Database, role: RoleCheck, checkup: Checkup
) -> AsyncIterator[Finding]:
    """Yield what the checks of the transport find; *checkup* makes them, *role* says what the store may be asked.

    Raises:
        ConfigurationError: The transport's URL cannot be used.
    """
    timeout = settings.confirm_timeout
    async with open_transport(settings, database, declare_timeout=timeout) as transport:
        apps: Sequence[str] = []
        if not checkup.is_silent(POSTGRESQL):
            try:
                await ShardFollower(database, transport, declare=False).look()
                apps = await SubscriptionStore(database).apps()
            except StoreRefusal:  # told of by the check of the privileges
                pass
            except StoreUnavailable as error:
                yield await checkup.judge("handlers", error)
        messaging = POSTGRESQL if settings.transport_url == EMBEDDED else RABBITMQ
        deliveries = DeliveryStore(database)
        roles = examine_roles(
            database,
            transport,
            apps,
            shows_consumers=messaging == RABBITMQ,
            shows_presence=role.writes,
            timeout=timeout,
        )

        def lose_management() -> None:
            checkup.note_silence(MANAGEMENT)

        both = [POSTGRESQL, messaging]
        checks: list[tuple[Check, Sequence[str]]] = [
            (
                ("transport", _examine_acceptance(transport, timeout, lambda: checkup.note_silence(messaging))),
                [messaging],
            ),
            (("topology", _examine_topology(transport, timeout)), [messaging]),
            (("queues", examine_queues(transport, deliveries, IntakeBooks(database), apps, timeout)), both),
            (("roles", roles), both),
            (("shards", one(judge_shards, database, transport, timeout)), both),
            (("bindings", one(judge_bindings, transport, apps, timeout, lose_management)), [messaging]),
            (("policies", examine_policies(transport, apps, timeout)), [messaging, MANAGEMENT]),
            (("lost", one(_judge_balance, BookReader(database, transport, timeout=timeout))), both),
        ]
        for check, parts in checks:
            async for finding in checkup.make(check, *parts):
                yield finding


async def _examine_acceptance(
    transport: Transport, timeout: timedelta, note_silence: Callable[[], None]
) -> AsyncIterator[Finding]:
    """Yield whether messages are accepted; *note_silence* is called if nothing at all is answered."""
    accepted, asked = await asyncio.gather(
        transport.rehearse(timeout=timeout), transport.depth(RECORD, timeout=timeout), return_exceptions=True
    )
    if isinstance(accepted, TransportError):
        if isinstance(asked, TransportError) and not isinstance(asked, Unroutable):
            note_silence()
        yield Finding(
            "fail",
            "transport",
            f"accepts no messages (unreachable, or blocked by an alarm): {accepted}. See `rabbitmq-diagnostics status`"
            " and `rabbitmq-diagnostics alarms`",
        )
    elif isinstance(accepted, BaseException):
        raise accepted
    else:
        yield Finding("ok", "transport", "accepts messages")


async def _examine_topology(transport: Transport, timeout: timedelta) -> AsyncIterator[Finding]:
    missing: list[str] = []
    of_shards: list[str] = []
    for queue in (queue.name for queue in TOPOLOGY.queues):
        try:
            await transport.depth(queue, timeout=timeout)
        except Unroutable as error:
            if repr(queue) in str(error):
                missing.append(queue)
            else:  # one of its shards
                option = "--record-shards" if queue == RECORD else "--attempt-shards"
                of_shards.append(
                    f"{error}: run `signal-broker topology {option} N`, with as many as the finding `shards` says"
                )
        except TransportError as error:
            yield Finding("fail", "topology", f"{error}: see `rabbitmq-diagnostics status`")
            return
    if missing:
        told = f"there is no queue {enumerate_some(missing)}: run `signal-broker topology --apply`"
        yield Finding("fail", "topology", told)
    for told in of_shards:
        yield Finding("fail", "topology", told)
    if not missing and not of_shards:
        yield await judge_arguments(transport)


async def examine_queues(
    transport: Transport, deliveries: DeliveryStore, intake: IntakeBooks, apps: Sequence[str], timeout: timedelta
) -> AsyncIterator[Finding]:
    """Yield what waits, and what lies dead, of each queue: those of these handler apps, too.

    Missing queues of the product itself are findings of the check of the topology.
    """
    of_apps = [attempt_queue(app) for app in apps]
    for queue in (RECORD, ATTEMPT, SLOW_ATTEMPT, *of_apps):
        dead, missing = 0, None
        try:
            dead = await transport.depth(dead_letters(queue), timeout=timeout)
        except Unroutable as error:
            missing = error
        try:
            yield await _judge_queue(transport, deliveries, queue, timeout)
        except Unroutable as error:
            missing = error
        if missing is not None and queue in of_apps:
            yield Finding("warn", "queues", f"{missing}: `signal-broker worker handlers` of that app declares it")
        if dead:
            yield judge_poison(queue, dead, (await intake.balance()).poison if queue == RECORD else dead)


def judge_poison(queue: str, dead: int, ours: int) -> Finding:
    """Return what to do about so many dead letters of a queue, of which *ours* are not of others."""
    told = f"{dead} messages in {dead_letters(queue)}"
    puts_back = f"once the cause is mended, `signal-broker recover {queue}` puts"
    if ours >= dead:
        return Finding("warn", "poison", f"{told}: {puts_back} them back")
    kept = (
        f", and {ours} are accepted signals: {puts_back} these back. The others"
        if ours
        else ", of no accepted signal: they"
    )
    return Finding(
        "warn",
        "poison",
        f"{told}{kept} were not published by signal-broker and cannot be recorded. Find out what publishes to"
        f" {queue}, and once"
        " `poisonedSignals` of `signal-broker ledger --json` has been 0 for a minute, empty it with"
        f" `rabbitmqctl purge_queue {dead_letters(queue)}` (if the log says that an id belongs to another signal, read"
        " *Poison* in the runbook first)",
    )


async def judge_arguments(transport: Transport) -> Finding:
    """Compare the queues, all of which exist, with what this version would declare: that changes nothing."""
    try:
        earlier = await transport.declare(Topology(queues=TOPOLOGY.queues))
    except SignalBrokerError as error:
        return Finding("fail", "topology", f"{error}: see `signal-broker topology`")
    if earlier:
        return Finding(
            "warn",
            "topology",
            f"queues with the arguments of an earlier version, which do for now: {', '.join(earlier)}. To replace one,"
            " let it run empty (a dead queue: `signal-broker recover`), delete it with `rabbitmqctl delete_queue`, and"
            " run `signal-broker topology --apply`",
        )
    return Finding("ok", "topology", f"all {len(TOPOLOGY.queues)} queues are there")


async def judge_bindings(
    transport: Transport, apps: Sequence[str], timeout: timedelta, note_silence: Callable[[], None] = lambda: None
) -> Finding:
    """Compare the exchanges and bindings with those that are needed; *note_silence* is called if no answer comes."""
    parts = [TOPOLOGY, *map(app_topology, apps)]
    whole = Topology(
        exchanges=tuple(exchange for part in parts for exchange in part.exchanges),
        bindings=tuple(binding for part in parts for binding in part.bindings),
    )
    began = time.monotonic()
    try:
        async with asyncio.timeout(timeout.total_seconds()):  # several hosts may have to be asked
            gaps = await transport.gaps(whole, timeout=timeout)
    except (Unavailable, TimeoutError) as error:
        if time.monotonic() - began > 0.9 * timeout.total_seconds():
            note_silence()
        return Finding(
            "warn",
            "bindings",
            f"cannot be seen, and without one, say, deliveries stop ({reason_of(error)}): set"
            " SIGNAL_BROKER_MANAGEMENT_URL, or compare"
            " `rabbitmqctl list_bindings -p VHOST` with `signal-broker topology`",
        )
    if gaps:
        return Finding("fail", "bindings", f"{'; '.join(gaps)}: run `signal-broker topology --apply`")
    return Finding("ok", "bindings", f"all {len(whole.bindings)} bindings are there")


async def examine_policies(transport: Transport, apps: Sequence[str], timeout: timedelta) -> AsyncIterator[Finding]:
    """Yield which policies take messages from the queues, as far as the management API can be asked."""
    try:
        hazards = await transport.hazards(queues_of(apps), timeout=timeout)
    except Unavailable as error:
        yield Finding(
            "warn",
            "policies",
            f"cannot be seen, and one with a message-ttl, say, loses signals ({error}): set"
            " SIGNAL_BROKER_MANAGEMENT_URL, or look with `rabbitmqctl list_queues -p VHOST name policy operator_policy"
            " effective_policy_definition`",
        )
        return
    for hazard in hazards:
        yield _judge_hazard(hazard)
    if not hazards:
        yield Finding("ok", "policies", "none takes anything from the queues")


def _judge_hazard(hazard: Hazard) -> Finding:
    return Finding(
        "fail" if hazard.loses else "warn",
        "policies",
        f"{hazard.source} sets {hazard.key} for {hazard.queue}: {hazard.effect}. Exclude the queue from it with"
        " `rabbitmqctl set_policy`: see *Policies of RabbitMQ* in the runbook",
    )


async def _judge_queue(transport: Transport, deliveries: DeliveryStore, queue: str, timeout: timedelta) -> Finding:
    """Look twice if messages wait: when a worker consumes the queue, its depth changes, or the books do."""
    depth, books = await transport.depth(queue, timeout=timeout), await deliveries.ledger()
    if depth:
        await asyncio.sleep(_WATCH_SECONDS)
        if await transport.depth(queue, timeout=timeout) >= depth and await deliveries.ledger() == books:
            worker = {RECORD: "recorder", ATTEMPT: "deliverer", SLOW_ATTEMPT: "deliverer"}.get(queue)
            role, command = worker or "worker of that app", worker or "handlers --app SOURCE:NAME"
            return Finding(
                "warn",
                "queues",
                f"{depth} messages wait in {queue} and none is consumed: does a {role} run? Start one: `signal-broker"
                f" worker {command}`",
            )
    return Finding("ok", "queues", f"{depth} messages wait in {queue}")


async def _judge_balance(books: BookReader) -> Finding:
    return judge_intake(await books.read())


def judge_intake(books: Books) -> Finding:
    """Return what it means that so many signals were accepted, recorded, and neither."""
    lost, missing = books.intake.lost, books.unaccounted - books.ledger.unaccounted
    if missing:
        return Finding(
            "fail" if lost else "warn",
            "lost",
            f"{missing} accepted signals are missing, and {lost} are lost: see whether a recorder runs"
            " (`signal-broker worker recorder`) and what its log says, and put poison back with"
            " `signal-broker recover`",
        )
    if lost:
        return Finding(
            "fail",
            "lost",
            f"{lost} accepted signals are lost: the scheduler's log names them (signals.lost); throw them again with"
            " `signal-broker throw`",
        )
    return Finding("ok", "lost", "no accepted signal is lost or missing")
