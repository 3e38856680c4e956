"""A name server on a free loopback port that says about each name what a test wants, right or wrong."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address

A, AAAA, CNAME = 1, 28, 5


class Names(asyncio.DatagramProtocol):
    """What `name_server` yields: `address` is its own, `asked` the names it was asked for in order.

    Every name has the addresses given to `resolve_to`; a name that was not given does not exist. Answers may be kept
    for no time at all.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.address = ""
        self._lookups: dict[str, list[Sequence[str]]] = {}
        self._aliases: dict[str, str] = {}
        self._silent: set[str] = set()

    def resolve_to(self, name: str, *lookups: Sequence[str]) -> None:
        """Answer *name* with each of *lookups*, some addresses, in turn, the last one from then on."""
        self._lookups[name] = list(lookups)

    def alias(self, name: str, target: str) -> None:
        """Answer *name* with the name *target* and its addresses."""
        self._aliases[name] = target

    def keep_silent(self, name: str) -> None:
        """Never answer *name*."""
        self._silent.add(name)

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        self._transport = transport
        self.address = "{}:{}".format(*transport.get_extra_info("sockname"))

    def datagram_received(self, data: bytes, peer: tuple[str, int]) -> None:
        name, end = _read_name(data)
        (kind,) = struct.unpack_from("!H", data, end)
        if kind == A:
            self.asked.append(name)
        if name not in self._silent:
            self._transport.sendto(self._answer(data, name, kind, end + 4), peer)

    def _answer(self, query: bytes, name: str, kind: int, end: int) -> bytes:
        alias = self._aliases.get(name)
        addresses = [ip_address(text) for text in self._next_lookup(alias or name, kind)]
        matching = [address for address in addresses if (address.version == 6) == (kind == AAAA)]
        records = b"" if alias is None else _record(name, CNAME, _write_name(alias))
        records += b"".join(_record(alias or name, kind, address.packed) for address in matching)
        count = len(matching) + (alias is not None)
        known = (alias or name) in self._lookups
        flags = 0x8580 if known else 0x8583  # an authoritative answer; 3: no such name
        return query[:2] + struct.pack("!5H", flags, 1, count, 0, 0) + query[12:end] + records

    def _next_lookup(self, name: str, kind: int) -> Sequence[str]:
        # A client asks for A and AAAA in one lookup; the answer changes with the A.
        lookups = self._lookups.get(name, [()])
        return lookups.pop(0) if kind == A and len(lookups) > 1 else lookups[0]


def _read_name(data: bytes) -> tuple[str, int]:
    labels, position = [], 12
    while length := data[position]:
        labels.append(data[position + 1 : position + 1 + length].decode().lower())
        position += 1 + length
    return ".".join(labels), position + 1


def _write_name(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def _record(name: str, kind: int, data: bytes) -> bytes:
    return _write_name(name) + struct.pack("!HHIH", kind, 1, 0, len(data)) + data


@asynccontextmanager
async def name_server() -> AsyncIterator[Names]:
    """Run a name server until the block is left."""
    transport, names = await asyncio.get_running_loop().create_datagram_endpoint(Names, local_addr=("127.0.0.1", 0))
    try:
        yield names
    finally:
        transport.close()
