"""Callers with tokens of an OpenID Connect issuer: a real one, whose keys rotate, and hostile tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from contextlib import suppress

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from broker.access import Permission
from broker.exposition import Exposition
from broker.settings import Settings
from gateway.oidc.claims import find_claim, read_principal
from gateway.oidc.issuer import LEEWAY, LONGEST, Issuer
from gateway.oidc.keys import ALGORITHMS, ASKED_EVERY, IssuerKeys, IssuerUnavailable, read_keys
from tests.support.clock import Clock
from tests.support.eventually import eventually
from tests.support.issuer import AUDIENCE, issuer, make_key, public_jwk
from tests.support.product import client_of
from tests.support.throwing import fresh_id, recorded

THROW = {"permissions": ["signals:throw"]}


@pytest.fixture
async def other():
    """The issuer."""
    async with issuer() as other:
        yield other


@pytest.fixture
def clock():
    """The clock by which the issuer is asked only so often."""
    return Clock()


@pytest.fixture
async def known(other, clock):
    """Knows the callers with tokens of the issuer."""
    async with IssuerKeys(other.url, clock=clock) as keys:
        yield Issuer(keys, Settings(oidc_issuer=other.url, oidc_audience=AUDIENCE))


def encode(part):
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed_with_hmac(secret, claims, headers):
    """Return a token whose HMAC has *secret*; PyJWT itself refuses public keys as secrets."""
    text = f"{encode(headers)}.{encode(claims)}"
    return f"{text}.{encode(hmac.digest(secret, text.encode(), hashlib.sha256))}"


# Keys


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_every_algorithm_that_is_accepted_verifies_its_tokens(other, known, algorithm):
    other.add("its", algorithm)
    principal = await known.principal(other.sign("its", **THROW))
    assert (principal.name, principal.key, principal.permissions) == ("jwt:alice", "jwt:alice", {Permission.THROW})


async def test_a_rotation_is_noticed_by_its_first_token_and_the_issuer_asked_only_so_often(other, known, clock):
    assert await known.principal(other.sign()) is not None
    asked = other.asked["/jwks"]
    other.add("second")
    assert await known.principal(other.sign("second")) is None, "it was asked just now"

    clock.now += ASKED_EVERY.total_seconds()
    assert await known.principal(other.sign("second")) is not None
    for number in range(20):
        assert await known.principal(other.sign(headers={"kid": f"made-up-{number}"})) is None
    assert other.asked["/jwks"] == asked + 1


async def test_a_key_that_is_taken_back_verifies_nothing_any_more_remembered_or_not(other, known, clock):
    token = other.sign()
    assert await known.principal(token) is not None
    other.add("second")
    other.remove("first")
    clock.now += ASKED_EVERY.total_seconds()
    assert await known.principal(other.sign("second")) is not None
    assert await known.principal(token) is None


async def test_while_the_issuer_is_away_its_known_keys_are_good_and_others_are_not_called_wrong(other, known, clock):
    assert await known.principal(other.sign()) is not None
    other.away = True
    other.add("second")
    clock.now += ASKED_EVERY.total_seconds()
    for _ in range(3):
        with pytest.raises(IssuerUnavailable):
            await known.principal(other.sign("second"))
        assert await known.principal(other.sign(sub="bob")) is not None

    other.away = False
    clock.now += ASKED_EVERY.total_seconds()
    assert await known.principal(other.sign("second")) is not None


async def test_a_token_is_verified_once(other, known, monkeypatch):
    token = other.sign(**THROW)
    first = await known.principal(token)
    monkeypatch.setattr(jwt, "decode", None)
    assert await known.principal(token) is first


async def test_a_token_without_the_id_of_its_key_is_tried_with_those_that_fit(other, known):
    other.add("second", "ES256")
    other.add("third", "RS256")
    assert await known.principal(other.sign("second", headers={"kid": None})) is not None
    assert await known.principal(jwt.encode(other.claims(), make_key("ES256"), "ES256")) is None


@pytest.mark.parametrize(
    "members",
    [
        {"use": "enc"},
        {"key_ops": ["encrypt"]},
        {"alg": "ES384"},
        {"alg": "none"},
        {"kty": "oct"},
        {"x": "!"},
    ],
    ids=str,
)
async def test_a_key_that_is_for_something_else_verifies_nothing(other, known, members):
    other.add("odd", **members)
    assert await known.principal(other.sign("odd")) is None
    assert await known.principal(other.sign()) is not None, "the others do"


def test_weak_private_and_symmetric_keys_are_left_out():
    weak = public_jwk(rsa.generate_private_key(65537, 1024))
    good = public_jwk(make_key("ES256"))
    keys = [weak, {**good, "d": "AA"}, {"kty": "oct", "k": "c2VjcmV0"}, "x", {}, {"kty": ["RSA"]}, good]
    assert [key.algorithm_name for _, key in read_keys({"keys": keys})] == ["ES256"]


@pytest.mark.parametrize(
    "change",
    [
        {"discovery": {"issuer": "https://other.example"}},
        {"discovery": {"jwks_uri": "file:///etc/passwd"}},
        {"jwks": {"keys": "none"}},
        {"jwks": ["keys"]},
        {"jwks": {"keys": [], "filler": "x" * (1 << 18)}},
    ],
    ids=["other issuer", "no web address", "no list", "no object", "too long"],
)
async def test_an_issuer_that_answers_nonsense_is_as_one_that_is_away(other, change):
    for name, value in change.items():
        setattr(other, name, value)
    async with IssuerKeys(other.url) as keys:
        with pytest.raises(IssuerUnavailable):
            await keys.find("first", "ES256")
        assert b"signal_broker_issuer_available 0.0" in Exposition().read()[0]
    async with issuer() as good, IssuerKeys(good.url) as keys:
        with suppress(IssuerUnavailable):
            await keys.find("first", "ES256")
        assert b"signal_broker_issuer_available 1.0" in Exposition().read()[0]


async def test_the_place_of_the_keys_may_be_given(other):
    async with IssuerKeys(other.url, f"{other.url}/jwks") as keys:
        assert len(await keys.find("first", "ES256")) == 1
    assert set(other.asked) == {"/jwks"}


# Hostile tokens


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://other.example"},
        {"iss": None},
        {"aud": "another"},
        {"aud": ["another"]},
        {"aud": None},
        {"aud": []},
        {"aud": {"signal-broker": 1}},
        {"sub": None},
        {"sub": 7},
        {"sub": "a\x00b"},
        {"sub": "x" * 256},
        {"exp": None},
        {"exp": "soon"},
        {"exp": int(time.time()) - LEEWAY - 5},
        {"exp": -1},
        {"exp": float("inf")},
        {"exp": [9999999999]},
        {"nbf": int(time.time()) + 86_400},
        {"iat": int(time.time()) + 86_400},
    ],
)
async def test_a_token_with_other_claims_is_none_for_us(other, known, claims):
    assert await known.principal(other.sign(**claims)) is None


async def test_clocks_may_differ_a_little_and_an_audience_be_one_of_several(other, known):
    now = int(time.time())
    for claims in ({"exp": now - LEEWAY + 5}, {"nbf": now + 5, "iat": now + 5}, {"aud": ["another", AUDIENCE]}):
        assert await known.principal(other.sign(**claims)) is not None


async def test_no_algorithm_that_the_token_chooses_makes_it_good(other, known):
    """Neither none, nor the public key as the secret of an HMAC, nor a key of another kind."""
    other.add("rsa", "RS256")
    claims = other.claims(permissions=["admin"])
    pem = make_key("RS256").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    jwk = json.dumps(public_jwk(make_key("RS256"))).encode()
    for algorithm in ("HS256", "RS256", "ES256", "none"):
        for secret in (pem, jwk, b""):
            headers = {"alg": algorithm, "typ": "JWT", "kid": "rsa"}
            assert await known.principal(signed_with_hmac(secret, claims, headers)) is None
    for algorithm in ("none", "None", "NONE", "", "hs256", None, 7, ["RS256"], "RS256 "):
        for signature in ("", encode(b"x" * 64)):
            token = f"{encode({'alg': algorithm, 'kid': 'first'})}.{encode(claims)}.{signature}"
            assert await known.principal(token) is None


async def test_no_header_makes_a_token_good(other, known):
    """Keys that the token brings along, extensions that must be understood, other types."""
    mine = make_key("ES256")
    for headers in (
        {"jwk": {**public_jwk(mine), "kid": "first"}, "kid": "first"},
        {"jku": f"{other.url}/evil", "kid": "first"},
        {"x5u": f"{other.url}/evil", "kid": "first"},
        {"kid": "../../etc/passwd"},
        {"kid": "' OR 1=1 --"},
    ):
        assert await known.principal(jwt.encode(other.claims(), mine, "ES256", headers=headers)) is None
    assert await known.principal(other.sign(headers={"crit": ["exp"], "exp": 1})) is None
    assert "/evil" not in other.asked


async def test_what_is_no_token_is_refused_and_stops_nothing(other, known):
    good = other.sign(**THROW)
    head, body, signature = good.split(".")
    deep, broken = encode(b"[" * 3000), encode(b'{"alg":"ES256",}')
    wrong = [
        "..", "a.b.c", f"{head}.{body}.", f".{body}.{signature}", f"{head}..{signature}", f"{body}.{head}.{signature}",
        f"{head}.{encode({**other.claims(), 'sub': 'root'})}.{signature}",
        f"{head}.{body}.{signature[:-4]}AAAA", f"{head}.{body}.{signature}x", f"{deep}.{body}.{signature}",
        f"{head}.{deep}.{signature}", f"{encode(b'null')}.{body}.{signature}",
        f"{broken}.{body}.{signature}",
        f"{head}.{body}.{signature}.{signature}", f"{head}.{body}.{signature}" + "A" * LONGEST, "é.ü.ß",
    ]  # fmt: skip
    assert [await known.principal(token) for token in wrong] == [None] * len(wrong)
    assert await known.principal(good) is not None


# What the claims mean


def settings(**names):
    return Settings(**{f"oidc_{name}_claim": claim for name, claim in names.items()})


def test_without_its_claims_a_token_may_nothing():
    configured = settings(permissions="p", names="n", tenants="t", queues="q", untenanted="u")
    for claims in ({}, {"p": None, "n": None, "t": None, "q": None, "u": None}, {"p": 7, "n": {}, "t": 1, "u": "yes"}):
        principal = read_principal({"sub": "a", **claims}, configured)
        assert principal.permissions == frozenset()
        assert (principal.names, principal.tenants, principal.queues) == ((), (), ())
        assert principal.untenanted is False


def test_claims_give_permissions_and_limits():
    configured = settings(permissions="realm.roles", names="https://a.example/names", tenants="t", untenanted="u")
    claims = {
        "sub": "a",
        "realm": {"roles": ["signals:throw", "everything", 7, "signals:read"]},
        "https://a.example/names": "order.#",
        "t": ["acme", "beta"],
        "u": True,
    }
    principal = read_principal(claims, configured)
    assert principal.permissions == {Permission.THROW, Permission.READ}
    assert (principal.names, principal.tenants, principal.queues) == (("order.#",), ("acme", "beta"), None)
    assert principal.untenanted is True
    everywhere = read_principal({**claims, "t": ["*"]}, configured)
    assert everywhere.tenants is None


def test_permissions_may_be_words():
    principal = read_principal({"sub": "a", "scope": "openid signals:throw"}, settings(permissions="scope"))
    assert principal.permissions == {Permission.THROW}


@pytest.mark.parametrize(
    ("name", "expected"), [("a", {"b": {"c": 1}}), ("a.b.c", 1), ("a.x", None), ("a.b.c.d", None), ("x.y", 2)]
)
def test_a_claim_is_found_by_its_name_or_by_the_way_to_it(name, expected):
    assert find_claim({"a": {"b": {"c": 1}}, "x.y": 2, "x": {"y": 3}}, name) == expected


# The running product


@pytest.mark.slow
async def test_a_gateway_takes_the_tokens_of_its_issuer_in_every_dialect(product, client, other, name):
    tenant = fresh_id("tenant")
    environment = {
        "OIDC_ISSUER": other.url,
        "OIDC_AUDIENCE": AUDIENCE,
        "OIDC_TENANTS_CLAIM": "tenants",
        "OIDC_NAMES_CLAIM": "names",
    }
    limits = {"tenants": [tenant], "names": [f"{name}.#"]}
    async with product.sibling("gateway", **environment) as process, client_of(process.url) as here:
        caller = here.caller(other.sign(**THROW, **limits))
        signal = await caller.post("/v1/signals", {"name": f"{name}.a", "tenantId": tenant}, expect=202)
        assert (await recorded(client, signal["id"]))["tenantId"] == tenant
        assert (await caller.request("POST", "/v1/signals", json={"name": "other"}))[0] == 403
        assert (await caller.request("POST", "/v1/signals", json={"name": f"{name}.a", "tenantId": "x"}))[0] == 403
        assert (await caller.request("POST", "/engine-rest/signal", json={"name": f"{name}.a"}))[0] == 204
        assert (await caller.request("POST", "/v2/signals/broadcast", json={"signalName": f"{name}.a"}))[0] == 200
        assert (await caller.request("GET", "/v1/signals"))[0] == 403

        keys = {"Idempotency-Key": name}
        document = {"name": f"{name}.a", "tenantId": tenant}
        ids = set()
        for token in (other.sign(**THROW, **limits), other.sign(**THROW, **limits, sub="bob")):
            for _ in range(2):
                _, _, body = await here.caller(token).request("POST", "/v1/signals", json=document, headers=keys)
                ids.add(body["id"])
        assert len(ids) == 2, "one for each subject"

        boss = here.caller(other.sign(permissions=["admin"], tenants="*", names="#"))
        made = await boss.post("/v1/tokens", {"name": fresh_id("token"), "permissions": []}, expect=400)
        made = await boss.post("/v1/tokens", {"name": "t", "permissions": ["signals:read"], "names": ["#"]}, expect=201)
        assert made["createdBy"] == "jwt:alice"
        for token in (other.sign(aud="another"), other.sign(exp=1), "a.b.c"):
            assert (await here.caller(token).request("POST", "/v1/signals", json=document))[0] == 401

        other.away = True
        assert (await caller.request("POST", "/v1/signals", json=document))[0] == 202

        async def is_busy():
            token = other.sign(headers={"kid": "later"})
            status, headers, _ = await here.caller(token).request("POST", "/v1/signals", json=document)
            assert status in {401, 503}
            return status == 503 and int(headers["Retry-After"]) > 0

        await eventually(is_busy)
        assert await process.stop() == 0
    assert (await client.caller(other.sign(**THROW)).request("POST", "/v1/signals", json=document))[0] == 401
