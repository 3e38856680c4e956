"""The HTTP API, as commands call it."""

from __future__ import annotations

import functools
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Mapping
from contextlib import asynccontextmanager
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

    def __init__(self, session: ClientSession, product: Product) -> None:
        self._session = session
        self.product = product

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
        parameters = {name: str(value) for name, value in (query or {}).items() if value is not None}
        try:
            async with self._session.request(
                method,
                self.product.url + path,
                data=body,
                params=parameters,
                headers=given,
                allow_redirects=False,
                proxy=_proxy(self.product),
            ) as response:
                text = await response.read()
        except (ClientError, TimeoutError) as error:
            raise ApiError(explain_failure(error, self.product)) from error
        return self._judge(response, text, f"{method} {path}")

    def _judge(self, response: ClientResponse, body: bytes, request: str) -> Answer:
        is_json = response.content_type.endswith("json")
        if 200 <= response.status < 300 and (not body or (is_json and body[:1] == b"{")):
            return Answer(body, response.headers)
        raise read_refusal(response, read_problem(body) if is_json else None, self.product, request)


@asynccontextmanager
async def open_api(product: Product) -> AsyncIterator[Api]:
    """Yield the API of *product*."""
    headers = {"Accept": _JSON, "User-Agent": "signal-broker"}
    if product.token is not None:
        headers["Authorization"] = f"Bearer {product.token}"
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
        yield Api(session, product)


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

    async def call(product: Product) -> None:
        async with open_api(product) as api:
            await work(api)

    product = find_remote()
    if product is not None:
        run_async(call(product))
        return
    # With a URL a command starts in a third of the time, without what only a product needs.
    from deploy.cli.backends import settings_with_logs  # noqa: PLC0415
    from deploy.cli.running import find_running  # noqa: PLC0415

    settings = settings_with_logs(quiet=True)
    running = find_running(settings)
    if running is not None:
        run_async(call(Product(running.url, find_token() or running.token, local=True)))
        return
    if "token" in given_options(click.get_current_context()):
        raise click.UsageError("--token needs a --url: no signal-broker runs on this data directory")
    from deploy.cli.direct import run_beside  # noqa: PLC0415

    run_beside(settings, call, declare=declare, seals=seals)


def segment(text: object) -> str:
    """Return *text* as one segment of a path."""
    return quote(str(text), safe="")


def _proxy(product: Product) -> str | None:
    """Return the proxy that the environment names for *product*."""
    if product.local:
        return None
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415

    scheme, _, rest = product.url.partition("://")
    if proxy_bypass(rest.partition("/")[0]):
        return None
    return getproxies().get(scheme)
