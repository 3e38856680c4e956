"""Sessions of browsers: signing in and out, what ends a session, and what a session alone does not open."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta

import pytest

from broker.moments import read_moment, show_moment
from gateway.sessions import make_value
from tests.support.eventually import eventually
from tests.support.following import following
from tests.support.issuer import AUDIENCE, issuer
from tests.support.product import ADMIN_TOKEN, client_of
from tests.support.sessions import NAME, read_cookie, sign_in
from tests.support.signing_in import PASSWORD, create
from tests.support.throwing import throw, token

pytestmark = pytest.mark.transports("embedded", "rabbitmq")


async def make_token(client, *permissions, **spec):
    return await client.post("/v1/tokens", {"name": "console", "permissions": list(permissions), **spec}, expect=201)


async def events_of(client, kind, principal):
    """Return what the audit has of a kind about a principal."""
    page = await client.get(f"/v1/audit?type={kind}&limit=1000")
    return [event for event in page["items"] if event["principal"] == principal]


async def test_a_token_begins_a_session_that_tells_who_one_is(client):
    made = await make_token(client, "signals:read", tenants=["acme"])
    status, headers, body = await client.caller("").request("POST", "/v1/session", json={"token": made["token"]})

    cookie = read_cookie(headers)
    assert (status, body["principal"], body["permissions"]) == (201, "console", ["signals:read"])
    assert (body["tenants"], body["names"]) == (["acme"], None)
    remaining = read_moment(body["expiresAt"]) - datetime.now(UTC)
    assert timedelta(hours=11, minutes=59) < remaining <= timedelta(hours=12)
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", cookie.value)
    assert (cookie.key, cookie["path"], cookie["samesite"], cookie["secure"]) == (NAME, "/", "Strict", "")
    assert cookie["httponly"] is True
    assert 43_100 < int(cookie["max-age"]) <= 43_200
    assert cookie.value not in str(body)

    shown = await client.caller("").request("GET", "/v1/session", headers={"Cookie": f"{NAME}={cookie.value}"})
    assert (shown[0], shown[2]) == (200, body)


@pytest.mark.slow
async def test_a_user_signs_in_with_name_and_password(client, name):
    made = await create(client, "signals:read", "signals:throw")
    browser = await sign_in(client, user=made["name"], password=PASSWORD)

    assert browser.document["principal"] == made["name"]
    assert await browser.status("GET", f"/v1/signals?name={name}") == 200
    assert await browser.status("POST", "/v1/signals", json={"name": name}) == 202


@pytest.mark.parametrize(
    ("document", "pointers"),
    [
        ({}, {"/token"}),
        ({"user": "u"}, {"/password"}),
        ({"password": "p"}, {"/user"}),
        ({"token": "t", "user": "u", "password": "p"}, {"/user", "/password"}),
        ({"token": ""}, {"/token"}),
        ({"token": "x" * 8001}, {"/token"}),
        ({"user": "u" * 256, "password": "p" * 1025}, {"/user", "/password"}),
        ({"token": 7}, {"/token"}),
        ({"user": "\x00", "password": "\ud800"}, {"/user", "/password"}),
        ({"tokn": "t"}, {"/tokn"}),
    ],
)
async def test_what_is_wrong_with_a_sign_in_is_told_by_member(client, document, pointers):
    status, headers, body = await client.caller("").request("POST", "/v1/session", json=document)

    assert (status, headers["Content-Type"].partition(";")[0]) == (400, "application/problem+json")
    assert {error["pointer"] for error in body["errors"]} == pointers
    assert "Set-Cookie" not in headers


@pytest.mark.parametrize(
    ("data", "headers", "expected"),
    [
        (b"x" * 16_385, {"Content-Type": "application/json"}, 413),
        (b"token=t", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (b'{"token": "t"}', {"Content-Type": "text/plain"}, 415),
        (b"{", {"Content-Type": "application/json"}, 400),
    ],
)
async def test_a_sign_in_is_a_small_json_document(client, data, headers, expected):
    assert (await client.caller("").request("POST", "/v1/session", data=data, headers=headers))[0] == expected


@pytest.mark.parametrize("value", ["sb_wrong", "Ärger", "a.b.c", "signal_" + "x" * 43, "x" * 8000, " ", "'; --"])
async def test_a_wrong_token_begins_nothing(client, value):
    status, headers, body = await client.caller("").request(
        "POST", "/v1/session", json={"token": value}, headers={"Sec-Fetch-Mode": "cors"}
    )
    assert status in {401, 429}, "one address tries all of these"
    assert body["status"] == status
    assert "Set-Cookie" not in headers
    assert "Basic" not in headers.get("WWW-Authenticate", "")


@pytest.mark.slow
async def test_wrong_sign_ins_count_against_guessing_and_right_tokens_go_on(product, name):
    """Tokens and passwords share the budget of an address; who has a right token is not kept out."""
    async with product.sibling("gateway") as process, client_of(process.url) as client:
        anybody = client.caller("")

        async def guess(number):
            wrong = {"user": f"{name}{number}", "password": "wrong"} if number % 2 else {"token": f"sb_{number}"}
            return await anybody.request("POST", "/v1/session", json=wrong)

        answers = await asyncio.gather(*map(guess, range(60)))

        refused = [(headers, body) for status, headers, body in answers if status == 429]
        assert {status for status, _, _ in answers} == {401, 429}
        assert len(refused) >= 20
        assert all(int(headers["Retry-After"]) >= 1 and body["status"] == 429 for headers, body in refused)
        assert (await sign_in(client, token=ADMIN_TOKEN)).document["principal"] == "admin"


async def test_the_cookie_alone_opens_reading_only(client, name):
    browser = await sign_in(client, token=await token(client, "signals:read", "signals:throw"))
    document = {"name": name}

    assert await browser.status("GET", f"/v1/signals?name={name}", headers={"X-CSRF-Token": None}) == 200
    other = (await sign_in(client, token=ADMIN_TOKEN)).document["csrfToken"]
    for wrong in (None, "", "x", "Ä", other, "x" * 5000):
        status, _, body = await browser.request("POST", "/v1/signals", json=document, headers={"X-CSRF-Token": wrong})
        assert (status, body["status"]) == (403, 403), wrong
        assert "X-CSRF-Token" in body["detail"]
    assert await browser.status("DELETE", "/v1/session", headers={"X-CSRF-Token": None}) == 403
    assert await browser.status("POST", "/v1/signals", json=document) == 202


@pytest.mark.parametrize(
    ("headers", "missing"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, "Sec-Fetch-Site"),
        ({"Sec-Fetch-Site": "same-site"}, "Sec-Fetch-Site"),
        ({"Sec-Fetch-Site": "nonsense"}, "Sec-Fetch-Site"),
        ({"Sec-Fetch-Site": None, "Origin": "https://evil.example"}, "Origin"),
        ({"Sec-Fetch-Site": None, "Origin": "null"}, "Origin"),
        ({"Sec-Fetch-Site": None, "Origin": "http://127.0.0.1:1"}, "Origin"),
        ({"Sec-Fetch-Site": None, "Origin": "http://[::1"}, "Origin"),
        ({"Sec-Fetch-Site": None, "Origin": "http://127.0.0.1:99999999"}, "Origin"),
    ],
)
async def test_pages_of_other_origins_neither_act_nor_sign_anybody_in(client, name, headers, missing):
    browser = await sign_in(client, token=ADMIN_TOKEN)
    for path, document in (("/v1/signals", {"name": name}), ("/v1/session", {"token": ADMIN_TOKEN})):
        status, answered, body = await browser.request("POST", path, json=document, headers=headers)

        assert (status, missing in body["detail"]) == (403, True)
        assert "Set-Cookie" not in answered
        assert "Access-Control-Allow-Credentials" not in answered


async def test_pages_of_this_server_act(client, name):
    browser = await sign_in(client, token=ADMIN_TOKEN)
    for headers in (
        {"Sec-Fetch-Site": None, "Origin": client.url},
        {"Sec-Fetch-Site": "same-origin", "Origin": client.url},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": None},
        {"Sec-Fetch-Site": None, "Host": "signals.example", "Origin": "https://signals.example"},
    ):
        assert await browser.status("POST", "/v1/signals", json={"name": name}, headers=headers) == 202


async def test_a_header_with_credentials_wins(client, name):
    """It needs no CSRF token either: no page of another origin can send it."""
    browser = await sign_in(client, token=ADMIN_TOKEN)
    reader = {"Authorization": f"Bearer {await token(client, 'signals:read')}", "X-CSRF-Token": None}

    assert await browser.status("GET", "/v1/signals?limit=1", headers=reader) == 200
    assert await browser.status("POST", "/v1/signals", json={"name": name}, headers=reader) == 403
    assert await browser.status("GET", "/v1/signals?limit=1", headers={"Authorization": "Bearer sb_wrong"}) == 401
    assert await browser.status("GET", "/v1/session", headers=reader) == 401


async def test_a_session_opens_the_native_api_only(client, name):
    browser = await sign_in(client, token=ADMIN_TOKEN)
    for path, document in (
        ("/engine-rest/signal", {"name": name}),
        ("/signal", {"name": name}),
        ("/v2/signals/broadcast", {"signalName": name}),
        ("/api/admin/signal-endpoints", {"name": name}),
    ):
        assert await browser.status("POST", path, json=document) == 401, path


@pytest.mark.slow
async def test_signing_out_ends_the_session_on_every_gateway_at_once(client, second_url):
    browser = await sign_in(client, token=ADMIN_TOKEN)
    async with client_of(second_url) as other:
        there = (await other.caller("").request("GET", "/v1/session", headers=browser.headers))[0]
        status, headers, _ = await browser.request("DELETE", "/v1/session")
        after = (await other.caller("").request("GET", "/v1/session", headers=browser.headers))[0]

    cleared = read_cookie(headers)
    assert (there, status, after) == (200, 204, 401)
    assert (cleared.key, cleared.value, cleared["max-age"], cleared["path"]) == (NAME, "", "0", "/")
    assert await browser.status("GET", "/v1/signals?limit=1") == 401, "a cookie that was copied is of no use"
    assert await browser.status("DELETE", "/v1/session") == 401


async def test_each_sign_in_has_a_new_cookie_and_ends_the_session_before(client):
    """Whoever plants a cookie in another's browser does not know it after that other has signed in."""
    planted = f"{NAME}={make_value()}"
    first = await sign_in(client, token=ADMIN_TOKEN, headers={"Cookie": planted})
    second = await sign_in(client, token=ADMIN_TOKEN, headers={"Cookie": first.cookie})

    assert len({planted, first.cookie, second.cookie}) == 3
    statuses = [await second.status("GET", "/v1/session", headers={"Cookie": one}) for one in (planted, first.cookie)]
    assert statuses == [401, 401]
    assert await second.status("GET", "/v1/session") == 200


