"""Runs roles in one process until SIGTERM or SIGINT: the gateway, any of the workers, or all of them."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from aiohttp import web

from broker.egress import Guard
from broker.settings import Settings
from broker.store.administration.webhook_keys import WebhookKeyStore
from broker.store.deliveries.claiming import AttemptStore
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.deliveries.ordering import OrderingStore
from broker.store.deliveries.pausing import PausingStore
from broker.store.signals.signals import SignalStore
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.targets import Kind
from broker.topology import attempt_queue
from deploy.cli.runtime import Runtime, open_runtime, retry_start
from gateway.app import gateway_app
from workers.couriers.handler import HandlerCourier
from workers.couriers.queue import QueueCourier
from workers.couriers.webhook import WebhookCourier
from workers.deliverer import Deliverer
from workers.handlers import Handlers
from workers.handlers.worker import HandlerWorker
from workers.partition_maintainer import PartitionMaintainer
from workers.recorder import Recorder
from workers.scheduler import Scheduler
from workers.webhook_client import WebhookClient, trust

GATEWAY = "gateway"
WORKERS = ("recorder", "deliverer", "scheduler")
HANDLERS = "handlers"

_READ_BUFFER = 32 << 10
"""Bytes, of which twice as many stop a connection from being read. Aiohttp's own limit lets most of a megabyte in."""

Worker = Recorder | Deliverer | Scheduler | PartitionMaintainer | HandlerWorker

log = structlog.get_logger()


async def serve(
    settings: Settings,
    url: str,
    roles: Collection[str],
    announce: Callable[[Runtime, str], Awaitable[None]],
    apps: Mapping[str, Handlers] | None = None,
) -> None:
    """Run *roles*, and the handlers of *apps*, until SIGTERM or SIGINT, then drain.

    Not ready -> no new requests and messages -> finish what is in flight -> close RabbitMQ, then PostgreSQL.
    *announce* is called once, with the URL that the process serves, when it is ready.

    Raises:
        ConfigurationError, StoreUnavailable, TransportError: The process could not start.
    """
    loop = asyncio.get_running_loop()
    async with open_runtime(settings, url) as runtime:
        stopping = runtime.health.stopping
        async with AsyncExitStack() as stack:
            workers = [await stack.enter_async_context(_worker(role, runtime)) for role in WORKERS if role in roles]
            if Scheduler.name in roles:
                workers.append(PartitionMaintainer(runtime.database, runtime.transport, settings))
            if apps:
                workers.append(await _handlers(runtime, apps))
                roles = {*roles, HANDLERS}
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, stopping.set)
            async with asyncio.TaskGroup() as group:
                for worker in workers:
                    group.create_task(worker.run(stopping), name=worker.name)
                async with _http(runtime, gateway=GATEWAY in roles) as address:
                    await announce(runtime, address)
                    log.info("process.started", roles=sorted(roles), url=address)
                    await stopping.wait()
                    started = time.monotonic()
                    log.info("process.stopping", roles=sorted(roles))
        log.info("process.stopped", roles=sorted(roles), drained_seconds=round(time.monotonic() - started, 3))


@asynccontextmanager
async def _worker(role: str, runtime: Runtime) -> AsyncIterator[Worker]:
    settings, transport = runtime.settings, runtime.transport
    signals, deliveries = SignalStore(runtime.database), DeliveryStore(runtime.database)
    match role:
        case "recorder":
            yield Recorder(transport, signals, settings)
        case "scheduler":
            yield Scheduler(
                transport,
                deliveries=deliveries,
                pausing=PausingStore(runtime.database),
                ordering=OrderingStore(runtime.database),
                signals=signals,
                settings=settings,
            )
        case _:
            keys = WebhookKeyStore(runtime.database, runtime.secrets)
            async with _webhook_client(settings) as client:
                webhooks = WebhookCourier(client, runtime.secrets, keys)
                yield Deliverer(
                    transport,
                    _attempts(runtime),
                    {Kind.WEBHOOK: webhooks, Kind.QUEUE: QueueCourier(transport)},
                    settings,
                    concurrency=settings.webhook_concurrency,
                )


async def _handlers(runtime: Runtime, apps: Mapping[str, Handlers]) -> HandlerWorker:
    """Return the worker of *apps*, once their handlers are subscribed: a ready process misses no signal."""
    deliverer = Deliverer(
        runtime.transport,
        _attempts(runtime),
        {Kind.HANDLER: HandlerCourier(apps)},
        runtime.settings,
        queues=[attempt_queue(app) for app in apps],
        concurrency=runtime.settings.handler_concurrency,
    )
    worker = HandlerWorker(runtime.transport, SubscriptionStore(runtime.database), deliverer, apps)
    await retry_start(worker.subscribe)
    return worker


def _attempts(runtime: Runtime) -> AttemptStore:
    settings = runtime.settings
    return AttemptStore(runtime.database, timeout=settings.webhook_timeout, rescue_after=settings.rescue_after)


def _webhook_client(settings: Settings) -> WebhookClient:
    proxy = settings.egress_proxy
    return WebhookClient(
        Guard(settings.egress_allow, https_only=settings.egress_https_only),
        concurrency=2 * settings.webhook_concurrency,  # of both lanes
        trusted=trust(settings.egress_ca_file),
        proxy=None if proxy is None else proxy.get_secret_value(),
    )


@asynccontextmanager
async def _http(runtime: Runtime, *, gateway: bool) -> AsyncIterator[str]:
    """Serve the gateway, or only `/livez`, `/readyz` and `/metrics` of a worker; yield the URL."""
    settings = runtime.settings
    async with AsyncExitStack() as stack:
        if gateway:
            app = await stack.enter_async_context(
                gateway_app(runtime.database, runtime.transport, runtime.secrets, settings, runtime.health)
            )
        else:
            app = web.Application()
            runtime.health.add_routes(app)
        runner = web.AppRunner(
            app,
            access_log=None,
            auto_decompress=False,  # `read_body` does that, up to its limit
            read_bufsize=_READ_BUFFER,
            shutdown_timeout=settings.drain_timeout.total_seconds(),
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, settings.http_host, settings.http_port, reuse_address=True)
        await site.start()
        host, port, *_ = runner.addresses[0]
        yield f"http://{f'[{host}]' if ':' in host else host}:{port}"
