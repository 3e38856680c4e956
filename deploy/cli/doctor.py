"""``doctor``: checks the settings, the store, the transport and the books."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from broker.deliveries import DeliveryState
from broker.errors import SignalBrokerError, StoreRefusal, StoreUnavailable, TransportError, Unavailable, Unroutable
from broker.operations.books import BookReader, Books
from broker.reasons import reason_of
from broker.secrets import SecretBox
from broker.settings import Settings
from broker.shards import ShardFollower
from broker.store.deliveries.backlogs import BacklogStore
from broker.store.deliveries.deliveries import DeliveryStore, Ledger
from broker.store.partitions.detached import DetachedStore
from broker.store.partitions.partitions import PartitionStore
from broker.store.postgres.database import Database
from broker.store.postgres.schema import NEEDED, applied, check_ownership, last_of_chain
from broker.store.signals.intake_books import IntakeBooks
from broker.store.subscriptions.sealing import SealingStore
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.texts import escape
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
from deploy.cli.backends import EMBEDDED, open_secrets, open_transport, require_store, settings_with_logs, store_url
from deploy.cli.checkup import MANAGEMENT, POSTGRESQL, RABBITMQ, Check, Checkup, judge_refusal, judge_silence, one
from deploy.cli.findings import Finding, enumerate_some
from deploy.cli.loop import run_async
from deploy.cli.output import as_json, example, has_colours, say, show_json
from deploy.cli.privileges import RoleCheck
from deploy.cli.resharding import judge_shards
from deploy.cli.roles import examine_roles
from deploy.cli.surroundings import checks_of_surroundings
from workers.archive import Archive

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}
_LATE = timedelta(seconds=10)
_OVERDUE = timedelta(hours=1)
_UNLEASED = timedelta(minutes=15)
"""From when on a delivery that waits to be leased is told of: as of the alert."""
_NAMED = 10
"""How many subscriptions a finding names."""
_WATCH_SECONDS = 1.0
_INDENT = " " * 18
_LEAST_WIDTH = 40
_SCHEDULER = "`signal-broker worker scheduler`"
_HEARD = timedelta(seconds=2)
"""How long a notification may take."""


@click.command(epilog=example("signal-broker doctor"))
@as_json
@click.pass_context
def doctor(ctx: click.Context, *, as_json: bool) -> None:
    """Check the settings, the store, the transport and the books; exit with 1 if a check fails.

    Nothing is changed, except that an embedded store that is not running is started for the time of the checks.
    """
    findings: list[Finding] = []

    async def examine(settings: Settings, url: str, box: SecretBox) -> None:
        async for finding in _examine(settings, url, box):
            report(finding)

    def report(finding: Finding) -> None:
        findings.append(finding)
        if not as_json:
            _show(finding)

    stage = "settings"
    try:
        settings = settings_with_logs(quiet=True)
        stage = "store"
        require_store(settings)
        stage = "settings"
        box = open_secrets(settings)
        report(
            Finding("ok", "settings", f"store {_kind(settings.store_url)}, transport {_kind(settings.transport_url)}")
        )
        stage = "store"
        with store_url(settings, create=False) as url:
            run_async(examine(settings, url, box))
    except StoreRefusal as error:
        report(judge_refusal(stage, error))
    except StoreUnavailable as error:
        report(judge_silence(stage, error))
    except SignalBrokerError as error:
        report(Finding("fail", stage, str(error)))
    failed = any(finding.level == "fail" for finding in findings)
    if as_json:
        checks = [{"level": f.level, "check": f.check, "detail": f.detail} for f in findings]
        show_json({"healthy": not failed, "checks": checks})
    elif any(finding.level != "ok" for finding in findings):
        say("docs/troubleshooting.md has what leads to each symptom, and how to end it")
    ctx.exit(1 if failed else 0)


def _show(finding: Finding) -> None:
    """Print *finding*; in a terminal what it says is wrapped beside its name."""
    level, detail = f"{finding.level:<4}", escape(finding.detail)
    if has_colours():
        level = click.style(level, fg=_COLOURS[finding.level])
    if sys.stdout.isatty():
        width = max(_LEAST_WIDTH, shutil.get_terminal_size().columns - len(_INDENT))
        detail = click.wrap_text(detail, width).replace("\n", "\n" + _INDENT)
    click.echo(f"{level}  {finding.check:<10}  {detail}")


def _kind(url: str) -> str:
    return url.partition(":")[0]


async def _examine(settings: Settings, url: str, box: SecretBox) -> AsyncIterator[Finding]:
    async with Database(url, timeout=settings.store_timeout, size=4) as database:
        started = time.perf_counter()
        steps = await applied(database)
        has = last_of_chain(steps)
        yield Finding("ok", "store", f"PostgreSQL answers in {1000 * (time.perf_counter() - started):.0f} ms")
        if not has:
            async with database.transaction() as session:
                await check_ownership(session)
        if has < NEEDED:
            yield Finding(
                "fail", "schema", f"is at {has or 'nothing'}, {NEEDED} is needed: run `signal-broker migrate`"
            )
            return
        yield _judge_schema(steps)
        checkup = Checkup()
        role = RoleCheck(database, transport_too=settings.transport_url == EMBEDDED)
        for check in [("privileges", role.examine()), *_checks_of_store(settings, database, box)]:
            async for finding in checkup.make(check, POSTGRESQL):
                yield finding
        async for finding in checkup.make(("transport", _examine_messaging(settings, database, role, checkup))):
            yield finding


def _judge_schema(steps: Collection[str]) -> Finding:
    """Return what it means that the store has these steps, among them all that are needed."""
    beyond = sorted(step for step in steps if step > NEEDED)
    if beyond:
        return Finding(
            "warn",
            "schema",
            f"is newer than this version, which needs {NEEDED} and does not know {enumerate_some(beyond)}: see whether"
            " `signal-broker --version` is that of the other processes",
        )
    return Finding("ok", "schema", f"is at {NEEDED}, {NEEDED} is needed")


def _checks_of_store(settings: Settings, database: Database, box: SecretBox) -> list[Check]:
    deliveries = DeliveryStore(database)
    return [
        ("notify", one(_judge_notifications, database)),
        *checks_of_surroundings(settings, database, box),
        ("books", _examine_books(deliveries)),
        ("scheduler", _examine_late(deliveries)),
        ("leases", one(_judge_backlogs, BacklogStore(database))),
        ("retention", one(_judge_retention, database, settings.retention)),
        ("retention", _examine_archive(settings.archive_dir)),
        ("secrets", one(_judge_secrets, SealingStore(database))),
    ]


async def _examine_messaging(
    settings: Settings, database: Database, role: RoleCheck, checkup: Checkup
) -> AsyncIterator[Finding]:
    timeout = settings.confirm_timeout
    async with open_transport(settings, database, declare_timeout=timeout) as transport:
        apps: Sequence[str] = []
        with suppress(StoreRefusal):  # told of by the check of the privileges
            await ShardFollower(database, transport, declare=False).look()
            apps = await SubscriptionStore(database).apps()
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

        checks: list[tuple[Check, Sequence[str]]] = [
            (("transport", _examine_acceptance(transport, timeout, lambda: checkup.note_silence(messaging))), ()),
            (("topology", _examine_topology(transport, timeout)), [messaging]),
            (("queues", _examine_queues(transport, deliveries, IntakeBooks(database), apps, timeout)), [messaging]),
            (("roles", roles), [messaging]),
            (("shards", one(judge_shards, database, transport, timeout)), [messaging]),
            (("bindings", one(_judge_bindings, transport, apps, timeout, lose_management)), [messaging]),
            (("policies", _examine_policies(transport, apps, timeout)), [messaging, MANAGEMENT]),
            (("lost", one(_judge_balance, BookReader(database, transport, timeout=timeout))), [messaging]),
        ]
        for check, parts in checks:
            async for finding in checkup.make(check, POSTGRESQL, *parts):
                yield finding


async def _examine_books(deliveries: DeliveryStore) -> AsyncIterator[Finding]:
    books = await deliveries.ledger()
    yield _judge_books(books)
    yield _judge_dead(books)


async def _examine_late(deliveries: DeliveryStore) -> AsyncIterator[Finding]:
    late = await deliveries.count_late(by=_LATE)
    if late:
        yield Finding(
            "warn",
            "scheduler",
            f"{late} parked deliveries are overdue: does a scheduler run? Start one: {_SCHEDULER}",
        )


async def _judge_notifications(database: Database) -> Finding:
    if await database.hears_notifications(within=_HEARD):
        return Finding("ok", "notify", "notifications are heard: changes of access are known at once")
    return Finding(
        "warn",
        "notify",
        "notifications are not heard, as behind a pooler in transaction mode: changes of access are known after"
        " seconds, and other work waits for the next look; give the processes a pooler in session mode (PgBouncer:"
        " `pool_mode = session`), or none",
    )


def _judge_books(books: Ledger) -> Finding:
    if books.unaccounted:
        return Finding(
            "fail",
            "books",
            f"{books.unaccounted} of {books.matched} deliveries are unaccounted for: change nothing, and report it with"
            " what `signal-broker ledger --json` and `signal-broker doctor --json` print",
        )
    return Finding("ok", "books", f"balance: {books.recorded} signals recorded, {books.matched} deliveries owed")


async def _judge_balance(books: BookReader) -> Finding:
    return _judge_intake(await books.read())


def _judge_intake(books: Books) -> Finding:
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


def _judge_dead(books: Ledger) -> Finding:
    dead = books.states[DeliveryState.DEAD]
    if dead:
        return Finding(
            "warn",
            "deliveries",
            f"{dead} are dead: see why with `signal-broker deliveries list --state dead`, then send them again with"
            " `signal-broker redrive --subscription ID`",
        )
    return Finding("ok", "deliveries", "none is dead")


async def _judge_backlogs(backlogs: BacklogStore) -> Finding:
    return _judge_leasable(await backlogs.longest_leasable(limit=_NAMED))


def _judge_leasable(longest: Mapping[int, float]) -> Finding:
    late = [str(key) for key, seconds in longest.items() if seconds > _UNLEASED.total_seconds()]
    if late:
        minutes = max(longest.values()) / 60
        return Finding(
            "warn",
            "leases",
            f"deliveries of subscription {', '.join(late)} have been waiting for up to {minutes:.0f} minutes to be"
            " leased: do their workers run? See `signal-broker subscriptions list --state leasable`",
        )
    return Finding("ok", "leases", "no delivery waits long to be leased")


async def _judge_secrets(store: SealingStore) -> Finding:
    if clear := await store.count_clear():
        return Finding(
            "warn",
            "secrets",
            f"{clear} subscriptions hold credentials in clear: once no process of an earlier version runs any more,"
            " run `signal-broker reseal`",
        )
    return Finding("ok", "secrets", "no subscription holds credentials in clear")


async def _judge_retention(database: Database, retention: timedelta | None) -> Finding:
    if not await PartitionStore(database).ahead():
        return Finding(
            "warn", "retention", "no partition is ready for future signals: does a scheduler run? " + _SCHEDULER
        )
    store = DetachedStore(database)
    left = [one for one in await store.all() if datetime.now(UTC) - one.detached_at > _OVERDUE]
    due = [] if retention is None else await store.due(retention + _OVERDUE)
    whole = [partition for partition in due if partition.emptied_at is None]
    if left:
        return Finding(
            "warn",
            "retention",
            f"{len(left)} detached partitions wait to be archived and dropped: see the log of {_SCHEDULER}",
        )
    if whole:
        return Finding(
            "warn",
            "retention",
            f"{len(whole)} partitions are older than the retention and not detached: too many of their deliveries are"
            " still owed (`signal-broker deliveries list --state parked`, or dead), or see the log of " + _SCHEDULER,
        )
    return Finding(
        "ok", "retention", "no signal is older than the retention" if retention else "signals are kept forever"
    )


async def _examine_archive(directory: Path | None) -> AsyncIterator[Finding]:
    """Yield why the archive cannot be written from here, if the settings name one."""
    if directory is not None and (obstacle := await asyncio.to_thread(Archive(directory).find_obstacle)):
        yield Finding(
            "warn",
            "retention",
            f"the archive {directory} cannot be written from here ({obstacle}), and without it nothing is dropped:"
            f" correct SIGNAL_BROKER_ARCHIVE_DIR, or the directory, for {_SCHEDULER}; see `ls -ld {directory}`",
        )


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
    for queue in (queue.name for queue in TOPOLOGY.queues):
        try:
            await transport.depth(queue, timeout=timeout)
        except TransportError as error:
            yield Finding("fail", "topology", f"{error}: run `signal-broker topology --apply`")
            return
    yield await _judge_arguments(transport)


async def _examine_queues(
    transport: Transport, deliveries: DeliveryStore, intake: IntakeBooks, apps: Sequence[str], timeout: timedelta
) -> AsyncIterator[Finding]:
    for queue in (RECORD, ATTEMPT, SLOW_ATTEMPT, *map(attempt_queue, apps)):
        try:
            dead = await transport.depth(dead_letters(queue), timeout=timeout)
            yield await _judge_queue(transport, deliveries, queue, timeout)
        except Unroutable as error:
            yield Finding("warn", "queues", f"{error}: `signal-broker worker handlers` of that app declares it")
            continue
        if dead:
            yield _judge_poison(queue, dead, (await intake.balance()).poison if queue == RECORD else dead)


def _judge_poison(queue: str, dead: int, ours: int) -> Finding:
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
        f"{told}{kept} come from others, and nobody can record them. Find out who publishes to {queue}, and once"
        " `poisonedSignals` of `signal-broker ledger --json` has been 0 for a minute, empty it with"
        f" `rabbitmqctl purge_queue {dead_letters(queue)}`",
    )


async def _judge_arguments(transport: Transport) -> Finding:
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


async def _judge_bindings(
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


async def _examine_policies(transport: Transport, apps: Sequence[str], timeout: timedelta) -> AsyncIterator[Finding]:
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
