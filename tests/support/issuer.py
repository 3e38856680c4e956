"""An OpenID Connect issuer on a free loopback port: it has real keys, rotates them, and can be away."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

AUDIENCE = "signal-broker"

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

_RSA = rsa.generate_private_key(65537, 2048)


def make_key(algorithm: str) -> PrivateKey:
    """Return a private key for *algorithm*; making RSA keys takes long, so there is one of these."""
    match algorithm[:2]:
        case "ES":
            curve = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}[algorithm]
            return ec.generate_private_key(curve())
        case "Ed":
            return ed25519.Ed25519PrivateKey.generate()
        case _:
            return _RSA


def public_jwk(key: PrivateKey) -> dict[str, Any]:
    """Return the public half of *key* as a JWK without an id."""
    kinds = {rsa.RSAPrivateKey: RSAAlgorithm, ec.EllipticCurvePrivateKey: ECAlgorithm}
    of_kind = next((one for kind, one in kinds.items() if isinstance(key, kind)), OKPAlgorithm)
    return json.loads(of_kind.to_jwk(key.public_key()))  # type: ignore[no-any-return]


class FakeIssuer:
    """What `issuer` yields.

    Attributes:
        url: Its `iss`.
        jwks: What it answers as its keys.
        away: Whether it answers 500 to everything.
        asked: How often each path was asked for.
    """

    def __init__(self) -> None:
        self.url = ""
        self.jwks: dict[str, Any] = {"keys": []}
        self.discovery: dict[str, Any] = {}
        self.away = False
        self.asked: Counter[str] = Counter()
        self._keys: dict[str, tuple[str, PrivateKey]] = {}

    def add(self, key_id: str, algorithm: str = "ES256", **members: Any) -> None:
        """Have a new key, with further *members* of its JWK."""
        key = make_key(algorithm)
        self._keys[key_id] = algorithm, key
        self.jwks["keys"].append({**public_jwk(key), "kid": key_id, "use": "sig", **members})

    def remove(self, key_id: str) -> None:
        """Take a key back; tokens can still be signed with it."""
        self.jwks["keys"] = [jwk for jwk in self.jwks["keys"] if jwk["kid"] != key_id]

    def claims(self, **others: Any) -> dict[str, Any]:
        """Return claims of a good token, and *others*; those that are None are left out."""
        now = int(time.time())
        good = {"iss": self.url, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 600}
        return {name: value for name, value in {**good, **others}.items() if value is not None}

    def sign(self, key_id: str = "first", *, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """Return a token with *claims* besides those of a good one, signed with that key."""
        algorithm, key = self._keys[key_id]
        every = {"kid": key_id, **(headers or {})}
        given = {name: value for name, value in every.items() if value is not None}
        return jwt.encode(self.claims(**claims), key, algorithm, headers=given)

    async def answer(self, request: web.Request) -> web.Response:
        """Answer a request."""
        self.asked[request.path] += 1
        if self.away:
            return web.Response(status=500)
        if request.path == "/jwks":
            return web.json_response(self.jwks)
        return web.json_response({"issuer": self.url, "jwks_uri": f"{self.url}/jwks", **self.discovery})


@asynccontextmanager
async def issuer() -> AsyncIterator[FakeIssuer]:
    """Yield an issuer with the key `first`."""
    fake = FakeIssuer()
    app = web.Application()
    app.router.add_get("/{path:.*}", fake.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        fake.add("first")
        yield fake
    finally:
        await runner.cleanup()
