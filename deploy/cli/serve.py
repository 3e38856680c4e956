"""Runs roles in one process until it is to stop: the gateway, any of the workers, or all of them."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from itertools import chain

import structlog
from aiohttp import web

from broker import metrics
from broker.callbacks import Callbacks
from broker.egress import Guard
from broker.errors import ConfigurationError
from broker.health import ESSENTIAL
from broker.losses import announce_losses, consume_anew_after_losses
from broker.matching import Matcher
from broker.operations.buffering import BufferCorrelator
from broker.settings import PREFIX, Settings
from broker.shards import ShardFollower
from broker.store.administration.sessions import SessionStore
from broker.store.administration.webhook_keys import WebhookKeyStore
from broker.store.deliveries.claiming import AttemptStore
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.deliveries.expiring import ExpiringStore
from broker.store.deliveries.leases import LeaseStore
from broker.store.deliveries.ordering import OrderingStore
from broker.store.deliveries.pacing import PacingStore
from broker.store.deliveries.pausing import PausingStore
from broker.store.deliveries.presence import Presence
from broker.store.deliveries.surplus import SurplusStore
from broker.store.deliveries.sweeping import SweepingStore
from broker.store.deliveries.trials import TrialStore
from broker.store.postgres.schema import is_current
from broker.store.signals.buffering import BufferStore
from broker.store.signals.correlating import CorrelationStore
from broker.store.signals.intake_books import IntakeBooks
from broker.store.signals.signals import SignalStore
from broker.store.signals.suspects import SuspectStore
from broker.store.subscriptions.permissions import PermissionStore
from broker.store.subscriptions.samples import SampleStore
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.targets import Kind
from broker.topology import LANES, RECORD, TOPOLOGY, attempt_queue
from broker.tracing import tracing
from deploy.cli.runtime import Runtime, open_runtime, retry_start
from gateway.app import DIALECTS, gateway_app
from gateway.connections import PATIENCE, Connections, Wait, affordable
from gateway.server import Runner
from workers.bookkeeper import Bookkeeper
from workers.buffer_keeper import BufferKeeper
from workers.couriers import Courier
from workers.couriers.handler import HandlerCourier
from workers.couriers.queue import QueueCourier
from workers.couriers.webhook import WebhookCourier
from workers.deliverer import Deliverer
from workers.events import EventTeller
from workers.handlers import Handlers
from workers.handlers.worker import HandlerWorker
from workers.lease_keeper import LeaseKeeper
from workers.measurer import Measurer
from workers.pacer import Pacer
from workers.partition_maintainer import PartitionMaintainer
from workers.recorder import Recorder
from workers.sampling import Sampler
from workers.scheduler import Scheduler
from workers.schema_gate import SchemaGate
from workers.webhooks.client import WebhookClient
from workers.webhooks.dialing import trust
from workers.webhooks.permissions import Permissions

GATEWAY = "gateway"
WORKERS = ("recorder", "deliverer", "scheduler")
HANDLERS = "handlers"

_QUIET = timedelta(seconds=1.5)
"""How long callers must have been silent, after SIGTERM, before no more are told to open other connections."""
_LEAVING = timedelta(seconds=5)
"""How long that may take."""
_READ_BUFFER = 32 << 10
"""Bytes, of which twice as many stop a connection from being read. Aiohttp's own limit lets most of a megabyte in."""

_MOST_SCRAPERS = 50
"""How many connections a port of the metrics alone takes."""

_GC_THRESHOLDS = 10_000, 20, 20
"""How often cyclic garbage is collected, of which requests, signals and attempts leave none."""
_SWITCH_SECONDS = 0.001
"""How long the event loop waits for its turn while a thread computes: each request needs several of them."""

Worker = (
    Recorder
    | Deliverer
    | Scheduler
    | PartitionMaintainer
    | Bookkeeper
    | Pacer
    | LeaseKeeper
    | BufferKeeper
    | Measurer
    | HandlerWorker
    | Sampler
)

log = structlog.get_logger()


