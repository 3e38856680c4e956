"""``/v2/topology`` and ``/v2/status``: what Camunda 8's clients ask to see whether a cluster is there and well."""

from __future__ import annotations

from aiohttp import web

from broker.access import Principal
from broker.health import Health
from gateway.answers import answer
from gateway.camunda8.schemas import BrokerInfo, Partition, Topology
from gateway.http_errors import Busy
from gateway.routes import OpenRoute, Route, SecuredRoute

VERSION = "8.8.0"
"""The version whose REST API this is."""


class ClusterApi:
    """Shows this server as a cluster of one broker, which is healthy while it takes signals."""

    def __init__(self, health: Health) -> None:
        self._health = health

    @property
    def routes(self) -> list[Route]:
        """The routes about the cluster."""
        return [
            SecuredRoute("GET", "/v2/topology", self.topology, "Read the topology as in Camunda 8", {200: Topology}),
            OpenRoute("GET", "/v2/status", self.status, "Ask for the status as in Camunda 8", {204: None}),
        ]

    async def topology(self, request: web.Request, _principal: Principal) -> web.Response:
        """Answer the topology (Camunda 8 REST, Get cluster topology)."""
        partition = Partition(
            partition_id=1, role="leader", health="healthy" if self._is_healthy else "unhealthy", state="active"
        )
        host, port = _address(request)
        broker = BrokerInfo(
            node_id=0,
            broker_id="0",
            host=host,
            port=port,
            partitions=[partition],
            version=VERSION,
        )
        return answer(
            Topology(
                brokers=[broker],
                cluster_id=None,
                cluster_size=1,
                partitions_count=1,
                replication_factor=1,
                gateway_version=VERSION,
                last_completed_change_id="-1",
            )
        )

    async def status(self, _request: web.Request) -> web.Response:
        """Answer 204 while a partition is healthy (Camunda 8 REST, Get cluster status)."""
        if not self._is_healthy:
            raise Busy("No signal can be taken now.")
        return web.Response(status=204)

    @property
    def _is_healthy(self) -> bool:
        return self._health.ready


def _address(request: web.Request) -> tuple[str, int]:
    """Return the host and port that the caller called; a ``Host`` header that holds none stands for this machine."""
    try:
        return request.url.host or "localhost", request.url.port or 80
    except (ValueError, IndexError):
        return "localhost", 80
