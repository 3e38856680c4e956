"""The gateway as one aiohttp application: every dialect's routes, on the parts that it is given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version

from aiohttp import web

from broker.egress import Guard
from broker.health import Health
from broker.secrets import SecretBox
from broker.settings import Settings
from broker.store.administration.audit import AuditStore
from broker.store.administration.endpoints import EndpointStore
from broker.store.administration.tokens import AccessCache, AccessStore
from broker.store.administration.users import UserStore
from broker.store.administration.webhook_keys import WebhookKeyStore
from broker.store.deliveries.deliveries import DeliveryStore
from broker.store.deliveries.ordering import OrderingStore
from broker.store.deliveries.pausing import PausingStore
from broker.store.deliveries.redrives import RedriveStore
from broker.store.deliveries.replays import ReplayStore
from broker.store.postgres.database import Database
from broker.store.signals.signals import SignalStore
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.transport import Transport
from gateway.auth import Authenticator
from gateway.camunda.api import CamundaApi
from gateway.camunda.dialect import CAMUNDA
from gateway.camunda.event_subscriptions import EventSubscriptionsApi
from gateway.camunda8.api import Camunda8Api
from gateway.camunda8.problems import CAMUNDA8
from gateway.console import ConsoleApi
from gateway.dialects import BODY_TIMEOUT, answering_errors
from gateway.docs import DocsApi
from gateway.intake import Intake
from gateway.measures import measuring_throws
from gateway.native.audit import AuditApi
from gateway.native.batches import BatchesApi
from gateway.native.deliveries import DeliveriesApi
from gateway.native.explain import ExplainApi
from gateway.native.redrives import RedrivesApi
from gateway.native.replays import ReplaysApi
from gateway.native.signals import SignalsApi
from gateway.native.standings import StandingsApi
from gateway.native.subscriptions import SubscriptionsApi
from gateway.native.tokens import TokensApi
from gateway.native.users import UsersApi
from gateway.native.webhook_keys import WebhookKeysApi
from gateway.passwords import Passwords
from gateway.probes import probes
from gateway.problems import NATIVE
from gateway.unleash.calls import CallsApi
from gateway.unleash.endpoint_tokens import EndpointTokensApi
from gateway.unleash.endpoints import EndpointsApi
from gateway.unleash.errors import UNLEASH
from gateway.unleash.paths import collapsing_slashes
from gateway.unleash.signals import EndpointSignalsApi

DIALECTS = (CAMUNDA, CAMUNDA8, UNLEASH, NATIVE)


@asynccontextmanager
async def gateway_app(
    database: Database, transport: Transport, secrets: SecretBox, settings: Settings, health: Health
) -> AsyncIterator[web.Application]:
    """Yield the application; leaving waits for no request (the server's runner does that)."""
    signals, subscriptions = SignalStore(database), SubscriptionStore(database)
    deliveries, endpoints, audit = DeliveryStore(database), EndpointStore(database), AuditStore(database)
    cache = AccessCache(database)
    passwords = Passwords(cache)
    guard = Guard(settings.egress_allow, https_only=settings.egress_https_only)
    auth = Authenticator(cache, passwords, settings)
    async with Intake(transport, signals, OrderingStore(database), settings) as intake:
        apis = (
            SignalsApi(intake, signals, deliveries, auth, settings),
            BatchesApi(intake, auth, settings),
            ExplainApi(subscriptions, auth, settings),
            SubscriptionsApi(subscriptions, secrets, guard, auth, settings),
            StandingsApi(subscriptions, PausingStore(database), deliveries, auth, settings),
            WebhookKeysApi(WebhookKeyStore(database, secrets), auth, settings),
            ReplaysApi(subscriptions, ReplayStore(database), audit, auth, settings),
            DeliveriesApi(deliveries, transport, auth, settings),
            RedrivesApi(RedriveStore(database), audit, auth, settings),
            TokensApi(AccessStore(database), auth, settings),
            UsersApi(UserStore(database), passwords, auth, settings),
            AuditApi(audit, auth),
            CamundaApi(intake, subscriptions, auth, settings),
            EventSubscriptionsApi(subscriptions, auth),
            Camunda8Api(intake, auth, settings),
            CallsApi(intake, cache, auth, settings),
            EndpointsApi(endpoints, auth, settings),
            EndpointTokensApi(endpoints, auth, settings),
            EndpointSignalsApi(endpoints, auth),
            ConsoleApi(),
        )
        routes = [route for api in apis for route in api.routes] + probes(health)
        routes += DocsApi(routes, DIALECTS, version=version("signal-broker")).routes
        app = web.Application(middlewares=[measuring_throws(routes), answering_errors(DIALECTS)])
        app[BODY_TIMEOUT] = settings.body_timeout
        for route in routes:
            for path in (collapsing_slashes(route) if UNLEASH.owns(route.path) else route).paths:
                add = app.router.add_get if route.method == "GET" else partial(app.router.add_route, route.method)
                add(path, route.handler)
        yield app
