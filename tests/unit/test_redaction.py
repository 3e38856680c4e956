"""What is hidden of a request's URL and headers, and what is not."""

from __future__ import annotations

import pytest

from broker.access import API_TOKEN, ENDPOINT_TOKEN, make_token
from broker.redaction import credentials_of, hide_credentials, hide_credentials_of_url, hide_tokens, is_credential
from broker.secrets import make_key_pair, make_secret

NAMES = """
    Authorization Cookie X-Api-Key X-JWT X-Sig X-HMAC X-Bearer X-Pwd X-Code X-SAS X-Sign X-DingTalk-Sign X-OTP
    Set-Cookie X-CSRF-Token csrfToken signal-broker-session __Host-signal-broker-session
    X-PIN X-Csrf X-Goog-Iap-Jwt-Assertion X-Hub-Signature-256 X-Webhook-Code sign hmac hash bearer pw otp pin
    sid PHPSESSID ticket jsessionid ASPSESSIONIDQABC hub.verify_token userPin JWTAssertion apikey AUTHCODE
    oauth2 sha256_hmac X-Xsrf client-cred
"""
ORDINARY = """
    X-Request-Id X-Country-Code X-Status-Code errorCode Content-Type Content-Length webhook-id webhook-timestamp
    traceparent tracestate Host Accept User-Agent X-Author X-Passenger-Id X-Team Cache-Control If-Match Origin
    Prefer Date design encoded shipping assigned zipcode sigma monkey keyword version spin pinned hashed
"""


@pytest.mark.parametrize("name", NAMES.split())
def test_a_word_of_its_name_tells_a_credential(name):
    assert is_credential(name)


@pytest.mark.parametrize("name", ORDINARY.split())
def test_ordinary_names_tell_none(name):
    assert not is_credential(name)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://joe:hunter2@h/x", "https://***@h/x"),
        ("//joe@example.com@h/x@y", "//***@h/x@y"),
        ("//h/x;jsessionid=SECRET?sign=SECRET", "//h/x;jsessionid=***?sign=***"),
        ("/x;sid=a/y;v=1?a=b@c", "/x;sid=***/y;v=1?a=b@c"),
        ("/x#access_token=a&state=b", "/x#access_token=***&state=b"),
        ("?next=https%3A%2F%2Fh%2F%3Ftoken%3Da&to=https%3A%2F%2Fh%2F", "?next=***&to=https%3A%2F%2Fh%2F"),
        ("https://[::1]:80/a=b?code=", "https://[::1]:80/a=b?code="),
    ],
)
def test_credentials_are_hidden_anywhere_in_a_url(url, shown):
    assert hide_credentials_of_url(url) == shown


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("X-Callback", "https://h/?token=a&x=1", "https://h/?token=***&x=1"),
        ("Link", '<https://joe:pw@h/>; rel="next", </y?sig=a>', '<https://***@h/>; rel="next", </y?sig=***>'),
        ("X-Options", "a=1,token=b;c=2", "a=1,token=***;c=2"),
        ("Content-Type", "multipart/form-data; boundary=--x", "multipart/form-data; boundary=--x"),
        ("From", "joe@example.com", "joe@example.com"),
        ("webhook-signature", "v1,abc=", "v1,abc="),
        ("X-Pin", "", ""),
    ],
)
def test_credentials_within_a_header_are_hidden(name, value, shown):
    assert hide_credentials({name: value}) == {name: shown}


def test_what_is_hidden_is_what_is_not_shown():
    headers = {"Authorization": "Bearer b", "X-To": "//joe:p%40w@h/?sig=a%2Bc", "X-Team": "claims"}
    found = set(credentials_of("http://h/x;sid=d?a=e&pin=f+g", headers))
    assert found == {"d", "f+g", "f g", "Bearer b", "joe:p%40w", "joe:p@w", "p@w", "a%2Bc", "a+c"}


@pytest.mark.parametrize(
    "make",
    [
        lambda: make_token(API_TOKEN),
        lambda: make_token(ENDPOINT_TOKEN),
        make_secret,
        lambda: make_key_pair()[0],
        lambda: "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl",
        lambda: "sb_chosen-by+an=operator/of.ours!",
    ],
)
@pytest.mark.parametrize("before", ["/v1/signals/", "/", "?", "/a/Bearer ", "/token=", "/my_"])
def test_the_products_own_tokens_are_hidden_in_any_text(make, before):
    for _ in range(20):
        token = make()
        assert hide_tokens(f"{before}{token} is none") == f"{before}*** is none"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/x/sb%5Fsecret-token", "/x/***"),
        ("/x/whsec%5fsecret-token", "/x/***"),
        ("/a~1sb_secret-token/b", "/a~1***"),
        ("/v1/signal_endpoints", "/v1/signal_endpoints"),
        ("/signal_name", "/signal_name"),
        ("/keyJsonDocuments", "/keyJsonDocuments"),
        ("/v1/signals/34", "/v1/signals/34"),
        ("/sb_", "/sb_"),
        ("Bearer sb_...), or whsec_......", "Bearer sb_...), or whsec_......"),
        ("whpk_public-key", "whpk_public-key"),
        ("", ""),
    ],
)
def test_what_looks_like_no_token_is_shown(text, shown):
    assert hide_tokens(text) == shown
