"""``/v1/subscriptions/{id}/replay``: recorded signals delivered to a subscription that did not get them."""

from __future__ import annotations

from aiohttp import web

from broker.access import Permission
from broker.audit import AuditType
from broker.names import is_pattern
from broker.settings import Settings
from broker.store.administration.audit import AuditStore
from broker.store.deliveries.replays import ReplayStore
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.subscriptions import Subscription
from gateway.auth import Authenticator, demand
from gateway.bodies import dump, parse, read_json
from gateway.http_errors import Conflicting
from gateway.native.bulk import bulk_snapshot, do_some, not_next, read_after, read_signal_filter
from gateway.native.subscriptions import visible_subscription
from gateway.queries import MAX_ID
from gateway.routes import Route
from gateway.schemas import BulkResult
from gateway.schemas.subscriptions import ReplayRequest


class ReplaysApi:
    """Replays signals."""

    def __init__(
        self,
        subscriptions: SubscriptionStore,
        replays: ReplayStore,
        audit: AuditStore,
        auth: Authenticator,
        settings: Settings,
    ) -> None:
        self._subscriptions = subscriptions
        self._replays = replays
        self._audit = audit
        self._auth = auth
        self._settings = settings

    @property
    def routes(self) -> list[Route]:
        """What this part of the API answers."""
        return [
            Route(
                "POST",
                "/v1/subscriptions/{id}/replay",
                self.replay,
                "Replay signals",
                {200: BulkResult},
                ReplayRequest,
            )
        ]

    async def replay(self, request: web.Request) -> web.Response:
        """Owe a subscription the recorded signals that match it and that it is not owed, and answer how many they are.

        The oldest go first. Repeating it owes nothing twice. One request looks at 100,000 signals at most; where to go
        on is in the answer. What the caller may not read is not replayed.
        """
        principal, subscription = await visible_subscription(request, self._auth, self._subscriptions)
        demand(principal, Permission.SUBSCRIPTIONS, subscription.spec.name)
        demand(principal, Permission.READ)
        wanted = parse(ReplayRequest, await read_json(request, self._settings.max_body_bytes) or b"{}")
        if wanted.name is not None and not is_pattern(wanted.name):
            demand(principal, Permission.READ, wanted.name)
        sought = read_signal_filter(wanted, principal)
        last, pace = read_after(wanted)
        after_id = _read_id(last or "0")
        demand_receiving(subscription)
        if not wanted.dry_run:
            await self._audit.note(principal, AuditType.SIGNALS_REPLAYED, subscription.id, after=bulk_snapshot(wanted))
        chunks = self._replays.replay(subscription.id, sought, pace, after_id=after_id, dry_run=wanted.dry_run)
        return web.Response(body=dump(await do_some(chunks, pace)), content_type="application/json")


def demand_receiving(subscription: Subscription) -> None:
    """Let *subscription* pass if signals can be replayed to it.

    Raises:
        Conflicting: It gets none any more.
    """
    if not subscription.receives:
        why = "is disabled; resume it first" if subscription.disabled_because else "was consumed already"
        raise Conflicting(f"Nothing is replayed: the subscription {why}.")


def _read_id(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_ID)) and int(text) <= MAX_ID):
        raise not_next()
    return int(text)