async def serve(
    settings: Settings,
    url: str,
    roles: Collection[str],
    announce: Callable[[Runtime, str], Awaitable[None]],
    stopping: asyncio.Event,
    *,
    apps: Mapping[str, Handlers] | None = None,
    prepare: Callable[[], Awaitable[None]] | None = None,
    local_token: str | None = None,
) -> None:
    """Run *roles*, and the handlers of *apps*, until *stopping* is set, then drain; cancelled, it does not drain.

    The process serves at once, and waits without end until PostgreSQL and RabbitMQ are there and the schema is current.
    *prepare* is the first step of the start. *announce* is called once, with the URL that the process serves, when it
    is ready. A gateway lets commands on the same machine do everything with *local_token*.

    Not ready -> no new messages, and callers are sent elsewhere -> no new requests -> finish what is in flight -> close
    RabbitMQ, then PostgreSQL.

    Raises:
        ConfigurationError, StepRefused: The process cannot start.
    """
    if apps:
        roles = {*roles, HANDLERS}
    traces = tracing(drain_timeout=settings.drain_timeout, note_dropped=metrics.note_dropped_spans)
    async with traces, open_runtime(settings, url, roles) as runtime:
        gate, runtime.health.stopping = SchemaGate(runtime.database), stopping
        runtime.health.essential = ESSENTIAL if {*roles} == {GATEWAY} else None
        async with AsyncExitStack() as stack:
            of_roles = [await stack.enter_async_context(_workers(role, runtime)) for role in WORKERS if role in roles]
            workers = list(chain.from_iterable(of_roles))
            handlers = _handlers(runtime, apps) if apps else ()
            if handlers:
                workers += handlers
            for role in roles:
                metrics.ROLE.labels(role).set(1)

            async def start(address: str) -> None:
                if prepare is not None:
                    await retry_start(prepare)
                await retry_start(lambda: is_current(runtime.database))  # a wrong URL ends the start here
                await stack.enter_async_context(gate)
                await retry_start(lambda: runtime.transport.declare(TOPOLOGY))
                announce_losses(runtime.transport, runtime.database, [RECORD, *LANES, *map(attempt_queue, apps or ())])
                consume_anew_after_losses(runtime.database, runtime.transport)
                await gate.wait()
                shards = ShardFollower(runtime.database, runtime.transport)
                await retry_start(lambda: stack.enter_async_context(shards))
                if handlers:
                    await retry_start(handlers[0].subscribe)
                for worker in workers:
                    if not isinstance(worker, PartitionMaintainer | Measurer | Sampler):  # signals pass without them
                        runtime.health.require(worker.name, worker.check)
                    group.create_task(gate.guard(worker.run, stopping), name=worker.name)
                await runtime.health.start()
                gc.collect()
                gc.freeze()
                gc.set_threshold(*_GC_THRESHOLDS)
                sys.setswitchinterval(_SWITCH_SECONDS)
                await retry_start(lambda: announce(runtime, address))
                log.info("process.started", roles=sorted(roles), url=address)

            serving = _http(runtime, local_token, gateway=GATEWAY in roles)
            async with asyncio.TaskGroup() as group, serving as address:
                starting = group.create_task(start(address), name="start")
                await stopping.wait()
                stack.enter_context(_draining(roles))
                starting.cancel()


@contextmanager
def _draining(roles: Collection[str]) -> Iterator[None]:
    """Log that the process stops, and then how long that took, and whether it was interrupted."""
    began, interrupted = time.monotonic(), True
    log.info("process.stopping", roles=sorted(roles))
    try:
        yield
        interrupted = False
    finally:
        took = round(time.monotonic() - began, 3)
        log.info("process.stopped", roles=sorted(roles), drained_seconds=took, interrupted=interrupted)


@asynccontextmanager
async def _workers(role: str, runtime: Runtime) -> AsyncIterator[Sequence[Worker]]:
    settings, transport = runtime.settings, runtime.transport
    signals, deliveries = SignalStore(runtime.database), DeliveryStore(runtime.database)
    match role:
        case "recorder":
            suspects = SuspectStore(runtime.database)
            yield [Recorder(transport, signals, IntakeBooks(runtime.database), suspects, settings)]
        case "scheduler":
            scheduler = Scheduler(
                transport,
                deliveries=deliveries,
                expiring=ExpiringStore(runtime.database),
                pausing=PausingStore(runtime.database),
                trials=TrialStore(runtime.database),
                ordering=OrderingStore(runtime.database),
                sweeping=SweepingStore(runtime.database),
                signals=signals,
                sessions=SessionStore(runtime.database),
                events=EventTeller(runtime.database, transport, timeout=settings.confirm_timeout),
                settings=settings,
            )
            yield [
                scheduler,
                PartitionMaintainer(runtime.database, transport, settings),
                Bookkeeper(runtime.database, transport, settings),
                Pacer(transport, PacingStore(runtime.database), settings),
                LeaseKeeper(
                    LeaseStore(runtime.database, rescue_after=settings.rescue_after), _attempts_and_surplus(runtime)[1]
                ),
                _buffer_keeper(runtime),
                Measurer(runtime.database, transport, settings),
            ]
        case _:
            keys = WebhookKeyStore(runtime.database, runtime.secrets)
            async with _webhook_client(settings) as client:
                callbacks = Callbacks(runtime.secrets, settings.public_url)
                permissions = Permissions(client, PermissionStore(runtime.database), callbacks)
                webhooks = WebhookCourier(client, runtime.secrets, keys, permissions)
                couriers: dict[Kind, Courier] = {Kind.WEBHOOK: webhooks, Kind.QUEUE: QueueCourier(transport)}
                deliverer = Deliverer(
                    transport,
                    *_attempts_and_surplus(runtime),
                    couriers,
                    settings,
                    concurrency=settings.webhook_concurrency,
                    waiting=4 * settings.webhook_concurrency,
                )
                yield [deliverer, _sampler(runtime, couriers, apps=[""])]


