"""RabbitMQ's management API: policies, bindings, and what was handed out of a queue, of which AMQP shows nothing."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

import aiohttp
from yarl import URL

from broker.errors import Unavailable
from broker.reasons import reason_of
from broker.topology import Queue, Topology
from broker.transport import Hazard
from broker.transport.rabbitmq.policies import find_hazards

_DEFINITION = "effective_policy_definition"
_PORTS = {"amqp": ("http", 15672), "amqps": ("https", 15671)}


class Management:
    """Asks the management API of one host after the other. An async context manager.

    Args:
        hosts: The hosts of the transport, with the user and the vhost.
        url: The API's URL; none: on its usual port of each of *hosts*. The user is theirs, unless it names one.
        timeout: How long each answer may take.
    """

    def __init__(self, hosts: Sequence[URL], url: str = "", *, timeout: timedelta) -> None:
        first = hosts[0]
        self._vhost = first.raw_path.removeprefix("/") or "%2F"
        self._urls = [URL(url)] if url else [_beside(host) for host in hosts]
        user = self._urls[0].user or first.user or "guest"
        password = self._urls[0].password or first.password or "guest"
        self._session = aiohttp.ClientSession(
            headers={"Authorization": aiohttp.encode_basic_auth(user, password, "utf-8")},
            timeout=aiohttp.ClientTimeout(timeout.total_seconds()),
            connector=aiohttp.TCPConnector(ssl=_trust(first) if self._urls[0].scheme == "https" else True),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def hazards(self, queues: Sequence[Queue]) -> list[Hazard]:
        """Return what policies and operator policies take from *queues*; those that do not exist are left out.

        Raises:
            Unavailable: No host answered, or the user may not see policies.
        """
        await self._find_vhost()
        found: list[Hazard] = []
        for queue in queues:
            shown = await self._ask(f"queues/{self._vhost}/{queue.name}")
            if shown is None:
                continue
            if _DEFINITION not in shown:  # it belongs to what RabbitMQ measures every few seconds
                raise Unavailable(f"the management API has not measured {queue.name} so far, or is told not to")
            found += find_hazards(queue, _sources(shown), shown[_DEFINITION] or {})
        return found

    async def gaps(self, topology: Topology) -> list[str]:
        """Return what is missing of the exchanges and bindings of *topology*, or of another kind.

        Raises:
            Unavailable: No host answered, or the user may not see them.
        """
        await self._find_vhost()
        found: list[str] = []
        for exchange in topology.exchanges:
            shown = await self._ask(f"exchanges/{self._vhost}/{exchange.name}")
            if shown is None:
                found.append(f"the exchange {exchange.name} is missing")
            elif shown["type"] != exchange.kind:
                found.append(f"the exchange {exchange.name} is of type {shown['type']}, not {exchange.kind}")
        for source in dict.fromkeys(binding.source for binding in topology.bindings):
            shown = await self._ask(f"exchanges/{self._vhost}/{source}/bindings/source") or []
            there = {(one["destination_type"], one["destination"], one["routing_key"]) for one in shown}
            found += [
                f"the binding from {source} to {binding.destination} is missing"
                for binding in topology.bindings
                if binding.source == source and (binding.to, binding.destination, binding.routing_key) not in there
            ]
        return found

    async def total(self, queue: str) -> int | None:
        """Return how many messages *queue* holds, those included that were handed out; None: not measured so far.

        Raises:
            Unavailable: No host answered, or the user may not see it.
        """
        await self._find_vhost()
        shown = await self._ask(f"queues/{self._vhost}/{queue}")
        return None if shown is None else shown.get("messages")

    async def _find_vhost(self) -> None:
        """Return if the API knows the vhost, in which there is always a certain exchange.

        Raises:
            Unavailable: It does not; or as for `_ask`.
        """
        if await self._ask(f"exchanges/{self._vhost}/amq.direct") is None:
            where, vhost = f"{self._urls[0].host}:{self._urls[0].port}", unquote(self._vhost)
            raise Unavailable(f"the management API on {where} knows no vhost {vhost!r}: is it another RabbitMQ's?")

    async def _ask(self, path: str) -> Any:
        """Return the document at *path*; None if there is none."""
        reasons = []
        for url in self._urls.copy():
            where = f"{url.scheme}://{url.host}:{url.port}"
            asked = URL(f"{where}{url.raw_path.rstrip('/')}/api/{path}", encoded=True)
            try:
                async with self._session.get(asked) as response:
                    if response.status == 404 and response.content_type == "application/json":
                        return None
                    if response.status == 200 and response.content_type == "application/json":
                        return await response.json()
                    reasons.append(f"{where} answers {response.status}: {_hint(response.status)}")
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                reasons.append(f"{where}: {reason_of(error)}")
            self._urls.remove(url)  # the others will do for the rest
        raise Unavailable("; ".join(reasons) or "no host answers")


def _beside(host: URL) -> URL:
    scheme, port = _PORTS[host.scheme]
    return URL.build(scheme=scheme, host=host.host or "", port=port)


def _trust(host: URL) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=host.query.get("cafile"), capath=host.query.get("capath"))


def _hint(status: int) -> str:
    return "the user needs the tag `management`" if status in {401, 403} else "this is no management API"


def _sources(shown: Mapping[str, Any]) -> str:
    named = (("policy", shown.get("policy")), ("operator policy", shown.get("operator_policy")))
    return " or ".join(f"{kind} {name!r}" for kind, name in named if name)
