"""What an attempt exchanged with its webhook is kept in few bytes, whatever it was."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from broker.deliveries import Exchange
from broker.store.exchanges import pack, unpack

EXCHANGE = Exchange(
    url="https://hooks.example.com/signals?tenant=42",
    request_headers={
        "Host": "hooks.example.com",
        "Authorization": "***",
        "content-type": "application/json",
        "webhook-id": "1234567-89",
        "webhook-timestamp": "1790000000",
        "webhook-signature": "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
        "User-Agent": "signal-broker",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Content-Length": "512",
    },
    location="https://www.example.com/",
    retry_after="120",
    address="203.0.113.7:443",
    tls="TLSv1.3",
    reused=True,
    phases={"dns": 0.0012, "connect": 0.0213, "tls": 0.0311, "firstByte": 0.0912, "total": 0.0915},
)


@pytest.mark.parametrize(
    "exchanges",
    [
        [EXCHANGE],
        [None, EXCHANGE, None],
        [replace(EXCHANGE, reused=False, resent="the connection was closed before there was an answer"), EXCHANGE],
        [Exchange(url="http://[::1]:8080/\N{SNOWMAN}", request_headers={})],
    ],
)
def test_what_is_packed_comes_back_as_it_was(exchanges):
    assert unpack(pack(exchanges), len(exchanges)) == exchanges


def test_an_attempt_without_a_webhook_takes_nothing():
    assert pack([None, None]) is None
    assert unpack(None, 2) == [None, None]


def test_a_common_exchange_takes_a_few_hundred_bytes():
    assert len(pack([EXCHANGE])) < 250


def test_the_headers_keep_their_order():
    (found,) = unpack(pack([EXCHANGE]), 1)
    assert list(found.request_headers) == list(EXCHANGE.request_headers)


def test_the_largest_exchange_takes_a_few_kilobytes():
    rng = random.Random(7)
    text = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=100_000))
    headers = {f"x-{number}": text[number : number + 2000] for number in range(100)}
    huge = Exchange(
        url=text, request_headers=headers, location=text, retry_after=text, address=text, tls=text, phases={"total": 1}
    )
    packed = pack([huge] * 10)
    assert len(packed) < 100_000
    found = unpack(packed, 10)[0]
    assert (len(found.url), found.url[-3:]) == (2048, "...")
    assert list(found.request_headers) == [*(f"x-{number}" for number in range(7)), "..."]
    assert found.request_headers["..."] == "93 more"
    assert {len(value) for value in list(found.request_headers.values())[:-1]} == {1024}
    assert [len(member) for member in (found.location, found.retry_after, found.address, found.tls)] == [1024] * 4


def test_what_is_no_character_costs_no_attempt():
    odd = Exchange(url="http://a/\ud800", request_headers={"x\udfff": "\x00\ud800"}, location="\udc80")
    (found,) = unpack(pack([odd]), 1)
    assert found == Exchange(url="http://a/?", request_headers={"x?": "\x00?"}, location="?")
