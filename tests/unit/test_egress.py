"""The rules for addresses, target URLs and headers."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from broker.egress import Guard, check_headers, check_url
from broker.errors import EgressForbidden, InvalidField
from tests.support.addresses import REFUSED_HOSTS, REFUSED_URLS


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "1.1.1.1",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "169.253.255.255",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2606:4700:4700::1111",
        "2001:4860:4860::8888",
        "2a00:1450:4001:80f::200e",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
    ],
)
def test_a_public_address_is_permitted(address):
    assert Guard().permits(ip_address(address))


@pytest.mark.parametrize("host", REFUSED_HOSTS)
def test_a_url_with_this_host_is_refused(host):
    with pytest.raises(InvalidField) as caught:
        check_url(f"http://{host}/hook", Guard())
    assert caught.value.pointer == "/target/url"


@pytest.mark.parametrize("host", REFUSED_HOSTS)
def test_a_connection_to_this_address_is_refused(host):
    """Even by a guard that the URL was never shown to."""
    with pytest.raises(EgressForbidden):
        Guard().check(host.strip("[]"))


def test_an_allow_list_does_not_let_unusual_spellings_pass():
    with pytest.raises(EgressForbidden, match="usual spelling"):
        Guard([ip_network("0.0.0.0/0")]).check("127.1")


def test_an_allow_listed_network_is_permitted_and_its_neighbour_is_not():
    guard = Guard([ip_network("10.1.0.0/16"), ip_network("fd00:1::/32")])
    assert guard.permits(ip_address("10.1.2.3"))
    assert guard.permits(ip_address("fd00:1::5"))
    assert not guard.permits(ip_address("10.2.0.1"))
    assert not guard.permits(ip_address("fd00:2::5"))


@pytest.mark.parametrize("form", ["::ffff:10.1.2.3", "64:ff9b::10.1.2.3"])
def test_a_form_that_leads_to_an_ipv4_address_is_judged_as_that_address(form):
    assert Guard([ip_network("10.1.0.0/16")]).permits(ip_address(form))
    assert not Guard([ip_network("::/0")]).permits(ip_address(form))


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com./hook?sig=a%2Bb",
        "http://hooks.internal:8080/a/b",
        "https://xn--mnchen-3ya.example/",
        "https://münchen.example/",
        "http://localhost/",
        "http://8.8.8.8/",
        "https://[2606:4700:4700::1111]:8443/",
        "https://example.com/" + "a" * (2048 - 20),
        "https://" + "a" * 63 + ".example/",
        "https://" + ("a" * 63 + ".") * 3 + "a" * 61 + "/",
    ],
)
def test_a_url_to_a_name_or_a_public_address_is_taken(url):
    check_url(url, Guard())


def test_a_url_to_an_allow_listed_address_is_taken():
    check_url("http://127.0.0.1:9000/", Guard([ip_network("127.0.0.0/8")]))


def test_a_guard_for_https_only_refuses_what_is_plain():
    guard = Guard(https_only=True)
    check_url("https://example.com/", guard)
    with pytest.raises(InvalidField, match="EGRESS_HTTPS_ONLY"):
        check_url("http://example.com/", guard)


@pytest.mark.parametrize("url", REFUSED_URLS)
def test_a_url_that_hides_its_host_is_refused(url):
    """Whatever the guard allows: it is refused for what it is."""
    with pytest.raises(InvalidField) as caught:
        check_url(url.format(port=8080), Guard([ip_network("127.0.0.0/8")]))
    assert caught.value.pointer == "/target/url"


@pytest.mark.parametrize(
    ("url", "detail"),
    [
        ("", "absolute"),
        ("example.com/hook", "absolute"),
        ("//example.com/hook", "absolute"),
        ("http:///hook", "absolute"),
        ("ftp://example.com/", "absolute"),
        ("file:///etc/passwd", "absolute"),
        ("javascript:alert(1)", "absolute"),
        ("http://user@example.com/", "user name or password"),
        ("http://:secret@example.com/", "user name or password"),
        ("https://example.com/#part", "fragment"),
        ("https://example.com/#", "fragment"),
        ("https://example.com:0/", "port 0"),
        ("https://example.com:65536/", "not a URL"),
        ("https://example.com:http/", "not a URL"),
        ("http://[::1/", "not a URL"),
        ("http://[::1]:1@", "not a URL"),
        ("http://a[b]@/", "not a URL"),
        (" https://example.com/", "spaces"),
        ("https://example.com/a b", "spaces"),
        ("https://example.com/a\r\nHost: x", "control characters"),
        ("https://example.com\\@127.0.0.1/", "backslashes"),
        ("https://a..b/", "DNS name"),
        ("https://.../", "DNS name"),
        ("https://exam%70le.com/", "DNS name"),
        ("https://" + "a" * 64 + ".example/", "DNS name"),
        ("https://" + ("a" * 63 + ".") * 3 + "a" * 62 + "/", "DNS name"),
        ("https://example.com/" + "a" * (2048 - 19), "2048"),
    ],
)
def test_a_url_that_cannot_be_a_target_is_refused_with_the_reason(url, detail):
    with pytest.raises(InvalidField, match=detail):
        check_url(url, Guard())


def test_a_subscribers_own_headers_are_taken():
    check_headers({f"X-{number}": "v" * 1024 for number in range(18)} | {"Authorization": "Bearer a\tb", "Cookie": ""})


def test_more_than_twenty_headers_are_refused():
    with pytest.raises(InvalidField, match="at most 20") as caught:
        check_headers({f"X-{number}": "v" for number in range(21)})
    assert caught.value.pointer == "/target/headers"


@pytest.mark.parametrize(
    "name",
    [
        "webhook-id",
        "Webhook-Signature",
        "webhook-anything",
        "Host",
        "Content-Length",
        "content-type",
        "Content-Encoding",
        "Transfer-Encoding",
        "Connection",
        "Keep-Alive",
        "TE",
        "Trailer",
        "Upgrade",
        "Expect",
        "Proxy-Authorization",
        "Accept-Encoding",
        "traceparent",
        "tracestate",
        "Signal-Broker-Hops",
    ],
)
def test_a_header_that_the_broker_or_the_protocol_sets_is_reserved(name):
    with pytest.raises(InvalidField, match="set by the broker") as caught:
        check_headers({name: "x"})
    assert caught.value.pointer == f"/target/headers/{name}"


@pytest.mark.parametrize("name", ["", "X Y", "X:Y", "X\r\nY", "Ü", "X" * 129, "X\n"])
def test_a_header_name_that_is_no_token_is_refused(name):
    with pytest.raises(InvalidField, match="HTTP token"):
        check_headers({name: "x"})


@pytest.mark.parametrize("value", ["a\r\nHost: b", "a\n", "a\x00", "ü", "v" * 1025])
def test_a_header_value_that_could_do_harm_is_refused(value):
    with pytest.raises(InvalidField, match="printable ASCII"):
        check_headers({"X-Mine": value})


def test_the_pointer_to_a_header_is_escaped():
    with pytest.raises(InvalidField) as caught:
        check_headers({"a/b~c": "x"})
    assert caught.value.pointer == "/target/headers/a~1b~0c"
