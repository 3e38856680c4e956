"""``/v1/subscriptions/{id}/lease`` and ``/v1/leases``: callers take deliveries of pull targets, and give them back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from aiohttp import web

from broker.access import Permission, Principal, digest, require_pattern
from broker.deliveries import Outcome
from broker.errors import InvalidField
from broker.moments import show_moment
from broker.names import check_id
from broker.operations.answers import render_signal
from broker.operations.leases import Leasing, Sought, duration_of
from broker.schemas.leases import (
    ExtensionRequest,
    FailRequest,
    LeaseAnswer,
    LeaseRequest,
    LeaseResult,
    LeaseResults,
    LeasesRequest,
)
from broker.store.deliveries.leases import Lease, Settled
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.targets import Kind
from gateway.answers import answer
from gateway.auth import Authenticator
from gateway.bodies import read_document
from gateway.http_errors import Conflicting
from gateway.long_polls import check_room, may_go_on
from gateway.native.subscriptions import owned_subscription
from gateway.offloading import offload
from gateway.routes import Route, SecuredRoute


class LeasesApi:
    """Leases deliveries, and acknowledges, fails, returns and extends leases."""

    def __init__(self, subscriptions: SubscriptionStore, leasing: Leasing, auth: Authenticator) -> None:
        self._subscriptions = subscriptions
        self._leasing = leasing
        self._auth = auth

    @property
    def routes(self) -> list[Route]:
        """The routes of this part of the API."""
        managing = (Permission.DELIVERIES,)
        return [
            SecuredRoute(
                "POST",
                "/v1/subscriptions/{id}/lease",
                self.lease,
                "Lease deliveries",
                {200: LeaseAnswer},
                LeaseRequest,
                permissions=(Permission.DELIVERIES, Permission.READ),
                refusals=(409,),
                may_be_bare=True,
            ),
            SecuredRoute(
                "POST",
                "/v1/leases/ack",
                self.acknowledge,
                "Acknowledge leases",
                {200: LeaseResults},
                LeasesRequest,
                permissions=managing,
            ),
            SecuredRoute(
                "POST",
                "/v1/leases/fail",
                self.fail,
                "Fail leases",
                {200: LeaseResults},
                FailRequest,
                permissions=managing,
            ),
            SecuredRoute(
                "POST",
                "/v1/leases/return",
                self.return_unused,
                "Return leases unused",
                {200: LeaseResults},
                LeasesRequest,
                permissions=managing,
            ),
            SecuredRoute(
                "POST",
                "/v1/leases/extend",
                self.extend,
                "Extend leases",
                {200: LeaseResults},
                ExtensionRequest,
                permissions=managing,
            ),
        ]

    async def lease(self, request: web.Request, principal: Principal) -> web.Response:
        """Lease deliveries of a subscription with a pull target, and wait for the first one if there is none.

        Each is an attempt, which ends with the lease: acknowledged, failed, or timed out.
        """
        subscription = await owned_subscription(request, principal, self._subscriptions)
        for permission in (Permission.DELIVERIES, Permission.READ):
            require_pattern(principal, permission, subscription.spec.name)
        wanted = await read_document(request, LeaseRequest, optional=True)
        if subscription.spec.target.kind is not Kind.PULL:
            kind = subscription.spec.target.kind.value
            raise Conflicting(f"The subscription's target is a {kind}; only deliveries to a pull target are leased.")
        worker = None if wanted.worker is None else check_id(wanted.worker, "/worker")
        wait = timedelta(seconds=wanted.wait_seconds)
        check_room(self._leasing, wait, principal)
        duration = None if wanted.lease_seconds is None else timedelta(seconds=wanted.lease_seconds)
        leases = await self._leasing.lease(
            Sought.of({subscription.id: duration_of(subscription, duration)}),
            most=wanted.max,
            wait=wait,
            worker=worker,
            caller=principal.key,
            may_go_on=partial(self._may_go_on, request, principal, subscription.id),
        )
        size = sum(len(lease.claimed.signal.throw.payload) for lease in leases)
        return answer(await offload(request, lambda: _render(leases), size=size))

    async def _may_go_on(self, request: web.Request, principal: Principal, subscription_id: int) -> bool:
        """Return whether a caller may, and the subscription is there; those who wait are told when it is deleted."""
        if await self._subscriptions.get(subscription_id) is None:
            return False
        return await may_go_on(request, principal, self._auth.principal_or_session)

    async def acknowledge(self, request: web.Request, principal: Principal) -> web.Response:
        """Say that attempts have succeeded: their deliveries are delivered. Each token has its own result."""
        tokens = (await read_document(request, LeasesRequest)).lease_tokens
        return _answer(tokens, await self._leasing.acknowledge(list(map(digest, tokens)), by=principal))

    async def fail(self, request: web.Request, principal: Principal) -> web.Response:
        """Say that attempts have failed: others follow, if the schedule has any left. Each token has its own result."""
        wanted = await read_document(request, FailRequest)
        outcome, retry_after = _failure(wanted)
        settled = await self._leasing.fail(
            list(map(digest, wanted.lease_tokens)), outcome, retry_after=retry_after, error=wanted.error, by=principal
        )
        return _answer(wanted.lease_tokens, settled)

    async def return_unused(self, request: web.Request, principal: Principal) -> web.Response:
        """Say that attempts were not made: others may lease the deliveries at once. Each token has its own result.

        The attempts count for neither the schedule nor `maxAttempts`.
        """
        tokens = (await read_document(request, LeasesRequest)).lease_tokens
        return _answer(tokens, await self._leasing.return_unused(list(map(digest, tokens)), by=principal))

    async def extend(self, request: web.Request, principal: Principal) -> web.Response:
        """Let leases last for `leaseSeconds` from now on. Each token has its own result."""
        wanted = await read_document(request, ExtensionRequest)
        duration = timedelta(seconds=wanted.lease_seconds)
        digests = list(map(digest, wanted.lease_tokens))
        return _answer(wanted.lease_tokens, await self._leasing.extend(digests, duration, by=principal))


def _failure(wanted: FailRequest) -> tuple[Outcome, timedelta | None]:
    """Return how attempts failed, and how long to wait at least before the next ones.

    Raises:
        InvalidField: Members contradict each other.
    """
    if wanted.give_up and wanted.retry_after_seconds is not None:
        raise InvalidField("/retryAfterSeconds", "cannot be given together with giveUp: no attempt follows")
    if wanted.outcome is not None and (wanted.give_up or wanted.retry_after_seconds is not None):
        other = "giveUp" if wanted.give_up else "retryAfterSeconds"
        raise InvalidField("/outcome", f"cannot be given together with {other}, which says the outcome")
    if wanted.give_up:
        return Outcome.GIVEN_UP, None
    if wanted.retry_after_seconds is not None:
        return Outcome.THROTTLED, timedelta(seconds=wanted.retry_after_seconds)
    return Outcome(wanted.outcome or Outcome.REFUSED), None


def _answer(tokens: Sequence[str], settled: Settled) -> web.Response:
    errors = {token: settled.errors[digest(token)] for token in tokens}
    return answer(
        LeaseResults(
            results=[LeaseResult(lease_token=one, ok=errors[one] is None, error=errors[one]) for one in tokens]
        )
    )


def _render(leases: Sequence[Lease]) -> bytes:
    """Return a `LeaseAnswer`, with the payloads byte for byte as they were sent."""
    return b'{"deliveries":[' + b",".join(map(_render_one, leases)) + b"]}"


def _render_one(lease: Lease) -> bytes:
    trace = lease.claimed.signal.throw.trace
    members = {
        "deliveryId": lease.claimed.due.delivery_id,
        "leaseToken": lease.token,
        "attempt": lease.claimed.due.attempt,
        "leasedUntil": show_moment(lease.until),
        "traceparent": None if trace is None else trace.traceparent,
        "tracestate": None if trace is None else trace.tracestate,
    }
    return json.dumps(members).encode()[:-1] + b',"signal":' + render_signal(lease.claimed.signal) + b"}"
