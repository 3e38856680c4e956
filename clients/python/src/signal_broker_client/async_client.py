"""The client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self, Unpack, cast

import httpx

from .documents import BatchResult, Match, Signal, Subscription
from .errors import Unreadable
from .events import EventReader, read_signal
from .requests import (
    Answer,
    Request,
    check_stream,
    explaining,
    read_answer,
    subscribing,
    tailing,
    throwing,
    throwing_batch,
)
from .retries import Retries
from .sessions import NOT_SENT, TAIL_TIMEOUT, Body, answer_of, encoded, headers_of, host_of, url_of
from .subscribing import SubscriptionOptions
from .throws import UNSET, Throw, ThrowOptions


class AsyncClient:
    """Calls a signal-broker. One client may be used by many tasks.

    A request is repeated if the connection fails, and if the server says 429, 500, 502, 503 or 504, when it asks for
    it. A throw has an idempotency key, so that a repeat is never a second signal.

    Args:
        url: Where the gateway is, for example ``https://signals.example``.
        token: A token of the API, or of an OpenID Connect issuer.
        patience: How many seconds a call takes at most, with all its attempts.
        timeout: How many seconds connecting, the beginning of an answer and its body may each take.
        http: An HTTP client to use, with certificates or proxies of its own; who made it closes it.
    """

    def __init__(
        self, url: str, token: str, *, patience: float = 60, timeout: float = 30, http: httpx.AsyncClient | None = None
    ) -> None:
        self._url = url_of(url)
        self._host = host_of(self._url)
        self._headers = headers_of(token)
        self._patience = patience
        self._timeout = timeout
        self._http = httpx.AsyncClient() if http is None else http
        self._is_own = http is None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections."""
        if self._is_own:
            await self._http.aclose()

    async def throw(
        self,
        name: str,
        payload: object = UNSET,
        *,
        headers: Mapping[str, str] | None = None,
        **options: Unpack[ThrowOptions],
    ) -> Signal:
        """Throw a signal and return it, once it is safe. *headers* are those of the signal that led to it, if one did.

        Raises:
            Refused: The server refuses it.
            Unavailable: It may have been accepted; to repeat it later, give it an `idempotency_key`.
            ValueError: It cannot be sent.
        """
        throw = Throw(name=name, payload=payload, **options)
        return cast(Signal, await self.send(throwing(throw).under(headers)))

    async def throw_batch(self, throws: Iterable[Throw]) -> list[BatchResult]:
        """Throw 1 to 1,000 signals and return the results in their order; a refused one does not affect the others.

        Raises:
            Refused, Unavailable: As `throw`.
        """
        return cast(dict[str, list[BatchResult]], await self.send(throwing_batch(throws)))["results"]

    async def subscribe(
        self,
        name: str,
        target: Mapping[str, object] | None = None,
        *,
        if_absent: bool = False,
        **options: Unpack[SubscriptionOptions],
    ) -> Subscription:
        """Subscribe *target* to a name or a pattern; the answer has the `secret` that signs webhooks, and only it.

        *if_absent*: if there is such a subscription already, return that one, as it is. This is for targets whose kind
        is `pull` or `queue`; the description tells apart what is else the same.

        Raises:
            Refused: The server refuses it.
            Unavailable: It may exist all the same.
        """
        return cast(Subscription, await self.send(subscribing(name, target, options, if_absent=if_absent)))

    async def explain(
        self, name: str, payload: object = UNSET, **options: Unpack[ThrowOptions]
    ) -> AsyncIterator[Match]:
        """Yield for each subscription whether it would get such a signal, and why; nothing is thrown.

        Raises:
            Refused, Unavailable: As `throw`.
        """
        throw, after = Throw(name=name, payload=payload, **options), None
        while True:
            page = cast(dict[str, object], await self.send(explaining(throw, after)))
            for match in cast(list[Match], page["matches"]):
                yield match
            after = cast(str | None, page.get("next"))
            if after is None:
                return

    async def tail(
        self, name: str | None = None, *, tenant_id: str | None = None, after_id: int | None = None
    ) -> AsyncIterator[Signal]:
        """Yield each signal that is recorded from now on, or after the signal *after_id*, until the caller stops.

        A connection that ends is made again, and goes on after the last signal. Some may then come twice.

        Raises:
            Refused: The server refuses it.
            Unavailable: For as long as the client is patient there was no connection.
        """
        last_id = None if after_id is None else str(after_id)
        retries = Retries(tailing(name, tenant_id, last_id), self._patience)
        while True:
            request = tailing(name, tenant_id, last_id)
            try:
                async with self._stream(request, TAIL_TIMEOUT) as answer:
                    pause = retries.after_status(answer.status_code, answer.headers.get("Retry-After"))
                    if answer.is_success:
                        check_stream(answer.headers.get("Content-Type", ""))
                        reader = EventReader()
                        async for piece in answer.aiter_bytes():
                            retries = Retries(request, self._patience)
                            for event in reader.read(piece):
                                if event.kind == "message":
                                    last_id = event.id
                                    yield read_signal(event.data)
                    elif pause is None:
                        read_answer(await self._read(answer, self._timeout), request)
            except httpx.DecodingError as error:
                raise Unreadable(f"the answer cannot be decoded: {error}") from None
            except httpx.TransportError as error:
                pause = retries.after_error(error, sent=False)
            await asyncio.sleep(retries.after_end() if pause is None else pause)

    async def send(self, request: Request) -> object:
        """Send *request* until there is an answer, and return its document.

        Raises:
            Refused, Unavailable: As `throw`.
        """
        retries = Retries(request, self._patience, host=self._host)
        while True:
            try:
                answer = await self._attempt(request, retries.limit(self._timeout + request.wait))
            except httpx.TransportError as error:
                pause = retries.after_error(error, sent=not isinstance(error, NOT_SENT))
            else:
                again = retries.after_status(answer.status, answer.retry_after)
                if again is None:
                    try:
                        return read_answer(answer, request)
                    except Unreadable as error:
                        again = retries.after_unreadable(error)
                pause = again
            await asyncio.sleep(pause)

    async def _attempt(self, request: Request, timeout: float) -> Answer:
        async with self._stream(request, httpx.Timeout(timeout)) as answer:
            return await self._read(answer, timeout)

    def _stream(self, request: Request, timeout: httpx.Timeout) -> AbstractAsyncContextManager[httpx.Response]:
        url, headers = self._url + request.path, encoded({**self._headers, **request.headers})
        return self._http.stream(request.method, url, content=request.content, headers=headers, timeout=timeout)

    async def _read(self, answer: httpx.Response, timeout: float) -> Answer:
        body = Body(timeout)
        try:
            async for piece in answer.aiter_bytes():
                body.add(piece)
        except httpx.DecodingError:
            return answer_of(answer, None)
        return answer_of(answer, bytes(body))
