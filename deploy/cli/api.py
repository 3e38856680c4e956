"""The HTTP API, as commands call it."""

from __future__ import annotations

import functools
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec
from urllib.parse import quote

import click
from aiohttp import (
    BaseConnector,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    StreamReader,
    TCPConnector,
    UnixConnector,
)

from broker.jsonparts import raw_elements, raw_member
from broker.jsontext import read
from deploy.cli.loop import run_async
from deploy.cli.problems import ANSWER_SECONDS, CONNECT_SECONDS, ApiError, explain_failure, read_problem, read_refusal
from deploy.cli.products import Product, find_remote, find_token, given_options, with_product

P = ParamSpec("P")
Query = Mapping[str, str | int | None]

_TIMEOUT = ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=ANSWER_SECONDS)
_PAGE = 1000
_JSON = "application/json"
_EVENTS = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API answered.

    Args:
        body: JSON as it was sent; empty: nothing.
        headers: The headers.
    """

    body: bytes
    headers: Mapping[str, str]

    @property
    def document(self) -> dict[str, Any]:
        """The body, as an object."""
        document: dict[str, Any] = read(self.body.decode())
        return document


@dataclass(frozen=True, slots=True)
class Page:
    """Items of a list.

    Args:
        items: Each as it was sent, as JSON.
        next: Where the next page goes on; None: there is none.
    """

    items: list[bytes]
    next: str | None

    @property
    def documents(self) -> list[dict[str, Any]]:
        """The items, as objects."""
        return [read(item.decode()) for item in self.items]

    def only(self, wanted: Callable[[dict[str, Any]], bool]) -> Page:
        """Return the page with the *wanted* items."""
        return Page([item for item in self.items if wanted(read(item.decode()))], self.next)


class Api:
    """Calls the API of a product. Every error is one sentence that says what to do."""

    def __init__(self, session: ClientSession, product: Product, find: Callable[[], Product | None]) -> None:
        self._session = session
        self._find = find
        self.product = product

    def find_again(self) -> None:
        """Look where the product is now: one that runs on this machine has another token after a restart."""
        self.product = self._find() or self.product

    def visible_url(self, url: str) -> str:
        """Return *url* of the product as it may be shown: only its path, where no one else could call it."""
        return url if self.product.socket is None else url.removeprefix(self.product.url)

    async def get(self, path: str, query: Query | None = None) -> Answer:
        """Return what is at *path*."""
        return await self.call("GET", path, query=query)

    async def post(
        self,
        path: str,
        document: object = None,
        *,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Post *document*, or nothing."""
        return await self.call("POST", path, document, query=query, headers=headers)

    async def page(
        self, path: str, query: Query | None = None, document: object = None, *, member: str = "items"
    ) -> Page:
        """Return a page of a list; it is asked for with *document*, if there is one."""
        answer = await self.call("GET" if document is None else "POST", path, document, query=query)
        items = raw_member(answer.body, member)
        if items is None:
            raise ApiError(f"{self.product.url} answered with no list of signal-broker; is the URL right?")
        return Page(raw_elements(items), answer.document["next"])

    async def pages(
        self,
        path: str,
        query: Query | None = None,
        document: object = None,
        *,
        limit: int | None = None,
        member: str = "items",
        after: str = "afterId",
    ) -> Page:
        """Return the first *limit* items of a list, all of them without one, however many pages that takes."""
        items: list[bytes] = []
        following: dict[str, str | int | None] = {}
        while True:
            size = _PAGE if limit is None else min(_PAGE, limit - len(items))
            page = await self.page(path, {**(query or {}), **following, "limit": size}, document, member=member)
            items += page.items
            if page.next is None or (limit is not None and len(items) >= limit):
                return Page(items, page.next)
            following = {after: page.next}

    async def call(
        self,
        method: str,
        path: str,
        document: object = None,
        *,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request and return the answer, if that is a success.

        Args:
            method: Its method.
            path: Its path, encoded.
            document: The body: JSON as bytes, or what is written as JSON; None: there is no body.
            query: Parameters; those without a value are left out.
            headers: Further headers.

        Raises:
            ApiError: The product refused it, did not answer, or is none.
        """
        body = document if isinstance(document, bytes | None) else json.dumps(document).encode()
        given = dict(headers or {}) | ({} if body is None else {"Content-Type": _JSON})
        try:
            async with self._request(method, path, query, given, body) as response:
                text = await response.read()
        except (ClientError, TimeoutError) as error:
            raise ApiError(explain_failure(error, self.product)) from error
        if 200 <= response.status < 300 and (not text or (_is_json(response) and text[:1] == b"{")):
            return Answer(text, response.headers)
        raise self._refusal(response, text, f"{method} {path}")

    @asynccontextmanager
    async def stream(self, path: str, query: Query, *, headers: Mapping[str, str]) -> AsyncIterator[StreamReader]:
        """Yield the server-sent events at *path*, once the answer has begun.

        Reading them raises `ClientError` when the connection is lost, and `TimeoutError` when nothing comes.

        Raises:
            ApiError: The product refused it, did not answer, or is none.
        """
        async with AsyncExitStack() as stack:
            try:
                response = await stack.enter_async_context(
                    self._request("GET", path, query, {**headers, "Accept": _EVENTS})
                )
                is_stream = response.status == 200 and response.content_type == _EVENTS
                text = await response.read() if _is_json(response) else b""
            except (ClientError, TimeoutError) as error:
                raise ApiError(explain_failure(error, self.product)) from error
            if not is_stream:
                raise self._refusal(response, text, f"GET {path}")
            yield response.content

    def _request(
        self, method: str, path: str, query: Query | None, headers: Mapping[str, str], body: bytes | None = None
    ) -> AbstractAsyncContextManager[ClientResponse]:
        token = self.product.token
        return self._session.request(
            method,
            self.product.url + path,
            data=body,
            params={name: str(value) for name, value in (query or {}).items() if value is not None},
            headers={**headers, **({} if token is None else {"Authorization": f"Bearer {token}"})},
            allow_redirects=False,
            proxy=_proxy(self.product),
        )

    def _refusal(self, response: ClientResponse, body: bytes, request: str) -> ApiError:
        return read_refusal(response, read_problem(body) if _is_json(response) else None, self.product, request)


@asynccontextmanager
async def open_api(product: Product, find: Callable[[], Product | None] = lambda: None) -> AsyncIterator[Api]:
    """Yield the API of *product*; *find* looks for it once more."""
    headers = {"Accept": _JSON, "User-Agent": "signal-broker"}
    connector: BaseConnector
    if product.socket is not None:
        connector = UnixConnector(str(product.socket))
    elif product.url.startswith("https:"):
        connector = TCPConnector(ssl=ssl.create_default_context())
    else:
        connector = TCPConnector()
    # A request without a body has no Content-Type either, which aiohttp would make up.
    session = ClientSession(connector=connector, headers=headers, timeout=_TIMEOUT, skip_auto_headers=("Content-Type",))
    async with session:
        yield Api(session, product, find)


def with_api(
    *, declare: bool = False, seals: bool = False, without: Collection[str] = ()
) -> Callable[[Callable[Concatenate[Api, P], Coroutine[Any, Any, None]]], Callable[P, None]]:
    """Return a decorator for a command that is called with the API of the product that it is about.

    Args:
        declare: Whether it needs the topology, if it is called beside the store and the transport alone.
        seals: Whether it needs the key ring then.
        without: The options of `with_product` that it does not have after its name.
    """

    def decorate(command: Callable[Concatenate[Api, P], Coroutine[Any, Any, None]]) -> Callable[P, None]:
        @functools.wraps(command)
        def called(*args: P.args, **kwargs: P.kwargs) -> None:
            run_with_api(lambda api: command(api, *args, **kwargs), declare=declare, seals=seals)

        return with_product(called, without=without)

    return decorate


def run_with_api(work: Callable[[Api], Awaitable[None]], *, declare: bool = False, seals: bool = False) -> None:
    """Run *work* with the API of the product that the command is about."""

    async def call(product: Product, find: Callable[[], Product | None] = lambda: None) -> None:
        async with open_api(product, find) as api:
            await work(api)

    product = find_remote()
    if product is not None:
        run_async(call(product))
        return
    # With a URL a command starts in a third of the time, without what only a product needs.
    from deploy.cli.backends import settings_with_logs  # noqa: PLC0415
    from deploy.cli.running import find_running  # noqa: PLC0415

    settings = settings_with_logs(quiet=True)

    def find() -> Product | None:
        running = find_running(settings)
        return None if running is None else Product(running.url, find_token() or running.token, local=True)

    product = find()
    if product is not None:
        run_async(call(product, find))
        return
    if "token" in given_options(click.get_current_context()):
        raise click.UsageError("--token needs a --url: no signal-broker runs on this data directory")
    from deploy.cli.direct import run_beside  # noqa: PLC0415

    run_beside(settings, call, declare=declare, seals=seals)


def segment(text: object) -> str:
    """Return *text* as one segment of a path."""
    return quote(str(text), safe="")


def _is_json(response: ClientResponse) -> bool:
    return response.content_type.endswith("json")


def _proxy(product: Product) -> str | None:
    """Return the proxy that the environment names for *product*."""
    if product.local:
        return None
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415

    scheme, _, rest = product.url.partition("://")
    if proxy_bypass(rest.partition("/")[0]):
        return None
    return getproxies().get(scheme)