async def test_strange_cookies_are_none(client):
    browser = await sign_in(client, token=ADMIN_TOKEN)
    other = await sign_in(client, token=ADMIN_TOKEN)

    async def status(cookie):
        return await browser.status("GET", "/v1/signals?limit=1", headers={"Cookie": cookie})

    strange = [
        f"{browser.cookie}; {other.cookie}",
        f"{browser.cookie}; {browser.cookie}",
        f"{NAME}=",
        f"{NAME}={'x' * 5000}",
        f"{NAME}=Ä{'x' * 42}",
        f'{NAME}="{"x" * 43}"',
        f"{NAME}={make_value()}",
        browser.cookie.upper(),
        ";;==;",
    ]
    assert [await status(cookie) for cookie in strange] == [401] * len(strange)
    assert await status(f"theme=dark; {browser.cookie}; a=b; c") == 200


async def test_what_ends_a_credential_ends_its_sessions(client):
    kept, revoked, rotated = [await make_token(client, "signals:read") for _ in range(3)]
    browsers = [await sign_in(client, token=made["token"]) for made in (kept, revoked, rotated)]

    assert (await client.request("DELETE", f"/v1/tokens/{revoked['id']}"))[0] == 204
    await client.post(f"/v1/tokens/{rotated['id']}/rotate", {"overlapSeconds": 0}, expect=200)

    async def statuses():
        found = [await browser.status("GET", "/v1/signals?limit=1") for browser in browsers]
        return found == [200, 401, 401]

    await eventually(statuses)


