"""A RabbitMQ cluster of our own: nodes that find each other, in network namespaces where the machine allows them."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.namespaces import Namespaces, namespaces
from tests.support.ports import free_ports
from tests.support.rabbitmq_nodes import LocalRabbit, Place

PORT, DISTRIBUTION = 5672, 25672

_CONF = """
loopback_users = none
vm_memory_high_watermark.absolute = 1GB
cluster_partition_handling = pause_minority
queue_leader_locator = balanced
cluster_formation.peer_discovery_backend = classic_config
cluster_formation.target_cluster_size_hint = {size}
"""

_IS_WHOLE = (
    "length(nodes()) =:= {others} andalso "
    "lists:all(fun(Node) -> rpc:call(Node, rabbit, is_running, []) =:= true end, [node() | nodes()])."
)
_APART = "case catch rabbit_node_monitor:partitions() of Nodes when is_list(Nodes) -> length(Nodes); _ -> 0 end."
"""How many nodes a node has parted from; those of a RabbitMQ without Mnesia never part."""


@dataclass(frozen=True)
class Cluster:
    """Running nodes.

    Args:
        nodes: All of them.
        network: Where they run; None: beside us, so that no way between them can be blocked.
    """

    nodes: Sequence[LocalRabbit]
    network: Namespaces | None

    def make_whole(self) -> bool:
        """Return whether every node runs and knows the others: after a partition, a node pauses and starts again.

        A node that hung does not: it may keep metadata of its own, in which queues are declared that the others do not
        know, until an operator restarts it, as the manual says (Partitions, Recovering From a Split-Brain). We do.
        """
        try:
            if "true" not in self.nodes[0].ctl("eval", _IS_WHOLE.format(others=len(self.nodes) - 1)):
                return False
            apart = {node: int(node.ctl("eval", _APART)) for node in self.nodes}
            if not any(apart.values()):
                return True
            loneliest = max(apart, key=lambda node: apart[node])
            for command in ("stop_app", "start_app"):
                loneliest.ctl(command)
        except (RuntimeError, subprocess.TimeoutExpired):
            pass
        return False


@contextmanager
def rabbitmq_cluster(server: Path, directory: Path, *, size: int = 3, root: Path = Path("/")) -> Iterator[Cluster]:
    """Run a cluster until the block is left.

    Args:
        server: ``rabbitmq-server``, as it is called within *root*.
        directory: The nodes' data; with another *root*, only their logs in the end.
        size: How many nodes.
        root: A folder with another system, of which we are the root user: another RabbitMQ than this machine's.
    """
    with ExitStack() as stack:
        if root != Path("/"):
            logs, directory = directory, root / "var" / "lib" / directory.name
            directory.mkdir()
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
            stack.enter_context(_processes_of(root))
            stack.callback(shutil.copytree, directory, logs, ignore=shutil.ignore_patterns("data"), dirs_exist_ok=True)
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


@contextmanager
def _processes_of(root: Path) -> Iterator[None]:
    """Let programs within *root* see ``/proc``: without it, RabbitMQ watches neither its memory nor its disk."""
    if (root / "proc" / "self").exists():
        yield
        return
    subprocess.run(["mount", "--bind", "/proc", root / "proc"], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", root / "proc"], check=False)


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
