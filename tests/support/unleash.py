"""As much of Unleash's admin API as switches features off, on a free loopback port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

ADMIN_TOKEN = "user:1234567890abcdef"


class Unleash:
    """What `unleash` yields: `enabled` says which features are on in which environment.

    Args:
        features: The features of the project ``default``, all of which are on in ``production``.
    """

    def __init__(self, *features: str) -> None:
        self.base = ""
        self.enabled = {(feature, "production"): True for feature in features}
        self.calls = 0
        self.down = False

    async def _switch_off(self, request: web.Request) -> web.Response:
        self.calls += 1
        feature, environment = request.match_info["feature"], request.match_info["environment"]
        if self.down:
            return web.json_response({"name": "InternalError"}, status=500)
        if request.headers.get("Authorization") != ADMIN_TOKEN:
            return web.json_response({"name": "AuthenticationRequired"}, status=401)
        if request.body_exists and request.content_type != "application/json":
            return web.json_response({"name": "ContentTypeError"}, status=415)
        if (feature, environment) not in self.enabled:
            return web.json_response({"name": "NotFoundError"}, status=404)
        self.enabled[feature, environment] = False
        return web.Response(status=200)


@asynccontextmanager
async def unleash(*features: str) -> AsyncIterator[Unleash]:
    """Run it with *features* until the block is left."""
    served = Unleash(*features)
    app = web.Application()
    path = "/api/admin/projects/default/features/{feature}/environments/{environment}/off"
    app.router.add_post(path, served._switch_off)  # noqa: SLF001
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        served.base = f"http://{host}:{port}"
        yield served
    finally:
        await runner.cleanup()
