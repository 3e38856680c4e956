"""Ports for servers that tests start."""

from __future__ import annotations

import random
import socket
from contextlib import suppress
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_CHANCE = random.SystemRandom()


def free_ports(count: int) -> list[int]:
    """Return loopback ports that are free.

    They are below those that the system gives to clients, and to servers that ask for any: one of these could get the
    port before its server starts, or while that is restarted.
    """
    ephemeral = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32768
    sockets: list[socket.socket] = []
    while len(sockets) < count:
        with suppress(OSError):
            sockets.append(socket.create_server(("127.0.0.1", _CHANCE.randrange(10_000, ephemeral))))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
