"""Handlers: Python functions that signals are delivered to, pulled over HTTP by this process.

handlers = Handlers("billing")

@handlers.on("order.paid", retry=[1, 5, 30], concurrency=4)
async def book(payload: Paid, signal: ReceivedSignal) -> None: ...

handlers.run("https://signals.example", token)
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal as signals
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from .async_client import AsyncClient
from .calls import Declarations, Function, Result, WrongHandler, check_app, scope_of
from .errors import ClientError
from .matching import is_for, matches
from .pulling import Puller, receive, worker_name
from .registering import register
from .subscribing import camel

_FIXED = ("name", "tenant_id", "execution_id", "once", "ordered")
_CHANGEABLE = ("filter", "max_in_flight", "max_per_second")

log = logging.getLogger("signal_broker_client")


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """One of an app's functions.

    Args:
        name: Its name in the app.
        function: The function that is called.
        timeout: The maximum duration of a call.
        fixed: The members of its subscription that never change, as the API spells them.
        options: Those that may.
    """

    name: str
    function: Function
    timeout: timedelta
    fixed: Mapping[str, object]
    options: Mapping[str, object]


class Handlers(Declarations[Handler]):
    """An app: handlers that the same processes run. Their deliveries are leased over HTTP, so that no port is open.

    Args:
        name: The app's name, under which its subscriptions are kept: another name is another app. None takes the name
            of the module of its first function.

    Raises:
        WrongHandler: *name* cannot be one.
    """

    def declare(self, name: str, function: Function, options: Mapping[str, object]) -> Handler:  # noqa: D102
        timeout = options["timeout_seconds"]
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= 900:
            raise WrongHandler(f"timeout: {timeout!r} is not a number of seconds, more than 0 and at most 900")
        members: dict[str, object] = {camel(option): options[option] for option in _CHANGEABLE}
        retry = cast(Mapping[str, object], options["retry"])
        members["retry"] = {camel(one): value for one, value in retry.items() if value is not None} or None
        if options["ordered"]:
            members["headOfLine"] = options["head_of_line"]
        return Handler(
            name=name,
            function=function,
            timeout=timedelta(seconds=timeout),
            fixed={camel(option): options[option] for option in _FIXED},
            options=members,
        )

    def run(self, url: str, token: str, *, concurrency: int = 10, drain: float = 20, worker: str | None = None) -> None:
        """Subscribe the handlers and call them until the process gets SIGTERM or SIGINT.

        A server that does not answer is waited for, and warnings say why it does not. If the server refuses the token
        or what a decorator asks for, the process ends with status 1 and one line on standard error (`SystemExit`); in
        a thread that is not the main one, the error is raised.

        Args:
            url: Where the gateway is.
            token: A token with `subscriptions:manage`, `deliveries:manage` and `signals:read`.
            concurrency: The maximum number of concurrent calls of each handler in this process.
            drain: How many seconds running calls have to end after the signal; then they are cancelled.
            worker: What the attempts call this process; None takes its host and number.
        """
        with _one_line(ValueError):
            _check(concurrency)
            client = AsyncClient(url, token)
        with _one_line(ClientError, WrongHandler):
            asyncio.run(self._run_until_signalled(client, concurrency=concurrency, drain=drain, worker=worker))

    async def serve(
        self,
        client: AsyncClient,
        stopping: asyncio.Event,
        *,
        concurrency: int = 10,
        drain: float = 20,
        worker: str | None = None,
    ) -> None:
        """Do what `run` does on this event loop, until *stopping* is set.

        Raises:
            WrongHandler: There is no handler, or the server refuses what a decorator asks for; the message names the
                handler.
            Refused: The server refuses the token, or does not let it subscribe or lease.
            ValueError: *concurrency* is less than 1.
        """
        _check(concurrency)
        subscribing, stop = asyncio.create_task(self._subscribe(client)), asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait({subscribing, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not subscribing.done():
                return
        finally:
            subscribing.cancel()
            stop.cancel()
            await asyncio.wait({subscribing, stop})
        app, subscribed = subscribing.result()
        try:
            async with asyncio.TaskGroup() as group:
                for handler, subscription_id in subscribed:
                    puller = Puller(
                        client,
                        subscription_id,
                        handler.function,
                        name=f"{app}/{handler.name}",
                        timeout=handler.timeout,
                        concurrency=concurrency,
                        worker=worker or worker_name(),
                    )
                    group.create_task(puller.run(stopping, drain=drain))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def try_out(
        self,
        name: str,
        payload: object = None,
        *,
        tenant_id: str | None = None,
        without_tenant_id: bool = False,
        execution_id: str | None = None,
        attempt: int = 1,
    ) -> dict[str, Result]:
        """Call every handler of that name and scope; return the results by the handlers' names.

        For tests: there is no server and no further attempt. Filters are not looked at: the server evaluates them.
        """
        scope = scope_of(tenant_id=tenant_id, without_tenant_id=without_tenant_id, execution_id=execution_id)
        signal = {
            "id": 1, "name": name, "scope": scope, "tenantId": tenant_id, "executionId": execution_id, "hops": 0,
            "payload": json.loads(json.dumps(payload)), "variables": {}, "createdAt": datetime.now(UTC).isoformat(),
        }  # fmt: skip
        results = {}
        for number, handler in enumerate(self, start=1):
            if matches(str(handler.fixed["name"]), name) and is_for(signal, handler.fixed):
                received = receive(signal, delivery_id=f"1-{number}", attempt=attempt)
                results[handler.name] = await handler.function.call(received, timeout=handler.timeout)
        return results

    async def _subscribe(self, client: AsyncClient) -> tuple[str, list[tuple[Handler, int]]]:
        """Return the app's name, and the handlers with the ids of their subscriptions, once they are subscribed."""
        if not list(self):
            raise WrongHandler("there is no handler to run")
        app, subscribed = check_app(self.name or self._module()), []
        for handler in self:
            id_ = await register(client, app, handler.name, handler.fixed, handler.options)
            log.info("%s/%s is subscribed to %s: subscription %s", app, handler.name, handler.fixed["name"], id_)
            subscribed.append((handler, id_))
        return app, subscribed

    def _module(self) -> str:
        module = next(iter(self)).function.module
        file = getattr(sys.modules.get(module), "__file__", None)
        return Path(file).stem if module == "__main__" and file else module

    async def _run_until_signalled(
        self, client: AsyncClient, *, concurrency: int, drain: float, worker: str | None
    ) -> None:
        stopping, loop = asyncio.Event(), asyncio.get_running_loop()
        if _is_main_thread():
            with suppress(NotImplementedError):  # Windows
                for one in (signals.SIGTERM, signals.SIGINT):
                    loop.add_signal_handler(one, stopping.set)
        async with client:
            await self.serve(client, stopping, concurrency=concurrency, drain=drain, worker=worker)


def _check(concurrency: int) -> None:
    if concurrency < 1:
        raise ValueError("concurrency must be at least 1")


@contextmanager
def _one_line(*errors: type[Exception]) -> Iterator[None]:
    """End the process with the message of one of the *errors*, if the block raises it on the main thread."""
    try:
        yield
    except errors as error:
        if not _is_main_thread():
            raise
        raise SystemExit(str(error)) from None


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
