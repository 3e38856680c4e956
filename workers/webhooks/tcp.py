"""What the kernel knows of a TCP connection's sent bytes: how many of them the peer's kernel has acknowledged."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from asyncio.trsock import TransportSocket

_ACKNOWLEDGED = struct.Struct("@120xQ")
"""``tcpi_bytes_acked`` in Linux's ``struct tcp_info``."""


def unacknowledged(connection: TransportSocket) -> int | None:
    """Return how many bytes sent on *connection* are not acknowledged yet; None if the system does not tell."""
    try:
        (size,) = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))
    except OSError:
        return None
    return int(size)


def acknowledged(connection: TransportSocket) -> int | None:
    """Return how many bytes sent on *connection* were acknowledged; None if the system does not tell."""
    try:
        (size,) = _ACKNOWLEDGED.unpack(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKNOWLEDGED.size))
    except (OSError, AttributeError, struct.error):  # not Linux, or older than 4.1
        return None
    return int(size)
