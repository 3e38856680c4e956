"""What proxies say of the way from the caller counts only as far as trusted proxies say it."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from gateway.forwarding import Forwarding

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
OTHER = "http://inner:8080/x"


class Transport:
    def __init__(self, peer):
        self.peer = peer

    def get_extra_info(self, name, default=None):
        return (self.peer, 4711) if name == "peername" else default

    def is_closing(self):
        return False


def told(peer, *headers, trusted=PROXIES, url=""):
    """Return the address of the caller, and the URL of /x that it is told."""
    lines = CIMultiDict([("Host", "inner:8080"), *headers])
    request = make_mocked_request("GET", "/", headers=lines, transport=Transport(peer))
    forwarding = Forwarding(url, trusted)
    return forwarding.address(request), forwarding.url(request, "/x")


def x(addresses="", proto="", host=""):
    lines = {"X-Forwarded-For": addresses, "X-Forwarded-Proto": proto, "X-Forwarded-Host": host}
    return [(name, value) for name, value in lines.items() if value]


def test_strangers_are_not_believed():
    lines = [*x("1.2.3.4", "https", "evil.example"), ("Forwarded", "for=1.2.3.4;proto=https;host=evil.example")]
    assert told("192.0.2.7", *lines) == ("192.0.2.7", OTHER)
    assert told("10.0.0.1", *lines, trusted=()) == ("10.0.0.1", OTHER)
    assert told("11.0.0.1", *lines) == ("11.0.0.1", OTHER)


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        (x("192.0.2.7", "https", "signals.example"), "192.0.2.7"),
        (x("9.9.9.9, 192.0.2.7", "https", "signals.example"), "192.0.2.7"),
        (x("9.9.9.9, 192.0.2.7, 10.1.1.1", "https", "signals.example"), "192.0.2.7"),
        (x("9.9.9.9, 192.0.2.7, 10.1.1.1", "http, https, http", "evil.example, signals.example, inner"), "192.0.2.7"),
        (x("192.0.2.7:443, [fd00::1]:80", "https", "signals.example"), "192.0.2.7"),
        (x("[2001:db8::1]:4711", "https", "signals.example"), "2001:db8::1"),
        ([("Forwarded", 'for="[2001:db8::1]:4711";proto=https;host=signals.example')], "2001:db8::1"),
        (
            [
                ("Forwarded", "for=9.9.9.9;host=evil.example, For=192.0.2.7;Proto=https;Host=signals.example"),
                ("Forwarded", 'for="10.1.1.1:80"'),
            ],
            "192.0.2.7",
        ),
    ],
)
def test_trusted_proxies_are_believed_up_to_the_first_address_that_is_not_theirs(lines, address):
    assert told("10.0.0.1", *lines) == (address, "https://signals.example/x")
    assert told("::ffff:10.0.0.1", *lines) == (address, "https://signals.example/x")


def test_the_forwarded_header_that_a_caller_wrote_is_not_mixed_with_what_the_proxy_wrote():
    lines = [*x("192.0.2.7", "https"), ("Forwarded", "for=1.2.3.4;host=evil.example")]
    assert told("10.0.0.1", *lines) == ("192.0.2.7", "https://inner:8080/x")


@pytest.mark.parametrize(
    "lines",
    [
        x("unknown", "gopher", 'evil"><script>'),
        x("", "javascript", "a b"),
        [("Forwarded", 'for=_hidden;proto="x y";host="a/b"')],
        [("Forwarded", 'for="unclosed')],
        [("Forwarded", ",;=, ")],
    ],
)
def test_what_is_no_address_protocol_or_host_says_nothing(lines):
    assert told("10.0.0.1", *lines) == ("10.0.0.1", OTHER)


def test_the_public_url_is_told_whatever_is_said():
    url = "https://signals.example/broker"
    assert told("10.0.0.1", *x("192.0.2.7", "http", "inner"), url=url) == ("192.0.2.7", f"{url}/x")


def test_without_an_address_nothing_is_believed():
    assert told("", *x("192.0.2.7", "https", "signals.example")) == (None, OTHER)
