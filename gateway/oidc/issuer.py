"""Tokens of an OpenID Connect issuer (JWT, RFC 7519), verified once and remembered until they expire."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import jwt
from cachetools import LRUCache

from broker.access import Principal, digest
from broker.settings import Settings
from gateway.oidc.claims import read_principal
from gateway.oidc.keys import ALGORITHMS, IssuerKeys

LONGEST = 8_000
"""Characters of a token: more do not fit into a header."""
LEEWAY = 10
"""Seconds by which the clocks of the issuer and of the gateway may differ."""
_REMEMBERED = 10_000

_UNREADABLE = (jwt.PyJWTError, ValueError, TypeError, RecursionError)
"""What a token may raise that is made to be wrong."""


class _Verified(NamedTuple):
    principal: Principal | None
    ends_at: float
    generation: int


class Issuer:
    """Knows the callers with tokens of the issuer in the settings.

    Args:
        keys: Its keys.
        settings: They say which issuer, which audience, and what its claims mean.
        clock: Seconds since 1970.
    """

    def __init__(self, keys: IssuerKeys, settings: Settings, *, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._settings = settings
        self._clock = clock
        self._verified: LRUCache[bytes, _Verified] = LRUCache(_REMEMBERED)

    async def principal(self, token: str) -> Principal | None:
        """Return the principal of *token*; None unless it is one of the issuer for us, and good now.

        Raises:
            IssuerUnavailable: It may be signed with a key that is not known, and the issuer does not answer.
        """
        key = digest(token)
        known = self._verified.get(key)
        if known is not None and self._clock() < known.ends_at and known.generation == self._keys.generation:
            return known.principal
        claims = await self._verify(token)
        if claims is None:
            return None
        principal = read_principal(claims, self._settings)
        self._verified[key] = _Verified(principal, int(claims["exp"]) + LEEWAY, self._keys.generation)
        return principal

    def ends_at(self, token: str) -> datetime:
        """Return until when *token* is good, of which `principal` has just answered the principal."""
        return datetime.fromtimestamp(self._verified[digest(token)].ends_at, UTC)

    async def _verify(self, token: str) -> dict[str, Any] | None:
        """Return the claims of *token*, if the issuer has signed it, and it is for us, and good now."""
        if len(token) > LONGEST:
            return None
        try:
            header = jwt.get_unverified_header(token)
        except _UNREADABLE:
            return None
        algorithm, key_id = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            return None
        if not isinstance(key_id, str | None) or "crit" in header:
            return None
        for key in await self._keys.find(key_id, algorithm):
            try:
                return jwt.decode(
                    token,
                    key,
                    algorithms=[algorithm],
                    audience=self._settings.oidc_audience,
                    issuer=self._settings.oidc_issuer,
                    leeway=LEEWAY,
                    options={"require": ["exp", "iss", "aud", "sub"]},
                )
            except _UNREADABLE:
                continue
        return None


@asynccontextmanager
async def open_issuer(settings: Settings) -> AsyncIterator[Issuer | None]:
    """Yield the issuer in the *settings*, None without one."""
    if not settings.oidc_issuer:
        yield None
        return
    async with IssuerKeys(settings.oidc_issuer, settings.oidc_jwks_url) as keys:
        yield Issuer(keys, settings)
