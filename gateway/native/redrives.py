"""``/v1/deliveries/redrive``: redriving deliveries in bulk."""

from __future__ import annotations

from aiohttp import web

from broker.access import Permission, Principal
from broker.deliveries import parse_delivery_id
from broker.operations.redrives import Redriver
from broker.schemas import BulkResult
from broker.schemas.deliveries import RedriveRequest
from gateway.answers import answer
from gateway.bodies import read_document
from gateway.native.bulk import not_next, read_after, run_within_limits
from gateway.routes import Route, SecuredRoute


class RedrivesApi:
    """Redrives in bulk."""

    def __init__(self, redriver: Redriver) -> None:
        self._redriver = redriver

    @property
    def routes(self) -> list[Route]:
        """The routes of this part of the API."""
        return [
            SecuredRoute(
                "POST",
                "/v1/deliveries/redrive",
                self.redrive,
                "Redrive deliveries",
                {200: BulkResult},
                RedriveRequest,
                permissions=(Permission.DELIVERIES,),
                may_be_bare=True,
            )
        ]

    async def redrive(self, request: web.Request, principal: Principal) -> web.Response:
        """Put back the matching deliveries that would be attempted, and answer how many they are.

        Deliveries to a deleted or disabled subscription, and those of an expired signal, stay as they are. One request
        looks at 100,000 deliveries at most; the answer says where the next request goes on.
        """
        wanted = await read_document(request, RedriveRequest, optional=True)
        last, pace = read_after(wanted)
        try:
            after = (0, 0) if last is None else parse_delivery_id(last)
        except ValueError:
            raise not_next() from None
        chunks = await self._redriver.redrive(wanted, pace, by=principal, after=after)
        return answer(await run_within_limits(request, chunks, pace))
