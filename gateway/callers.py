"""Callers: where they are, and whether they are gone."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

from aiohttp import web

CALLER = web.RequestKey("caller", str)
"""The name of the principal that sent a request, once that is known."""

_IPV6_NETWORK = 64
"""Bits of an address that are not for its network."""


def is_gone(request: web.Request) -> bool:
    """Return whether the connection of *request* is lost or closed, so that no answer will be read."""
    return request.transport is None or request.transport.is_closing()


def network_of(address: str | None) -> str:
    """Return what one caller at *address* may have whole, as budgets count it: an IPv4 address, or a /64 of IPv6."""
    text = (address or "").partition("%")[0]
    try:
        found = ip_address(text)
    except ValueError:  # a socket of the file system
        return text
    if not isinstance(found, IPv6Address):
        return text
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(IPv6Address(int(found) >> _IPV6_NETWORK << _IPV6_NETWORK))
