"""The keys of an OpenID Connect issuer: fetched, kept, and fetched again when it rotates them."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import structlog
from aiohttp import ClientError, ClientSession, ClientTimeout
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK, PyJWTError

from broker import metrics
from broker.errors import SignalBrokerError
from broker.reasons import named_reason_of

ALGORITHMS: Mapping[str, tuple[str, str | None]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", None)),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""The algorithms that are accepted, all with public keys, and the kind and the curve of their keys."""
RENEWED_EVERY = timedelta(minutes=10)
"""So a key that the issuer takes back is not accepted for longer."""
ASKED_EVERY = timedelta(seconds=10)
"""How often the issuer is asked at most because of keys that are not known."""
_TIMEOUT = ClientTimeout(total=5)
_MOST_BYTES = 256 << 10
_MOST_KEYS = 50
_LEAST_RSA_BITS = 2048

Jwk = Mapping[str, Any]

log = structlog.get_logger()


class IssuerUnavailable(SignalBrokerError):
    """Raised when the issuer's keys cannot be fetched, and a key that is needed is not known."""


class IssuerKeys:
    """The keys of *issuer*, an URL. An async context manager, in which they are renewed.

    Those that are known are used while the issuer does not answer.

    Args:
        issuer: Its discovery document says where its keys are, unless *jwks_url* does.
        jwks_url: Where its keys are (JWKS); empty: as discovered.
        renewed: Whether they are fetched at once, and renewed.
        clock: Monotonic seconds.
    """

    def __init__(
        self, issuer: str, jwks_url: str = "", *, renewed: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._issuer = issuer
        self._jwks_url = jwks_url
        self._renewed = renewed
        self._clock = clock
        self._renewing: asyncio.Task[None] | None = None
        self._keys: list[tuple[str | None, PyJWK]] = []
        self._document: object = None
        self._asked_at: float | None = None
        self._is_available = False
        self._asking: asyncio.Task[None] | None = None
        self.generation = 0
        """Another number once the keys are others."""

    async def __aenter__(self) -> Self:
        self._session = ClientSession(timeout=_TIMEOUT)
        if self._renewed:
            self._renewing = asyncio.create_task(self._renew(), name="issuer-keys")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [task for task in (self._renewing, self._asking) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._session.close()

    async def find(self, key_id: str | None, algorithm: str) -> Sequence[PyJWK]:
        """Return the keys with that id, or all if it is None, that *algorithm* can be used with.

        Raises:
            IssuerUnavailable: None is known, and the issuer does not answer.
        """
        found = self._choose(key_id, algorithm)
        if found:
            return found
        if self._asking is not None or self._may_ask():
            await self._ask()
            found = self._choose(key_id, algorithm)
        if not found and not self._is_available:
            raise IssuerUnavailable("The issuer of tokens does not answer.")
        return found

    def _choose(self, key_id: str | None, algorithm: str) -> list[PyJWK]:
        return [
            key
            for its_id, key in self._keys
            if key.algorithm_name == algorithm and (key_id is None or its_id == key_id)
        ]

    def _may_ask(self) -> bool:
        return self._asked_at is None or self._clock() - self._asked_at >= ASKED_EVERY.total_seconds()

    async def _renew(self) -> None:
        while True:
            await self._ask()
            await asyncio.sleep(RENEWED_EVERY.total_seconds() * random.uniform(0.9, 1.1))  # noqa: S311

    async def _ask(self) -> None:
        """Fetch the keys; callers that come at once share the answer."""
        if self._asking is None:
            self._asked_at = self._clock()
            self._asking = asyncio.create_task(self._fetch())
            self._asking.add_done_callback(self._end_asking)
        await asyncio.shield(self._asking)

    def _end_asking(self, _: asyncio.Task[None]) -> None:
        self._asking = None

    async def fetch(self) -> tuple[object, list[tuple[str | None, PyJWK]]]:
        """Return the document with the issuer's keys as it is now, and the keys in it.

        Raises:
            IssuerUnavailable: It does not answer, or not with its keys.
        """
        try:
            document = await self._get(self._jwks_url or await self._discover())
            return document, read_keys(document)
        except (ClientError, OSError, ValueError, RecursionError) as error:  # a timeout is an OSError
            raise IssuerUnavailable(named_reason_of(error)) from error

    async def _fetch(self) -> None:
        try:
            document, keys = await self.fetch()
        except IssuerUnavailable as error:
            self._is_available = False
            metrics.ISSUER_AVAILABLE.set(0)
            log.warning("issuer.unavailable", issuer=self._issuer, error=str(error))
            return
        self._is_available = True
        metrics.ISSUER_AVAILABLE.set(1)
        if document != self._document:
            self._document, self._keys = document, keys
            self.generation += 1
            log.info("issuer.keys_changed", issuer=self._issuer, keys=sorted({str(key_id) for key_id, _ in keys}))

    async def _discover(self) -> str:
        document = await self._get(self._issuer.rstrip("/") + "/.well-known/openid-configuration")
        if document.get("issuer") != self._issuer:
            raise ValueError(f"the discovery document is of another issuer: {document.get('issuer')!r}")
        url = document.get("jwks_uri")
        if not isinstance(url, str) or urlsplit(url).scheme not in {"https", urlsplit(self._issuer).scheme}:
            raise ValueError(f"the discovery document has no usable jwks_uri: {url!r}")
        return url

    async def _get(self, url: str) -> dict[str, Any]:
        async with self._session.get(url, allow_redirects=False, headers={"Accept": "application/json"}) as response:
            if response.status != 200:
                raise ValueError(f"{url} answers {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > _MOST_BYTES:
                    raise ValueError(f"{url} answers more than {_MOST_BYTES} bytes")
        document = json.loads(body)
        if not isinstance(document, dict):
            raise ValueError(f"{url} answers no JSON object")  # noqa: TRY004  (its contents are wrong)
        return document


def read_keys(document: Mapping[str, Any]) -> list[tuple[str | None, PyJWK]]:
    """Return the public keys of a JWKS *document* that can verify tokens, with their ids; others are left out.

    A key without `alg` is there once for each algorithm that it fits.

    Raises:
        ValueError: It is no JWKS.
    """
    keys = document.get("keys")
    if not isinstance(keys, list):
        raise ValueError("the JWKS has no keys")  # noqa: TRY004  (its contents are wrong)
    return [pair for jwk in keys[:_MOST_KEYS] if isinstance(jwk, dict) for pair in _read_key(jwk)]


def _read_key(jwk: Jwk) -> list[tuple[str | None, PyJWK]]:
    key_id = jwk.get("kid")
    is_public = "d" not in jwk and "k" not in jwk
    verifies = jwk.get("use", "sig") == "sig" and "verify" in jwk.get("key_ops", ["verify"])
    if not is_public or not verifies or not isinstance(key_id, str | None):
        return []
    read = []
    for algorithm, (kind, curve) in ALGORITHMS.items():
        if jwk.get("kty") == kind and jwk.get("crv") == curve and jwk.get("alg", algorithm) == algorithm:
            try:
                key = PyJWK(dict(jwk), algorithm)
            except (PyJWTError, ValueError, TypeError):
                continue
            if not isinstance(key.key, RSAPublicKey) or key.key.key_size >= _LEAST_RSA_BITS:
                read.append((key_id, key))
    return read