@pytest.mark.slow
async def test_a_session_ends_with_the_token_and_that_is_told(client):
    ends_at = show_moment(datetime.now(UTC) + timedelta(seconds=2))
    made = await make_token(client, "signals:read", expiresAt=ends_at)
    status, headers, body = await client.caller("").request("POST", "/v1/session", json={"token": made["token"]})
    assert (status, body["expiresAt"]) == (201, made["expiresAt"])
    assert int(read_cookie(headers)["max-age"]) <= 2
    cookie = {"Cookie": f"{NAME}={read_cookie(headers).value}"}

    async def is_over():
        return (await client.caller("").request("GET", "/v1/session", headers=cookie))[0] == 401

    await eventually(is_over)


@pytest.mark.slow
async def test_a_changed_password_ends_sessions_and_changed_rights_count_at_once(client, name):
    made = await create(client, "signals:throw")
    browser = await sign_in(client, user=made["name"], password=PASSWORD)
    user = f"/v1/users/{made['id']}"

    await client.request("PATCH", user, json={"permissions": ["signals:read"]})

    async def is_limited():
        return await browser.status("POST", "/v1/signals", json={"name": name}) == 403

    await eventually(is_limited)
    await client.request("PATCH", user, json={"password": "another horse"})
    assert await browser.status("GET", "/v1/session") == 401
    other = await sign_in(client, user=made["name"], password="another horse")
    await client.request("DELETE", user)
    assert await other.status("GET", "/v1/session") == 401


