"""URLs of webhooks go out as they were given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.redaction import hide_credentials_of_url
from workers.webhooks.urls import Destination, parse_url

ALLOWED = "abcXYZ019-._~!$&'()*+,;=:@/?"


@pytest.mark.parametrize(
    ("url", "authority", "target"),
    [
        ("http://example.com", "example.com", "/"),
        ("HTTP://EXAMPLE.com:80/A", "example.com", "/A"),
        ("http://example.com:8080?", "example.com:8080", "/?"),
        ("https://example.com:80?q", "example.com:80", "/?q"),
        ("https://example.com:443/h?", "example.com", "/h?"),
        ("http://example.com./", "example.com", "/"),
        ("http://[::1]:80/x", "[::1]", "/x"),
        ("http://münchen.example/ü/ß?é", "xn--mnchen-3ya.example", "/%C3%BC/%C3%9F?%C3%A9"),
        ("http://h/a/../b/./%2e%2e//c/", "h", "/a/../b/./%2e%2e//c/"),
        ("http://h/?sp=%2Ftriggers%2Fmanual&x=576%3Acompassion", "h", "/?sp=%2Ftriggers%2Fmanual&x=576%3Acompassion"),
        ("http://h/~%7Ea/%41%2f%2F?+%2B%20", "h", "/~%7Ea/%41%2f%2F?+%2B%20"),
        ("http://h/%/%4/%zz/%25", "h", "/%25/%254/%25zz/%25"),
        ('http://h/{a}|[b]^`<"> '.strip(), "h", "/%7Ba%7D%7C%5Bb%5D%5E%60%3C%22%3E"),
        ("http://h/x?http://other/y?z", "h", "/x?http://other/y?z"),
        ("http://h?@other/", "h", "/?@other/"),
    ],
)
def test_only_what_is_forbidden_in_a_url_is_encoded(url, authority, target):
    parsed = parse_url(url)
    assert (parsed.authority, parsed.target) == (authority, target)


@given(st.text(ALLOWED), st.text("0123456789abcdefABCDEF", min_size=2, max_size=2))
def test_whatever_is_allowed_stays_byte_for_byte(text, digits):
    target = f"/{text}%{digits}{text}"
    assert parse_url(f"http://example.com{target}").target == target


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="#\\ ")))
def test_a_target_never_holds_what_could_end_it(text):
    target = parse_url(f"http://example.com/{text}").target
    assert target.startswith("/")
    assert target.isascii()
    assert target.isprintable()
    assert " " not in target


def test_connections_are_shared_by_what_is_the_same_origin():
    origins = {parse_url(url).origin for url in ("http://h/a", "http://H:80/b?c", "http://h.:80/")}
    assert origins == {("http", "h", 80)}
    assert parse_url("https://h.:8443/") == Destination("https", "h.", 8443, "h:8443", "/")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://h/x", "http://h/x"),
        ("http://h/x?", "http://h/x?"),
        ("http://h/x?a=1&b", "http://h/x?a=1&b"),
        ("http://h/?sp=%2Fa&sig=abc%2F&sv=1", "http://h/?sp=%2Fa&sig=***&sv=1"),
        ("http://h/?access_token=t;x=1&code=c&X-Amz-Signature=s", "http://h/?access_token=***;x=1&code=***&X-Amz-Signature=***"),
        ("http://h/?%73ig=abc&user_sig=d&design=e&encoded=f&sig=", "http://h/?%73ig=***&user_sig=***&design=e&encoded=f&sig="),
        ("http://h/?userSig=a&AUTHCODE=b&Code2=c&zipcode=d&sigma=e", "http://h/?userSig=***&AUTHCODE=***&Code2=***&zipcode=d&sigma=e"),
        ("http://h/?PASSWORD=p&apiKey=k&client-secret=a=b", "http://h/?PASSWORD=***&apiKey=***&client-secret=***"),
    ],
)  # fmt: skip
def test_credentials_in_a_query_are_hidden(url, shown):
    assert hide_credentials_of_url(url) == shown
