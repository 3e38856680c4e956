"""``/v1/deliveries/cancel``: cancelling deliveries in bulk."""

from __future__ import annotations

from aiohttp import web

from broker.access import Permission, Principal
from broker.deliveries import parse_delivery_id
from broker.limits import Pace
from broker.operations.cancelling import Canceller
from broker.schemas import BulkResult
from broker.schemas.deliveries import CancelRequest
from gateway.answers import answer
from gateway.bodies import read_document
from gateway.native.bulk import not_next, run_within_limits
from gateway.routes import Route, SecuredRoute


class CancellingApi:
    """Cancels in bulk."""

    def __init__(self, canceller: Canceller) -> None:
        self._canceller = canceller

    @property
    def routes(self) -> list[Route]:
        """The routes of this part of the API."""
        return [
            SecuredRoute(
                "POST",
                "/v1/deliveries/cancel",
                self.cancel,
                "Cancel deliveries",
                {200: BulkResult},
                CancelRequest,
                permissions=(Permission.DELIVERIES,),
            )
        ]

    async def cancel(self, request: web.Request, principal: Principal) -> web.Response:
        """Give up the matching deliveries, which are dead or parked, and answer how many they were.

        Those to deleted subscriptions and of expired signals are given up, too. One request looks at 100,000 deliveries
        at most; the answer says where the next request goes on.
        """
        wanted = await read_document(request, CancelRequest)
        try:
            after = (0, 0) if wanted.after is None else parse_delivery_id(wanted.after)
        except ValueError:
            raise not_next() from None
        chunks = await self._canceller.cancel(wanted, by=principal, after=after)
        return answer(await run_within_limits(request, chunks, Pace(None)))
