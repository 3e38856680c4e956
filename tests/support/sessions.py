"""Browsers that are signed in: what they send along, as plain requests."""

from __future__ import annotations

from collections.abc import Mapping
from http.cookies import Morsel, SimpleCookie
from typing import Any

from tests.support.product import Client

NAME = "signal-broker-session"


def read_cookie(headers: Mapping[str, str]) -> Morsel[str]:
    """Return the only cookie that an answer sets."""
    (cookie,) = SimpleCookie(headers["Set-Cookie"]).values()
    return cookie


class Browser:
    """A browser with a page of the console: its cookie, the CSRF token that the page knows, and who it is."""

    def __init__(self, client: Client, cookie: str, document: Any) -> None:
        self._client = client.caller("")
        self.cookie = cookie
        self.document = document
        self.headers = {"Cookie": cookie, "X-CSRF-Token": document["csrfToken"], "Sec-Fetch-Site": "same-origin"}

    async def request(self, method: str, path: str, **kwargs: Any) -> tuple[int, Mapping[str, str], Any]:
        """Send a request as a page of the console does; what is in *headers* takes the place of its own."""
        headers = {**self.headers, **kwargs.pop("headers", {})}
        sent = {name: value for name, value in headers.items() if value is not None}
        return await self._client.request(method, path, headers=sent, **kwargs)

    async def status(self, method: str, path: str, **kwargs: Any) -> int:
        """Return the status of the answer to a request."""
        return (await self.request(method, path, **kwargs))[0]


async def sign_in(client: Client, *, headers: Mapping[str, str] | None = None, **credential: str) -> Browser:
    """Return a browser that has signed in with ``token=``, or ``user=`` and ``password=``."""
    status, answered, body = await client.caller("").request(
        "POST", "/v1/session", json=credential, headers=headers or {}
    )
    assert status == 201, (status, body)
    cookie = read_cookie(answered)
    return Browser(client, f"{cookie.key}={cookie.value}", body)
