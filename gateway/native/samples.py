"""``/v1/subscriptions/{id}/test``: a subscription's target is tried with a made signal."""

from __future__ import annotations

from collections import Counter

from aiohttp import web

from broker.access import Permission, Principal
from broker.jsonparts import raw_member
from broker.schemas.samples import SampleAnswer, SampleRequest
from broker.store.subscriptions.samples import MOST, SampleStore, TooMany
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.targets import Kind
from gateway.answers import answer
from gateway.bodies import parse, read_json
from gateway.http_errors import Busy, Conflicting
from gateway.native.subscriptions import managed_subscription
from gateway.offloading import offload
from gateway.routes import Route, SecuredRoute

MOST_OF_ONE = 8
"""The maximum number of tests under way for one principal at one gateway, so that none uses up the workers' places."""


class SamplesApi:
    """Lets a worker try the target of a subscription, and shows what came of it."""

    def __init__(self, subscriptions: SubscriptionStore, samples: SampleStore) -> None:
        self._subscriptions = subscriptions
        self._samples = samples
        self._under_way: Counter[str] = Counter()
        """By the principals' keys."""

    @property
    def routes(self) -> list[Route]:
        """The routes of this part of the API."""
        return [
            SecuredRoute(
                "POST",
                "/v1/subscriptions/{id}/test",
                self.test,
                "Test a subscription",
                {200: SampleAnswer},
                SampleRequest,
                permissions=(Permission.SUBSCRIPTIONS,),
                may_be_bare=True,
                refusals=(409,),
            )
        ]

    async def test(self, request: web.Request, principal: Principal) -> web.Response:
        """Make one attempt at the target, of a signal that is made for it, and answer what came of it.

        The signal has a name that the subscription's matches, and a negative id. It is neither recorded nor counted,
        goes to nobody else, and passes by the filter, the limits and the circuit; a pause does not hold it up. Of
        several steps, one after the other is made as long as they succeed. It takes 30 s at most.
        """
        subscription = await managed_subscription(request, principal, self._subscriptions)
        if subscription.spec.target.kind is Kind.PULL:
            raise Conflicting("The subscription has a pull target, which nobody calls; there is nothing to test.")
        body = await read_json(request) or b"{}"
        payload = await offload(request, lambda: _payload(body), size=len(body))
        if self._under_way[principal.key] >= MOST_OF_ONE:
            raise Busy(f"{MOST_OF_ONE} tests of {principal.name!r} are under way.")
        self._under_way[principal.key] += 1
        try:
            found = await self._samples.ask(subscription, payload, by=principal)
        except TooMany:
            raise Busy(f"{MOST} tests of subscription {subscription.id} are under way.") from None
        finally:
            self._under_way[principal.key] -= 1
            if not self._under_way[principal.key]:
                del self._under_way[principal.key]
        if found is None:
            raise Busy(
                "No worker has made the attempt: is a deliverer, or a worker of the subscription's app, running?"
            )
        return answer(found.encode())


def _payload(body: bytes) -> bytes:
    parse(SampleRequest, body)
    return raw_member(body, "payload") or b"{}"
