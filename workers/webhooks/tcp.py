"""What the kernel knows of the bytes of a TCP connection: how many were acknowledged by the peer's, and received."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from asyncio.trsock import TransportSocket
from typing import NamedTuple

_INFO = struct.Struct("@B119xQQ")
"""``tcpi_state``, ``tcpi_bytes_acked`` and ``tcpi_bytes_received`` in Linux's ``struct tcp_info``."""
_CLOSE_WAIT = 8
"""The state once the peer has said that nothing more will come, which counts as a byte."""


class Counts(NamedTuple):
    """How many bytes of those sent the peer's kernel has acknowledged, and how many ours has received, read or not."""

    acknowledged: int
    received: int


def unacknowledged(connection: TransportSocket) -> int | None:
    """Return how many bytes sent on *connection* are not acknowledged yet; None if the system does not tell."""
    try:
        (size,) = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))
    except OSError:
        return None
    return int(size)


def counts(connection: TransportSocket) -> Counts | None:
    """Return what *connection* has carried so far; None if the system does not tell."""
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
        state, acknowledged, received = _INFO.unpack(info)
    except (OSError, AttributeError, struct.error):  # not Linux, or older than 4.1
        return None
    return Counts(acknowledged, received - (state == _CLOSE_WAIT))
