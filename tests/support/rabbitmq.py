"""The session's RabbitMQ: where it comes from, and another client for it.

Where it comes from, first that can be had:

    SIGNAL_BROKER_TEST_TRANSPORT_URL   a server somebody runs for us (its management plugin makes the vhosts)
    rabbitmq-server                    on this machine, run privately: own data, ports, epmd and cookie
    Docker                             by testcontainers
    Debian's package                   installed, when we are root there; then as above
"""

from __future__ import annotations

import asyncio
import enum
import gc
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

import docker  # type: ignore[import-untyped]
import pika  # type: ignore[import-untyped]
from docker.errors import DockerException  # type: ignore[import-untyped]
from pika.adapters.blocking_connection import BlockingChannel  # type: ignore[import-untyped]

from tests.support.packages import can_install, install
from tests.support.rabbitmq_nodes import LocalRabbit
from tests.support.rabbitmq_servers import DockerRabbit, GivenRabbit, Rabbit

URL_VARIABLE = "SIGNAL_BROKER_TEST_TRANSPORT_URL"
PACKAGED_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")

T = TypeVar("T")


class Source(enum.Enum):
    """Where the session's RabbitMQ comes from."""

    GIVEN = "given"
    LOCAL = "local"
    DOCKER = "docker"
    APT = "apt"


def choose(*, given: bool, local: bool, docker: bool, apt: bool) -> Source:
    """Return the first source that can be had.

    Raises:
        RuntimeError: None can; the message says what to install.
    """
    for source, there in ((Source.GIVEN, given), (Source.LOCAL, local), (Source.DOCKER, docker), (Source.APT, apt)):
        if there:
            return source
    raise RuntimeError(
        "the tests need RabbitMQ: install rabbitmq-server (3.10 or later), or start Docker, "
        f"or set {URL_VARIABLE} to a server with the management plugin"
    )


@contextmanager
def rabbitmq_server(directory: Path) -> Iterator[Rabbit]:
    """Yield the session's server; *directory* holds the data of a private one."""
    given, server = os.environ.get(URL_VARIABLE), find_server()
    match choose(
        given=bool(given),
        local=server is not None,
        docker=not (given or server) and docker_answers(),
        apt=can_install(),
    ):
        case Source.GIVEN:
            rabbit: Rabbit = GivenRabbit(given or "")
        case Source.LOCAL:
            rabbit = LocalRabbit(server or PACKAGED_SERVER, directory)
        case Source.DOCKER:
            rabbit = DockerRabbit()
        case Source.APT:
            install("rabbitmq-server", is_there=lambda: find_server() is not None)
            rabbit = LocalRabbit(PACKAGED_SERVER, directory)
    with rabbit:
        yield rabbit


def find_server() -> Path | None:
    """Return this machine's rabbitmq-server: on Debian not the one on PATH, which changes the user."""
    if PACKAGED_SERVER.exists():
        return PACKAGED_SERVER
    found = shutil.which("rabbitmq-server")
    return Path(found).resolve() if found else None


def docker_answers() -> bool:
    """Return whether there is a Docker daemon to talk to."""
    with warnings.catch_warnings():  # without one, the client leaves its socket to the garbage collector
        warnings.simplefilter("ignore", ResourceWarning)
        answers = _docker_connects()
        gc.collect()
    return answers


def _docker_connects() -> bool:
    try:
        client = docker.from_env(timeout=5)
    except DockerException:
        return False
    client.close()
    return True


async def on_channel(url: str, do: Callable[[BlockingChannel], T]) -> T:
    """Return what *do* returns for a channel of another client, pika, on the vhost *url*."""

    def run() -> T:
        with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
            return do(connection.channel())

    return await asyncio.to_thread(run)
