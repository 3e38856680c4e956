"""``/v1/subscriptions/{id}/replay``: delivering recorded signals to a subscription that was not owed them."""

from __future__ import annotations

from aiohttp import web

from broker.access import Permission, Principal
from broker.integers import read_whole
from broker.operations.replays import Replayer
from broker.schemas import BulkResult
from broker.schemas.subscriptions import ReplayRequest
from broker.store.subscriptions.subscriptions import SubscriptionStore
from gateway.answers import answer
from gateway.bodies import read_document
from gateway.native.bulk import not_next, read_after, run_within_limits
from gateway.native.subscriptions import managed_subscription
from gateway.routes import Route, SecuredRoute


class ReplaysApi:
    """Replays signals."""

    def __init__(self, subscriptions: SubscriptionStore, replayer: Replayer) -> None:
        self._subscriptions = subscriptions
        self._replayer = replayer

    @property
    def routes(self) -> list[Route]:
        """The routes of this part of the API."""
        return [
            SecuredRoute(
                "POST",
                "/v1/subscriptions/{id}/replay",
                self.replay,
                "Replay signals",
                {200: BulkResult},
                ReplayRequest,
                permissions=(Permission.SUBSCRIPTIONS, Permission.READ),
                may_be_bare=True,
                refusals=(409,),
            )
        ]

    async def replay(self, request: web.Request, principal: Principal) -> web.Response:
        """Owe a subscription the recorded signals that match it and that it is not owed, and answer how many they are.

        The oldest go first. Repeating it owes nothing twice. Only signals that the caller may read are replayed. One
        request looks at 100,000 signals at most; the answer says where the next request goes on.
        """
        subscription = await managed_subscription(request, principal, self._subscriptions)
        wanted = await read_document(request, ReplayRequest, optional=True)
        last, pace = read_after(wanted)
        after_id = read_whole(last or "0")
        if after_id is None:
            raise not_next()
        chunks = await self._replayer.replay(subscription, wanted, pace, by=principal, after_id=after_id)
        return answer(await run_within_limits(request, chunks, pace))
