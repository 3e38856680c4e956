"""The worker of handlers: it declares their queue and subscribes them; its deliverer calls them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import cast

import structlog

from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.targets import HandlerTarget
from broker.topology import app_topology
from broker.transport import Transport
from workers.deliverer import Deliverer
from workers.handlers import Handlers

log = structlog.get_logger()


class HandlerWorker:
    """Runs the handlers of *apps*, whose attempts *deliverer* makes.

    Any number of them can run side by side, for the same apps or for others.
    """

    name = "handlers"

    def __init__(
        self,
        transport: Transport,
        subscriptions: SubscriptionStore,
        deliverer: Deliverer,
        apps: Mapping[str, Handlers],
    ) -> None:
        self._transport = transport
        self._subscriptions = subscriptions
        self._deliverer = deliverer
        self._apps = apps

    async def subscribe(self) -> None:
        """Declare the apps' queues, then create the subscriptions of their handlers, or renew their specs.

        Raises:
            StoreUnavailable, TransportError: Not all of it is done.
        """
        for app, handlers in self._apps.items():
            await self._transport.declare(app_topology(app))
            known = set()
            for handler in handlers:
                subscription = await self._subscriptions.register(handler.of(app))
                known.add(subscription.id)
                log.info("handler.subscribed", app=app, handler=handler.name, subscription_id=subscription.id)
            for subscription in await self._subscriptions.of_app(app):
                if subscription.id not in known:
                    log.warning(
                        "handler.missing",
                        app=app,
                        handler=cast(HandlerTarget, subscription.spec.target).handler,
                        subscription_id=subscription.id,
                        hint="the code has no such handler any more, so its deliveries fail;"
                        f" `signal-broker subscriptions delete {subscription.id}` ends that",
                    )

    async def check(self) -> None:
        """Return if the attempts of handlers can be begun and ended now.

        Raises:
            SignalBrokerError: They cannot, for this reason.
        """
        await self._deliverer.check()

    async def run(self, stopping: asyncio.Event) -> None:
        """Call handlers until *stopping* is set."""
        await self._deliverer.run(stopping)
