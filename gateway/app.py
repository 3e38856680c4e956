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
from broker.store.access import AccessCache, AccessStore
from broker.store.database import Database
from broker.store.deliveries import DeliveryStore
from broker.store.signals import SignalStore
from broker.store.subscriptions import SubscriptionStore
from broker.store.users import UserStore
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
from gateway.native.deliveries import DeliveriesApi
from gateway.native.signals import SignalsApi
from gateway.native.subscriptions import SubscriptionsApi
from gateway.native.tokens import TokensApi
from gateway.native.users import UsersApi
from gateway.passwords import Passwords
from gateway.probes import probes
from gateway.problems import NATIVE
from gateway.unleash.admin import AdminApi
from gateway.unleash.calls import CallsApi
from gateway.unleash.errors import UNLEASH

DIALECTS = (CAMUNDA, CAMUNDA8, UNLEASH, NATIVE)


@asynccontextmanager
async def gateway_app(
    database: Database, transport: Transport, secrets: SecretBox, settings: Settings, health: Health
) -> AsyncIterator[web.Application]:
    """Yield the application; leaving waits for no request (the server's runner does that)."""
    signals, subscriptions = SignalStore(database), SubscriptionStore(database)
    deliveries, access = DeliveryStore(database), AccessStore(database)
    cache = AccessCache(database)
    passwords = Passwords(cache)
    auth = Authenticator(cache, passwords, settings)
    async with Intake(transport, signals, settings) as intake:
        apis = (
            SignalsApi(intake, signals, deliveries, auth, settings),
            SubscriptionsApi(subscriptions, secrets, Guard(settings.egress_allow), auth, settings),
            DeliveriesApi(deliveries, transport, auth, settings),
            TokensApi(access, auth, settings),
            UsersApi(UserStore(database), passwords, auth, settings),
            CamundaApi(intake, subscriptions, auth, settings),
            EventSubscriptionsApi(subscriptions, auth),
            Camunda8Api(intake, auth, settings),
            CallsApi(intake, cache, auth),
            AdminApi(access, signals, auth, settings),
            ConsoleApi(),
        )
        routes = [route for api in apis for route in api.routes] + probes(health)
        routes += DocsApi(routes, DIALECTS, version=version("signal-broker")).routes
        app = web.Application(middlewares=[measuring_throws(routes), answering_errors(DIALECTS)])
        app[BODY_TIMEOUT] = settings.body_timeout
        for route in routes:
            for path in route.paths:
                add = app.router.add_get if route.method == "GET" else partial(app.router.add_route, route.method)
                add(path, route.handler)
        yield app
