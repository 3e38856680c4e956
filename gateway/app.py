"""The gateway as one aiohttp application: the routes of every dialect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version

from aiohttp import web

from broker import tracing
from broker.callbacks import Callbacks
from broker.egress import Guard
from broker.health import Health
from broker.losses import listen_for_losses
from broker.matching import Matcher
from broker.offloading import Offloader
from broker.operations.acceptance import Acceptance
from broker.operations.books import BookReader
from broker.operations.cancelling import Canceller
from broker.operations.correlation import Correlator
from broker.operations.intake import Intake, open_intake
from broker.operations.leases import Leasing
from broker.operations.redrives import Redriver
from broker.operations.replays import Replayer
from broker.operations.tail import Feed
from broker.secrets import SecretBox
from broker.settings import Settings
from broker.store.administration.access_cache import AccessCache
from broker.store.administration.audit import AuditStore
from broker.store.administration.endpoints import EndpointStore
from broker.store.administration.quotas import QuotaStore
from broker.store.administration.sessions import SessionStore
from broker.store.administration.tokens import AccessStore
from broker.store.administration.users import UserStore
from broker.store.administration.webhook_keys import WebhookKeyStore
from broker.store.deliveries.backlogs import BacklogStore
from broker.store.deliveries.cancelling import CancellingStore
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.deliveries.leasable import LeasableStore
from broker.store.deliveries.leases import LeaseStore
from broker.store.deliveries.pausing import PausingStore
from broker.store.deliveries.pull_listing import PullListing
from broker.store.deliveries.redrives import RedriveStore
from broker.store.deliveries.replays import ReplayStore
from broker.store.deliveries.statistics import StatisticsStore
from broker.store.events import EventStore
from broker.store.postgres.database import Database
from broker.store.signals.buffering import BufferStore
from broker.store.signals.correlating import CorrelationStore
from broker.store.signals.signals import SignalStore
from broker.store.subscriptions.permissions import PermissionStore
from broker.store.subscriptions.samples import SampleStore
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.store.subscriptions.waiting import WaitingStore
from broker.transport import Transport
from gateway.auth import Authenticator
from gateway.bodies import BODY_LIMIT, BODY_TIMEOUT
from gateway.camunda.api import CamundaApi
from gateway.camunda.dialect import CAMUNDA
from gateway.camunda.event_subscriptions import EventSubscriptionsApi
from gateway.camunda.executions import ExecutionsApi
from gateway.camunda.external_task_lists import ExternalTaskListsApi
from gateway.camunda.external_tasks import ExternalTasksApi
from gateway.camunda.messages import MessagesApi
from gateway.camunda8.api import Camunda8Api
from gateway.camunda8.cluster import ClusterApi
from gateway.camunda8.messages import MessagesApi as Camunda8MessagesApi
from gateway.camunda8.problems import CAMUNDA8
from gateway.console import ConsoleApi
from gateway.cors import CrossOrigin
from gateway.dialects import dialect_of, error_middleware, secure
from gateway.docs import DocsApi
from gateway.forwarding import FORWARDING, Forwarding
from gateway.measures import ROUTES, throw_metrics
from gateway.native.audit import AuditApi
from gateway.native.batches import BatchesApi
from gateway.native.cancelling import CancellingApi
from gateway.native.cloudevents import CloudEventsApi
from gateway.native.deliveries import DeliveriesApi
from gateway.native.events import EventsApi
from gateway.native.explain import ExplainApi
from gateway.native.leases import LeasesApi
from gateway.native.ledger import LedgerApi
from gateway.native.problems import NATIVE
from gateway.native.quotas import QuotasApi
from gateway.native.redrives import RedrivesApi
from gateway.native.replays import ReplaysApi
from gateway.native.samples import SamplesApi
from gateway.native.session import SessionApi
from gateway.native.signals import SignalsApi
from gateway.native.stats import StatsApi
from gateway.native.subscriptions import SubscriptionsApi
from gateway.native.tail import TailApi
from gateway.native.tokens import TokensApi
from gateway.native.users import UsersApi
from gateway.native.webhook_keys import WebhookKeysApi
from gateway.native.webhook_permissions import WebhookPermissionsApi
from gateway.offloading import OFFLOADER
from gateway.oidc.issuer import open_issuer
from gateway.passwords import Passwords
from gateway.paths import keep_apart
from gateway.probes import probes
from gateway.reading import READERS, Readers
from gateway.rooms import give_back_rooms, open_rooms
from gateway.routes import Route
from gateway.traces import reads_trace, trace_throws
from gateway.unleash.calls import CallsApi
from gateway.unleash.endpoint_tokens import EndpointTokensApi
from gateway.unleash.endpoints import EndpointsApi
from gateway.unleash.errors import UNLEASH
from gateway.unleash.health import HealthApi
from gateway.unleash.paths import as_express
from gateway.unleash.signals import EndpointSignalsApi

DIALECTS = (CAMUNDA, CAMUNDA8, UNLEASH, NATIVE)


@asynccontextmanager
async def gateway_app(
    database: Database,
    transport: Transport,
    secrets: SecretBox,
    settings: Settings,
    health: Health,
    *,
    local_token: str | None = None,
) -> AsyncIterator[web.Application]:
    """Yield the application; leaving does not wait for requests (the server's runner does that).

    With *local_token*, which ends with the application, commands on the same machine may do everything.
    """
    async with (
        AccessCache(database) as cache,
        open_issuer(settings) as issuer,
        open_intake(database, transport, settings) as intake,
    ):
        passwords = Passwords(cache)
        sessions = SessionStore(database)
        auth = Authenticator(cache, passwords, settings, issuer, sessions, local_token=local_token)
        if transport.may_lose_queues:
            listen_for_losses(database, intake.restore)
        feed = Feed(SignalStore(database))
        leasable = LeasableStore(database)
        leasing = Leasing(LeaseStore(database, rescue_after=settings.rescue_after), leasable)
        correlations = CorrelationStore(database, matcher=Matcher(rest=1.0))
        buffer = BufferStore(database, most=settings.buffered_messages_limit)
        correlator = Correlator(
            intake, SubscriptionStore(database), correlations, buffer, rescue_after=settings.rescue_after
        )
        health.require("intake", Acceptance(database, transport, intake.outcomes).check)
        routes = [
            *_native_routes(database, transport, secrets, settings, intake=intake, passwords=passwords),
            *CamundaApi(intake, SubscriptionStore(database), settings).routes,
            *MessagesApi(correlator, settings).routes,
            *EventSubscriptionsApi(WaitingStore(database)).routes,
            *ExecutionsApi(WaitingStore(database)).routes,
            *Camunda8Api(intake).routes,
            *Camunda8MessagesApi(correlator).routes,
            *ClusterApi(health).routes,
            *CallsApi(intake, cache, auth, settings).routes,
            *EndpointsApi(EndpointStore(database), settings).routes,
            *EndpointTokensApi(EndpointStore(database), settings).routes,
            *EndpointSignalsApi(EndpointStore(database)).routes,
            *HealthApi(health).routes,
            *ConsoleApi().routes,
            *probes(health, metrics=settings.metrics_port is None),
            *TailApi(feed, auth).routes,
            *LeasesApi(SubscriptionStore(database), leasing, auth).routes,
            *ExternalTasksApi(
                SubscriptionStore(database), PullListing(database), leasable, leasing, auth=auth, settings=settings
            ).routes,
            *ExternalTaskListsApi(PullListing(database), settings).routes,
            *SessionApi(sessions, auth).routes,
        ]
        routes += DocsApi(routes, DIALECTS, version=version("signal-broker"), server=settings.public_url).routes
        app = _application(routes, auth, settings)
        app.on_shutdown.append(_ending(feed, leasing))
        async with _ended_by(health.stopping, leasing):
            yield app


def _ending(*waited_for: Feed | Leasing) -> Callable[[web.Application], Awaitable[None]]:
    async def end(_: web.Application) -> None:
        for one in waited_for:
            one.end()

    return end


@asynccontextmanager
async def _ended_by(stopping: asyncio.Event, leasing: Leasing) -> AsyncIterator[None]:
    """Let callers who wait for deliveries go elsewhere once the process begins to stop."""

    async def end() -> None:
        await stopping.wait()
        leasing.end()

    ending = asyncio.create_task(end(), name="leasing:end")
    try:
        yield
    finally:
        ending.cancel()


def _native_routes(
    database: Database,
    transport: Transport,
    secrets: SecretBox,
    settings: Settings,
    *,
    intake: Intake,
    passwords: Passwords,
) -> list[Route]:
    signals, subscriptions = SignalStore(database), SubscriptionStore(database)
    matcher = Matcher(rest=1.0)  # one for all, so that evaluations take turns
    deliveries, audit = DeliveryStore(database, matcher=matcher), AuditStore(database)
    statistics = StatisticsStore(database)
    guard = Guard(settings.egress_allow, https_only=settings.egress_https_only)
    return [
        *SignalsApi(intake, signals, deliveries).routes,
        *BatchesApi(intake).routes,
        *CloudEventsApi(intake).routes,
        *ExplainApi(subscriptions, matcher).routes,
        *SubscriptionsApi(
            subscriptions,
            PausingStore(database),
            BacklogStore(database),
            statistics,
            secrets=secrets,
            guard=guard,
            note_refusal=intake.note_refusal,
        ).routes,
        *SamplesApi(subscriptions, SampleStore(database)).routes,
        *WebhookKeysApi(WebhookKeyStore(database, secrets)).routes,
        *WebhookPermissionsApi(PermissionStore(database), Callbacks(secrets, settings.public_url)).routes,
        *ReplaysApi(subscriptions, Replayer(ReplayStore(database, matcher=matcher), audit)).routes,
        *DeliveriesApi(deliveries).routes,
        *LedgerApi(BookReader(database, transport, timeout=settings.confirm_timeout), subscriptions).routes,
        *StatsApi(statistics, subscriptions).routes,
        *RedrivesApi(Redriver(RedriveStore(database, matcher=matcher), audit)).routes,
        *CancellingApi(Canceller(CancellingStore(database), audit)).routes,
        *TokensApi(AccessStore(database)).routes,
        *UsersApi(UserStore(database), passwords).routes,
        *QuotasApi(QuotaStore(database), AccessStore(database)).routes,
        *AuditApi(audit).routes,
        *EventsApi(EventStore(database)).routes,
    ]


def _application(routes: Sequence[Route], auth: Authenticator, settings: Settings) -> web.Application:
    handlers = [(route, secure(route, dialect_of(route.path, DIALECTS), auth)) for route in routes]
    sources = {handler: route.throws for route, handler in handlers if route.throws}
    middlewares = [give_back_rooms, throw_metrics(sources), error_middleware(DIALECTS)]
    tracer = tracing.tracer()
    if tracer is not None:
        throwing = {handler: route.path for route, handler in handlers if reads_trace(route)}
        middlewares.insert(0, trace_throws(tracer, throwing))
    app = web.Application(middlewares=middlewares)
    app[FORWARDING] = Forwarding(settings.public_url, settings.trusted_proxies)
    if settings.public_url:
        app.on_response_prepare.append(app[FORWARDING].prepare)
    if settings.cors_origins:
        app.on_response_prepare.append(CrossOrigin(settings.cors_origins).prepare)
    app[BODY_TIMEOUT], app[BODY_LIMIT] = settings.body_timeout, settings.max_body_bytes
    app[OFFLOADER] = Offloader()
    app[READERS] = Readers()
    app[ROUTES] = {}
    open_rooms(app)
    described = [route.path for route in routes]
    for route, handler in handlers:
        for path in (as_express(route) if UNLEASH.owns(route.path) else route).paths:
            add = app.router.add_get if route.method == "GET" else partial(app.router.add_route, route.method)
            added = add(keep_apart(path, described), handler)
            for one in added.resource or ():  # the route for HEAD, too; others may have been there before
                app[ROUTES].setdefault(one, route)
    return app
