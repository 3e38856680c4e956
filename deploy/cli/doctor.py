"""``doctor``: checks the settings, the store, the transport and the books."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import AsyncIterator, Collection, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from broker.deliveries import DeliveryState
from broker.errors import SignalBrokerError, StoreRefusal, StoreUnavailable
from broker.secrets import SecretBox
from broker.settings import Settings
from broker.store.deliveries.backlogs import BacklogStore
from broker.store.deliveries.deliveries import DeliveryStore, Ledger
from broker.store.partitions.detached import DetachedStore
from broker.store.partitions.partitions import PartitionStore
from broker.store.postgres.database import Database
from broker.store.postgres.schema import NEEDED, applied, check_ownership, last_of_chain
from broker.store.subscriptions.sealing import SealingStore
from broker.texts import escape
from deploy.cli.backends import (
    EMBEDDED,
    open_secrets,
    require_named_store,
    require_store,
    settings_with_logs,
    store_url,
)
from deploy.cli.checkup import POSTGRESQL, Check, Checkup, judge_refusal, judge_silence, one
from deploy.cli.findings import Finding, enumerate_some
from deploy.cli.loop import run_async
from deploy.cli.messaging_checks import examine_messaging
from deploy.cli.output import as_json, example, has_colours, say, show_json
from deploy.cli.privileges import RoleCheck
from deploy.cli.surroundings import checks_of_surroundings
from workers.archive import Archive

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}
_LATE = timedelta(seconds=10)
_OVERDUE = timedelta(hours=1)
_UNLEASED = timedelta(minutes=15)
"""From when on a delivery that waits to be leased is told of: as of the alert."""
_NAMED = 10
"""How many subscriptions a finding names."""
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
        require_named_store(settings)
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
    """Yield what is found, without a store that can be asked only of RabbitMQ.

    Raises:
        StoreUnavailable, SignalBrokerError: PostgreSQL refuses, or the transport is in there, too.
    """
    async with Database(url, timeout=settings.store_timeout, size=4) as database:
        checkup = Checkup(database)
        role = RoleCheck(database, transport_too=settings.transport_url == EMBEDDED)
        try:
            told = await _look_at_store(database)
        except StoreUnavailable as error:
            told = [await checkup.judge("store", error)]
            refused = isinstance(error, StoreRefusal)
            if refused or (checkup.is_silent(POSTGRESQL) and settings.transport_url == EMBEDDED):
                raise
        for finding in told:
            yield finding
        if any(finding.check == "schema" and finding.level == "fail" for finding in told):
            return
        if not checkup.is_silent(POSTGRESQL):
            for check in [("privileges", role.examine()), *_checks_of_store(settings, database, box)]:
                async for finding in checkup.make(check, POSTGRESQL):
                    yield finding
        async for finding in checkup.make(("transport", examine_messaging(settings, database, role, checkup))):
            yield finding


async def _look_at_store(database: Database) -> list[Finding]:
    """Return that PostgreSQL answers, and what schema it has.

    Raises:
        StoreUnavailable: It does not answer.
        SignalBrokerError: The database is another product's.
    """
    started = time.perf_counter()
    steps = await applied(database)
    has = last_of_chain(steps)
    answers = Finding("ok", "store", f"PostgreSQL answers in {1000 * (time.perf_counter() - started):.0f} ms")
    if not has:
        async with database.transaction() as session:
            await check_ownership(session)
    if has < NEEDED:
        needed = f"is at {has or 'nothing'}, {NEEDED} is needed: run `signal-broker migrate`"
        return [answers, Finding("fail", "schema", needed)]
    return [answers, _judge_schema(steps)]


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
