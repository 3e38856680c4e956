"""``/v1/deliveries/redrive``: dead deliveries put back in bulk."""

from __future__ import annotations

from aiohttp import web

from broker.access import Permission
from broker.audit import AuditType
from broker.deliveries import Outcome, parse_delivery_id
from broker.names import is_pattern
from broker.settings import Settings
from broker.store.administration.audit import AuditStore
from broker.store.deliveries.redrives import RedriveStore
from gateway.auth import Authenticator, demand
from gateway.bodies import dump, parse, read_json
from gateway.native.bulk import bulk_snapshot, do_some, not_next, read_after, read_signal_filter
from gateway.routes import Route
from gateway.schemas import BulkResult
from gateway.schemas.deliveries import RedriveRequest


class RedrivesApi:
    """Redrives in bulk."""

    def __init__(self, redrives: RedriveStore, audit: AuditStore, auth: Authenticator, settings: Settings) -> None:
        self._redrives = redrives
        self._audit = audit
        self._auth = auth
        self._settings = settings

    @property
    def routes(self) -> list[Route]:
        """What this part of the API answers."""
        return [
            Route(
                "POST",
                "/v1/deliveries/redrive",
                self.redrive,
                "Redrive dead deliveries",
                {200: BulkResult},
                RedriveRequest,
            )
        ]

    async def redrive(self, request: web.Request) -> web.Response:
        """Put back the dead deliveries that are asked for and would be attempted, and answer how many they are.

        That is not what is owed to a subscription that is deleted or disabled, or of a signal that has expired. One
        request looks at 100,000 of them at most; where to go on is in the answer.
        """
        principal = await self._auth.principal(request)
        demand(principal, Permission.DELIVERIES)
        wanted = parse(RedriveRequest, await read_json(request, self._settings.max_body_bytes) or b"{}")
        if wanted.name is not None and not is_pattern(wanted.name):
            demand(principal, Permission.DELIVERIES, wanted.name)
        sought = read_signal_filter(wanted, principal)
        last, pace = read_after(wanted)
        try:
            after = (0, 0) if last is None else parse_delivery_id(last)
        except ValueError:
            raise not_next() from None
        if not wanted.dry_run:
            await self._audit.note(
                principal, AuditType.DELIVERIES_REDRIVEN, wanted.subscription_id or 0, after=bulk_snapshot(wanted)
            )
        chunks = self._redrives.redrive(
            sought,
            pace,
            subscription_id=wanted.subscription_id,
            outcome=None if wanted.outcome is None else Outcome(wanted.outcome),
            after=after,
            dry_run=wanted.dry_run,
        )
        return web.Response(body=dump(await do_some(chunks, pace)), content_type="application/json")
