"""What webhooks may be sent to, and with: the rules for addresses, target URLs and the subscriber's own headers.

    a subscription is created --> check_url, check_headers   tell the subscriber about mistakes at once
    an attempt begins         --> url_problem                the settings may be others by now
    ... and opens a socket    --> Guard.check                decides, about the very address that DNS gave

Only the last is a defence against names: what one resolves to can change after every other check.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from yarl import URL

from broker.errors import EgressForbidden, InvalidField, pointer_to

URL_LIMIT = 2048
HEADERS_LIMIT = 20
HEADER_VALUE_LIMIT = 1024

# The IANA special-purpose registries, spelled out: what `ipaddress` calls global changed between Python's releases.
_NOT_PUBLIC = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # public by its number, but Azure's own on every virtual machine there
        "169.254.0.0/16",  # link-local, where clouds keep their metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3ffe::/16",  # the returned 6bone
        "3fff::/20",  # documentation
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)

_RESERVED_HEADER = re.compile(
    "(webhook|proxy)-.*|host|content-(type|length|encoding)|transfer-encoding|connection|keep-alive|te|trailer|upgrade"
    "|expect|accept-encoding|traceparent|tracestate|signal-broker-hops",
    re.IGNORECASE,
)
HEADER_NAME = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$"
HEADER_VALUE = r"^[\t\x20-\x7e]*$"
_HEADER_NAME, _HEADER_VALUE = re.compile(HEADER_NAME), re.compile(HEADER_VALUE)
_DNS_LABEL = re.compile("[0-9A-Za-z_-]{1,63}")
_NUMERIC = re.compile("[0-9]+|0x[0-9a-f]*", re.IGNORECASE)


class Guard:
    """Decides which addresses webhooks may reach: those in *allow*, and every public unicast address.

    Args:
        allow: Further networks.
        https_only: Whether URLs must be ``https://``, whatever they lead to.
    """

    def __init__(self, allow: Iterable[IPv4Network | IPv6Network] = (), *, https_only: bool = False) -> None:
        self._allow = tuple(allow)
        self.https_only = https_only

    def permits(self, address: IPv4Address | IPv6Address) -> bool:
        """Return whether a webhook may be sent to *address*.

        IPv4-mapped and NAT64 (``64:ff9b::/96``) addresses are judged, by the allow-list too, as the IPv4 address they
        lead to: behind DNS64 every IPv4 target looks like that. The other forms that embed one (6to4, Teredo, ISATAP,
        IPv4-compatible, ``64:ff9b:1::/48``) are refused as such: they are obsolete tunnels, or hide it at a place that
        only the local network knows.
        """
        if isinstance(address, IPv6Address):
            if address.ipv4_mapped is not None:
                address = address.ipv4_mapped
            elif address in _NAT64:
                address = IPv4Address(int(address) & 0xFFFF_FFFF)
        if any(address in network for network in self._allow):
            return True
        if isinstance(address, IPv6Address) and (
            address not in _GLOBAL_UNICAST or (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP
        ):
            return False
        return not any(address in network for network in _NOT_PUBLIC)

    def check(self, host: str) -> None:
        """Let the IP address *host* pass, in its usual spelling.

        Raises:
            EgressForbidden: Webhooks may not go there, or *host* is not an IP address as `ipaddress` reads it.
        """
        try:
            permitted = self.permits(ip_address(host))
        except ValueError:
            raise EgressForbidden(f"{host} is not an IP address in its usual spelling") from None
        if not permitted:
            raise EgressForbidden(f"{host} is neither a public address nor in SIGNAL_BROKER_EGRESS_ALLOW")


def check_url(url: str, guard: Guard, pointer: str = "/target/url") -> None:
    """Let *url* pass as a webhook's target. A host *name* is not looked up: what it means is decided at each attempt.

    Raises:
        InvalidField: At *pointer*; the detail says what is allowed.
    """
    problem = url_problem(url, guard)
    if problem is not None:
        raise InvalidField(pointer, problem)


def url_problem(url: str, guard: Guard) -> str | None:
    """Return why *url* cannot be a webhook's target, as a predicate ("must ..."); None if it can."""
    if len(url) > URL_LIMIT:
        return f"must have at most {URL_LIMIT} characters"
    if not url.isprintable() or " " in url or "\\" in url:
        return "must not hold spaces, backslashes or control characters"
    try:
        parsed = URL(url)
        host, port, user, password = parsed.raw_host or "", parsed.port, parsed.raw_user, parsed.raw_password
    except (ValueError, IndexError):  # the latter: yarl, of "[::1]:1@" without a host behind it
        return "is not a URL"
    rules = (
        (parsed.scheme in {"http", "https"} and host != "", "must be an absolute http:// or https:// URL"),
        (user is None and password is None, "must not hold a user name or password; send credentials in a header"),
        ("#" not in url, "must not have a fragment"),
        (port != 0, "must not name port 0"),
        (parsed.scheme == "https" or not guard.https_only, "must be https:// (SIGNAL_BROKER_EGRESS_HTTPS_ONLY)"),
    )
    return next((problem for kept, problem in rules if not kept), None) or _problem_of_host(host, guard)


def _problem_of_host(host: str, guard: Guard) -> str | None:
    labels = host.removesuffix(".").split(".")
    # A host whose last label is a number is an IPv4 address in some spelling (WHATWG URL, "ends in a number").
    if ":" in host or _NUMERIC.fullmatch(labels[-1]):
        try:
            guard.check(host)
        except EgressForbidden as error:
            return str(error)
    elif len(host) > 253 or not all(_DNS_LABEL.fullmatch(label) for label in labels):
        return "has a host that cannot be a DNS name"
    return None


def check_names(headers: Iterable[str], pointer: str) -> None:
    """Let the names of *headers* pass if each is there once: case does not tell headers apart.

    Raises:
        InvalidField: At the name that repeats another one.
    """
    seen: dict[str, str] = {}
    for name in headers:
        first = seen.setdefault(name.lower(), name)
        if first != name:
            raise InvalidField(pointer_to(pointer, name), f"is the same header as {first}")


def check_headers(headers: Mapping[str, str], pointer: str = "/target/headers") -> None:
    """Let *headers* pass as a subscriber's own: few, short, and none that we or the protocol set.

    Raises:
        InvalidField: At *pointer*, or at the one that is wrong.
    """
    if len(headers) > HEADERS_LIMIT:
        raise InvalidField(pointer, f"must be at most {HEADERS_LIMIT}")
    for name, value in headers.items():
        place = pointer_to(pointer, name)
        if not _HEADER_NAME.fullmatch(name):
            raise InvalidField(place, "the name must be an HTTP token of at most 128 characters")
        if _RESERVED_HEADER.fullmatch(name):
            raise InvalidField(place, "is set by the broker and cannot be overridden")
        if len(value) > HEADER_VALUE_LIMIT or not _HEADER_VALUE.fullmatch(value):
            raise InvalidField(place, f"must be at most {HEADER_VALUE_LIMIT} printable ASCII characters")
