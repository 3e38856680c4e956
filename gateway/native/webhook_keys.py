"""``/v1/webhook-keys``: what receivers verify ``v1a`` signatures with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from aiohttp import web

from broker.access import Permission
from broker.settings import Settings
from broker.store.administration.webhook_keys import WebhookKey, WebhookKeyStore
from gateway.auth import Authenticator, demand
from gateway.bodies import dump, parse, read_json
from gateway.routes import Route
from gateway.schemas.subscriptions import RotationRequest, WebhookKeyList, WebhookKeySchema


class WebhookKeysApi:
    """Shows the public keys to everybody, and lets administrators rotate them."""

    def __init__(self, keys: WebhookKeyStore, auth: Authenticator, settings: Settings) -> None:
        self._keys = keys
        self._auth = auth
        self._settings = settings

    @property
    def routes(self) -> list[Route]:
        """What this part of the API answers."""
        return [
            Route(
                "GET",
                "/v1/webhook-keys",
                self.list,
                "List webhook keys",
                {200: WebhookKeyList},
                secured=False,
            ),
            Route(
                "POST",
                "/v1/webhook-keys/rotate",
                self.rotate,
                "Rotate the webhook key",
                {200: WebhookKeyList},
                RotationRequest,
            ),
        ]

    async def list(self, _request: web.Request) -> web.Response:
        """Answer the keys that sign now. Public keys are for everybody: no credentials are needed."""
        return _answer(await self._keys.valid())

    async def rotate(self, request: web.Request) -> web.Response:
        """Make a new key and answer those that sign now; the one before it does until the grace is over."""
        demand(await self._auth.principal(request), Permission.ADMIN)
        wanted = parse(RotationRequest, await read_json(request, self._settings.max_body_bytes) or b"{}")
        return _answer(await self._keys.rotate(timedelta(seconds=wanted.grace_seconds)))


def _answer(keys: Sequence[WebhookKey]) -> web.Response:
    items = [
        WebhookKeySchema(id=key.id, public_key=key.public_key, created_at=key.created_at, valid_until=key.valid_until)
        for key in keys
    ]
    return web.Response(body=dump(WebhookKeyList(items=items)), content_type="application/json")