async def test_sign_ins_and_sign_outs_are_in_the_audit_without_secrets(client):
    made = await create(client, "signals:read")
    browser = await sign_in(client, user=made["name"], password=PASSWORD)
    await browser.request("DELETE", "/v1/session")

    (started,), (ended,) = [
        await events_of(client, kind, made["name"]) for kind in ("session-started", "session-ended")
    ]
    shown = {"expiresAt": browser.document["expiresAt"]}
    assert (started["before"], started["after"], started["userId"]) == (None, shown, made["id"])
    assert (ended["before"], ended["after"], ended["subjectId"]) == (shown, None, started["subjectId"])


async def test_no_log_line_has_a_cookie_or_a_csrf_token(product, client):
    browser = await sign_in(client, token=ADMIN_TOKEN)
    await browser.request("POST", "/v1/signals", data=b"{", headers={"X-CSRF-Token": "forged-csrf-token"})
    await browser.request("DELETE", "/v1/session")

    log = product.log.read_text()
    assert not [secret for secret in (browser.cookie, browser.document["csrfToken"], "forged-csrf") if secret in log]


@pytest.mark.slow
async def test_a_page_of_an_allowed_origin_reads_answers_but_not_with_the_session(product):
    async with product.sibling("gateway", CORS_ORIGINS="https://app.example") as gateway, client_of(gateway.url) as one:
        browser = await sign_in(one, token=ADMIN_TOKEN)
        foreign = {"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"}
        status, headers, _ = await browser.request("GET", "/v1/session", headers=foreign)
        acting, _, _ = await browser.request("POST", "/v1/signals", json={"name": "a"}, headers=foreign)

    assert status == 200
    assert headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "Access-Control-Allow-Credentials" not in headers, "so a browser keeps the answer from the page"
    assert acting == 403


