"""The servers that the conformance suites run against: each fixture of `server` is an adapter under test."""

from __future__ import annotations

import pytest

from tests.support.messaging import declare_queue
from tests.support.transports import embedded_server, rabbitmq_transport_server


@pytest.fixture
def embedded(database):
    return embedded_server(database)


@pytest.fixture
def rabbitmq_vhost(rabbitmq, rabbitmq_url):
    return rabbitmq_transport_server(rabbitmq, rabbitmq_url)


@pytest.fixture(params=["embedded", "rabbitmq_vhost"], ids=["embedded", "rabbitmq"])
def server(request):
    """Return the `TransportServer` of each adapter in turn: the fixture that its parameter names."""
    return request.getfixturevalue(request.param)


@pytest.fixture
async def transport(server):
    async with server.open() as transport:
        yield transport


@pytest.fixture
async def queue(transport):
    """Name of a fresh queue."""
    return await declare_queue(transport)
