"""Callers: where they are, and whether they are gone."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

from aiohttp import web

_IPV6_NETWORK = 64
"""Bits of the network that one caller may have whole."""


def is_gone(request: web.Request) -> bool:
    """Return whether the connection of *request* is lost or closed, so that no answer will be read."""
    return request.transport is None or request.transport.is_closing()


def address_of(request: web.Request) -> str:
    """Return where *request* comes from, as budgets count it: an IPv4 address, or a network of IPv6 (/64)."""
    address = (request.remote or "").partition("%")[0]
    try:
        found = ip_address(address)
    except ValueError:  # a socket of the file system
        return address
    if not isinstance(found, IPv6Address):
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(IPv6Address(int(found) >> _IPV6_NETWORK << _IPV6_NETWORK))