@pytest.mark.slow
@pytest.mark.parametrize(
    ("url", "cookie_name", "path"),
    [
        ("https://signals.example", f"__Host-{NAME}", "/"),
        ("https://example.com/signals", f"__Secure-{NAME}", "/signals"),
        ("http://example.com/signals", NAME, "/signals"),
    ],
)
async def test_the_cookie_is_for_the_public_url(product, url, cookie_name, path, name):
    async with product.sibling("gateway", PUBLIC_URL=url) as gateway, client_of(gateway.url) as client:
        status, headers, body = await client.caller("").request(
            "POST", "/v1/session", json={"token": ADMIN_TOKEN}, headers={"Origin": url.removesuffix("/signals")}
        )
        cookie = read_cookie(headers)
        assert (status, cookie.key, cookie["path"]) == (201, cookie_name, path)
        assert bool(cookie["secure"]) is url.startswith("https:")
        sent = {"Cookie": f"{cookie.key}={cookie.value}", "X-CSRF-Token": body["csrfToken"]}
        assert (await client.caller("").request("GET", "/v1/session", headers=sent))[0] == 200
        anybody = client.caller("")
        for foreign in ("https://other.example", f"{url.partition('.')[0]}.example:8443", "http://signals.example"):
            headers = sent | {"Origin": foreign}
            assert (await anybody.request("POST", "/v1/signals", json={"name": name}, headers=headers))[0] == 403


@pytest.mark.slow
async def test_a_trusted_proxy_tells_that_the_way_is_secure_and_a_stranger_does_not(product, client):
    secure = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "signals.example", "X-Forwarded-For": "192.0.2.1"}
    stranger = await sign_in(client, token=ADMIN_TOKEN, headers=secure)
    async with (
        product.sibling("gateway", TRUSTED_PROXIES="127.0.0.0/8, ::1/128") as gateway,
        client_of(gateway.url) as behind,
    ):
        trusted = await sign_in(behind, token=ADMIN_TOKEN, headers=secure | {"Origin": "https://signals.example"})

    assert stranger.cookie.startswith(NAME)
    assert trusted.cookie.startswith(f"__Host-{NAME}")


@pytest.mark.slow
async def test_one_follows_signals_by_the_cookie_until_one_signs_out(client, name):
    browser = await sign_in(client, token=await token(client, "signals:read"))
    async with following(client, f"?name={name}", headers={"Cookie": browser.cookie}) as tail:
        signal = await throw(client, name)
        await eventually(lambda: tail.ids == [signal["id"]])
        assert await browser.status("DELETE", "/v1/session") == 204
        await eventually(lambda: tail.ended, within=40, every=0.2)


@pytest.mark.slow
async def test_a_token_of_an_issuer_begins_a_session_that_ends_with_it(product, name):
    async with (
        issuer() as other,
        product.sibling("gateway", OIDC_ISSUER=other.url, OIDC_AUDIENCE=AUDIENCE) as gateway,
        client_of(gateway.url) as client,
    ):
        claims = {"sub": name, "permissions": ["signals:throw"], "names": [f"{name}.#"], "tenants": ["*"]}
        browser = await sign_in(client, token=other.sign(**claims))
        assert browser.document["principal"] == f"jwt:{name}"
        assert browser.document["permissions"] == ["signals:throw"]
        assert read_moment(browser.document["expiresAt"]) < datetime.now(UTC) + timedelta(hours=2)
        assert await browser.status("POST", "/v1/signals", json={"name": f"{name}.a"}) == 202
        assert await browser.status("GET", "/v1/signals?limit=1") == 403
