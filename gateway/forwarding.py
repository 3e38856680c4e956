"""Where callers reach this server, and from where: behind a proxy, neither is what the connection says.

A proxy says both in ``X-Forwarded-For``, ``-Proto`` and ``-Host``, or in ``Forwarded`` (RFC 7239). Anybody can write
these, so they count only as far as trusted proxies wrote them: from the right, up to the first address that is not one
of theirs. Of both kinds the first one counts: most proxies write that, and pass on what a caller wrote in the other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from itertools import zip_longest

from aiohttp import hdrs, web

from gateway.fields import read_list
from gateway.heads import is_host

_ELEMENT = re.compile(r'(?:[^",]|"(?:\\.|[^"\\])*")+')
_PAIR = re.compile(r'\s*([A-Za-z]+)=(?:"((?:\\.|[^"\\])*)"|([^";\s]*))\s*(?:;|$)')
_PORT = re.compile(r"\[([^\]]*)](?::[0-9]+)?|([0-9.]+):[0-9]+")

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Forwarding:
    """What is known of the way from callers to this server.

    Args:
        public_url: Where callers reach it, without a slash at the end; empty: where they say that they did.
        trusted: The networks of the proxies.
    """

    public_url: str = ""
    trusted: tuple[IPv4Network | IPv6Network, ...] = ()

    def url(self, request: web.BaseRequest, path: str) -> str:
        """Return the URL at which the caller of *request* reaches *path*."""
        if self.public_url:
            return self.public_url + path
        _, proto, host = self._follow(request)
        return f"{proto or request.scheme}://{host or request.host}{path}"

    def address(self, request: web.BaseRequest) -> str | None:
        """Return the address of the caller of *request*, None if it is not known."""
        address, _, _ = self._follow(request)
        return None if address is None else str(address)

    async def prepare(self, _request: web.Request, response: web.StreamResponse) -> None:
        """Tell the whole URL of what *response* says that it is at."""
        location = response.headers.get(hdrs.LOCATION)
        if self.public_url and location is not None and location.startswith("/"):
            response.headers[hdrs.LOCATION] = self.public_url + location

    def _follow(self, request: web.BaseRequest) -> tuple[Address | None, str | None, str | None]:
        """Return the caller's address, and the protocol and host that it used, as far as trusted proxies tell."""
        address, proto, host = _read_address(request.remote or ""), None, None
        if self._trusts(address):
            for told in reversed(_hops(request)):
                proto = told["proto"] if told.get("proto") in {"http", "https"} else proto
                host = told["host"] if is_host(told.get("host") or "") else host
                before = _read_address(told.get("for") or "")
                address = before or address
                if not self._trusts(before):
                    break
        return address, proto, host

    def _trusts(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self.trusted)


FORWARDING = web.AppKey("forwarding", Forwarding)


def public_url(request: web.Request, path: str) -> str:
    """Return the URL at which the caller of *request* reaches *path*."""
    return request.app[FORWARDING].url(request, path)


def caller_address(request: web.Request) -> str | None:
    """Return the address of the caller of *request*, None if it is not known; it is what a trusted proxy says."""
    return request.app[FORWARDING].address(request)


def _hops(request: web.BaseRequest) -> list[dict[str, str]]:
    """Return what each proxy on the way says, the nearest one last: ``for``, ``proto`` and ``host``, if it says so."""
    told = {name: _values(request, f"X-Forwarded-{name}") for name in ("for", "proto", "host")}
    if any(told.values()):
        # A proxy that adds itself to the first list may leave the others as they are.
        aligned = zip_longest(*(reversed(values) for values in told.values()))
        hops = [{name: value for name, value in zip(told, hop, strict=True) if value} for hop in aligned]
        return hops[::-1]
    return [
        {name.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain for name, quoted, plain in _PAIR.findall(element)}
        for element in _ELEMENT.findall(read_list(request, hdrs.FORWARDED) or "")
    ]


def _values(request: web.BaseRequest, name: str) -> Sequence[str]:
    return [value.strip() for value in (read_list(request, name) or "").split(",") if value.strip()]


def _read_address(text: str) -> Address | None:
    """Return the address in *text*, which may have a port; an IPv4 one that is written as IPv6 is what it is."""
    found = _PORT.fullmatch(text)
    try:
        address = ip_address(found[1] or found[2] if found else text)
    except ValueError:
        return None
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address
