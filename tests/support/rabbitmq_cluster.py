"""A RabbitMQ cluster of our own: nodes that find each other, in network namespaces where the machine allows them."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.namespaces import Namespaces, namespaces
from tests.support.rabbitmq_nodes import LocalRabbit, Place, free_ports

PORT, DISTRIBUTION = 5672, 25672

_CONF = """
loopback_users = none
vm_memory_high_watermark.absolute = 1GB
cluster_partition_handling = pause_minority
queue_leader_locator = balanced
cluster_formation.peer_discovery_backend = classic_config
cluster_formation.target_cluster_size_hint = {size}
"""


@dataclass(frozen=True)
class Cluster:
    """Running nodes.

    Args:
        nodes: All of them.
        network: Where they run; None: beside us, so that no way between them can be blocked.
    """

    nodes: Sequence[LocalRabbit]
    network: Namespaces | None


@contextmanager
def rabbitmq_cluster(server: Path, directory: Path, *, size: int = 3, root: Path = Path("/")) -> Iterator[Cluster]:
    """Run a cluster until the block is left.

    Args:
        server: ``rabbitmq-server``, as it is called within *root*.
        directory: The nodes' data; within *root* another folder is used.
        size: How many nodes.
        root: A folder with another system, of which we are the root user: another RabbitMQ than this machine's.
    """
    with ExitStack() as stack:
        if root != Path("/"):
            directory = root / "var" / "lib" / directory.name
            directory.mkdir()
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
        network = stack.enter_context(namespaces(size))
        cookie = secrets.token_hex(16)
        nodes = []
        for place in _places(size, network, root):
            (directory / place.host).mkdir()
            nodes.append(LocalRabbit(server, directory / place.host, place, cookie=cookie))
        for node in nodes:
            stack.push(node.__exit__)
            node.launch()
        for node in nodes:
            node.await_start()
        nodes[0].ctl("await_online_nodes", str(size), "--timeout", "60")
        yield Cluster(nodes, network)


def _places(size: int, network: Namespaces | None, root: Path) -> Iterator[Place]:
    hosts = network.addresses if network else [f"127.0.0.{10 + number}" for number in range(size)]
    inetrc = "{lookup, [file, native]}.\n"
    for number, host in enumerate(hosts):
        inetrc += f'{{host, {{{host.replace(".", ",")}}}, ["node{number}"]}}.\n'
    conf = _CONF.format(size=size)
    for number in range(size):
        conf += f"cluster_formation.classic_config.nodes.{number + 1} = rabbit@node{number}\n"
    (epmd,) = free_ports(1)
    for number, host in enumerate(hosts):
        enter = [*network.enter(number)] if network else []
        yield Place(
            host=host,
            port=PORT,
            distribution=DISTRIBUTION,
            epmd=epmd,
            epmd_hosts=(host,) if network else hosts,
            name=f"rabbit@node{number}",
            enter=[*enter, "chroot", str(root)] if root != Path("/") else enter,
            root=root,
            conf=conf.split("\n"),
            inetrc=inetrc,
        )
