"""Users that sign in with their names and passwords."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from tests.support.product import Client
from tests.support.throwing import fresh_id

PASSWORD = "correct:horse ÄÖ"


def header(name: str, password: str = PASSWORD, scheme: str = "Basic ") -> dict[str, str]:
    """Return the header of a user."""
    return {"Authorization": scheme + b64encode(f"{name}:{password}".encode()).decode()}


class Caller:
    """Calls as a user."""

    def __init__(self, client: Client, name: str, password: str = PASSWORD) -> None:
        self._client = client.caller("")
        self.headers = header(name, password)

    async def request(self, method: str, path: str, **kwargs: Any) -> tuple[int, Mapping[str, str], Any]:
        """Send a request as the user."""
        return await self._client.request(method, path, headers=self.headers, **kwargs)

    async def throw(self, name: str, path: str = "/engine-rest/signal", **spec: Any) -> tuple[int, Any]:
        """Return the status and the body of a throw."""
        status, _, body = await self.request("POST", path, json={"name": name, **spec})
        return status, body


async def create(client: Client, *permissions: str, **spec: Any) -> Any:
    """Return a new user."""
    document = {"name": fresh_id("user"), "password": PASSWORD, "permissions": list(permissions), **spec}
    return await client.post("/v1/users", document, expect=201)