def _buffer_keeper(runtime: Runtime) -> BufferKeeper:
    database, settings = runtime.database, runtime.settings
    buffer = BufferStore(database, most=settings.buffered_messages_limit)
    correlations = CorrelationStore(database, matcher=Matcher(rest=1.0))
    correlator = BufferCorrelator(buffer, SubscriptionStore(database), correlations, rescue_after=settings.rescue_after)
    return BufferKeeper(buffer, correlator, runtime.transport, timeout=settings.confirm_timeout)


def _handlers(runtime: Runtime, apps: Mapping[str, Handlers]) -> tuple[HandlerWorker, Sampler]:
    couriers: dict[Kind, Courier] = {Kind.HANDLER: HandlerCourier(apps)}
    deliverer = Deliverer(
        runtime.transport,
        *_attempts_and_surplus(runtime),
        couriers,
        runtime.settings,
        queues=[attempt_queue(app) for app in apps],
        concurrency=runtime.settings.handler_concurrency,
        waiting=runtime.settings.handler_concurrency,
    )
    worker = HandlerWorker(runtime.transport, SubscriptionStore(runtime.database), deliverer, apps)
    return worker, _sampler(runtime, couriers, apps=apps)


def _sampler(runtime: Runtime, couriers: Mapping[Kind, Courier], *, apps: Collection[str]) -> Sampler:
    return Sampler(SampleStore(runtime.database), couriers, apps=list(apps), timeout=runtime.settings.webhook_timeout)


def _attempts_and_surplus(runtime: Runtime) -> tuple[AttemptStore, SurplusStore]:
    database, settings = runtime.database, runtime.settings
    presence = Presence(database)
    return (
        AttemptStore(database, presence, timeout=settings.webhook_timeout, rescue_after=settings.rescue_after),
        SurplusStore(database, presence, rescue_after=settings.rescue_after),
    )


def _webhook_client(settings: Settings) -> WebhookClient:
    proxy = settings.egress_proxy
    return WebhookClient(
        Guard(settings.egress_allow, https_only=settings.egress_https_only),
        concurrency=2 * settings.webhook_concurrency,  # of both lanes
        trusted=trust(settings.egress_ca_file),
        proxy=None if proxy is None else proxy.get_secret_value(),
    )


@asynccontextmanager
async def _http(runtime: Runtime, local_token: str | None, *, gateway: bool) -> AsyncIterator[str]:
    """Serve the gateway, or only the probes of a worker, and the metrics, perhaps at a port of their own.

    Yield the URL of the gateway or the probes.
    """
    settings, health = runtime.settings, runtime.health
    async with AsyncExitStack() as stack:
        if gateway:
            app = await stack.enter_async_context(
                gateway_app(
                    runtime.database, runtime.transport, runtime.secrets, settings, health, local_token=local_token
                )
            )
        else:
            app = web.Application()
            health.add_probes(app)
            if settings.metrics_port is None:
                health.add_metrics(app)
        most = affordable(settings.http_connections)
        if most < settings.http_connections:
            log.warning("connections.limited", wanted=settings.http_connections, most=most)
        patience = {**PATIENCE, Wait.HEAD: settings.header_timeout}
        connections = Connections(most, patience)
        url = await stack.enter_async_context(_listening(app, runtime, "http_port", connections))
        if settings.metrics_port is not None:
            exposing = web.Application()
            health.add_metrics(exposing)
            scrapers = Connections(_MOST_SCRAPERS, patience, of_callers=False)
            at = await stack.enter_async_context(_listening(exposing, runtime, "metrics_port", scrapers))
            log.info("metrics.served", url=f"{at}/metrics")
        yield url
        await connections.leave(quiet=_QUIET, within=_LEAVING)


@asynccontextmanager
async def _listening(app: web.Application, runtime: Runtime, port: str, connections: Connections) -> AsyncIterator[str]:
    """Serve *app* at the setting *port* by *connections*; yield its URL.

    Raises:
        ConfigurationError: That port cannot be served.
    """
    settings = runtime.settings
    runner = Runner(
        app,
        DIALECTS,
        connections,
        access_log=None,
        auto_decompress=False,  # `read_body` does that, up to its limit
        read_bufsize=_READ_BUFFER,
        shutdown_timeout=settings.drain_timeout.total_seconds(),
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.http_host, getattr(settings, port), reuse_address=True)
        try:
            await site.start()
        except OSError as error:
            names = f"{PREFIX}HTTP_HOST and {PREFIX}{port.upper()}"
            raise ConfigurationError(f"{names} cannot be served: {error.strerror or error}") from error
        host, number, *_ = runner.addresses[0]
        yield f"http://{f'[{host}]' if ':' in host else host}:{number}"
    except asyncio.CancelledError:
        if runtime.health.stopping.is_set():
            runner.hurry()
        raise
    finally:
        await runner.cleanup()
