"""Sessions as a real browser keeps them: what scripts see of one, and what pages from elsewhere can do with it."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from tests.support.browser import opened_window
from tests.support.eventually import eventually
from tests.support.product import ADMIN_TOKEN, client_of
from tests.support.reverse_proxy import reverse_proxy
from tests.support.sessions import NAME
from tests.support.throwing import recorded, throw

pytestmark = pytest.mark.slow

ASK = """
    async ([method, path, body, csrf]) => {
        const headers = {"Content-Type": "application/json", ...(csrf ? {"X-CSRF-Token": csrf} : {})};
        const answer = await fetch(path, {method, headers, body: body ? JSON.stringify(body) : undefined});
        return [answer.status, await answer.json().catch(() => null)];
    }
"""
SEND = """
    async ([url, document]) => {
        const body = new Blob([JSON.stringify(document)]);
        await fetch(url, {method: "POST", mode: "no-cors", credentials: "include", body});
    }
"""
"""What a page may send to any server, without being told what that answers: it has no content type."""
FOLLOW = """
    (path) => {
        window.followed = [];
        window.source = new EventSource(path);
        window.source.onmessage = (event) => window.followed.push(Number(event.lastEventId));
        return new Promise((done) => { window.source.onopen = () => done(true); });
    }
"""


async def ask(tab, method, path, body=None, csrf=None):
    """Return (status, body) of what a script of the page is answered; *path* is relative to the console's."""
    return await tab.page.evaluate(ASK, [method, path, body, csrf])


async def sign_in(tab):
    """Sign in from a page of the console, and return what the answer says."""
    await tab.open("/console")
    status, document = await ask(tab, "POST", "v1/session", {"token": ADMIN_TOKEN})
    assert status == 201
    return document


async def is_told(client, tab, name):
    """Let a page follow signals of that *name*, throw one, and wait until it comes."""
    assert await tab.page.evaluate(FOLLOW, f"v1/signals/tail?name={name}")
    signal = await throw(client, name)

    async def has_come():
        return await tab.page.evaluate("window.followed") == [signal["id"]]

    await eventually(has_come)


@asynccontextmanager
async def page_at(host):
    """Yield the URL of a page that no policy restricts, on a server of its own on the loopback interface."""

    async def page(_):
        return web.Response(text="<!doctype html><title>elsewhere</title>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/{path:.*}", page)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://{host}:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def test_scripts_do_not_see_the_cookie_and_act_with_the_csrf_token(client, tab, name):
    document = await sign_in(tab)
    signal = {"name": name}

    assert (
        await tab.page.evaluate("document.cookie + JSON.stringify([{...localStorage}, {...sessionStorage}])")
        == "[{},{}]"
    )
    assert await ask(tab, "GET", "v1/session") == [200, document]
    tab.expect("403")
    assert (await ask(tab, "POST", "v1/signals", signal))[0] == 403
    assert (await ask(tab, "POST", "v1/signals", signal, document["csrfToken"]))[0] == 202
    await tab.page.reload()
    assert await ask(tab, "GET", "v1/session") == [200, document]
    assert (await ask(tab, "DELETE", "v1/session", csrf=document["csrfToken"]))[0] == 204
    assert await tab.page.context.cookies() == []
    tab.expect("401")
    assert (await ask(tab, "GET", "v1/session"))[0] == 401


async def test_a_tab_that_a_test_signs_in_has_the_session(tab):
    document = await tab.sign_in(token=ADMIN_TOKEN)
    await tab.open("/console")
    assert await ask(tab, "GET", "v1/session") == [200, document]


async def test_an_event_source_follows_signals_by_the_cookie(client, tab, name):
    await sign_in(tab)
    await is_told(client, tab, name)


@pytest.mark.parametrize(("host", "status"), [("localhost", 401), ("127.0.0.1", 403)])
async def test_a_page_of_another_site_has_no_cookie_and_one_of_the_same_site_does_not_act(
    client, tab, name, host, status
):
    """Ports do not make a site: pages of all servers of the host have the cookie sent along."""
    await sign_in(tab)
    async with page_at(host) as elsewhere:
        await tab.page.goto(elsewhere)
        tab.expect(str(status))
        async with tab.page.expect_response(f"{client.url}/v1/signals") as answered:
            await tab.page.evaluate(SEND, [f"{client.url}/v1/signals", {"name": name}])
        assert (await answered.value).status == status

    last = await throw(client, f"{name}.last")
    await recorded(client, last["id"])
    assert (await client.get(f"/v1/signals?name={name}"))["items"] == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_page_from_elsewhere_signs_nobody_in(client, tab, host):
    """Who is signed in as somebody else without knowing it does what that one then sees."""
    async with page_at(host) as elsewhere:
        await tab.page.goto(elsewhere)
        tab.expect("403")
        async with tab.page.expect_response(f"{client.url}/v1/session") as answered:
            await tab.page.evaluate(SEND, [f"{client.url}/v1/session", {"token": ADMIN_TOKEN}])
        assert (await answered.value).status == 403
    assert await tab.page.context.cookies() == []


async def test_behind_a_proxy_with_tls_and_a_path_the_cookie_is_for_that_path(product, tmp_path, name):
    async with (
        reverse_proxy(tmp_path, path="/signals") as proxy,
        product.sibling("gateway", PUBLIC_URL=proxy.url, TRUSTED_PROXIES="127.0.0.0/8") as gateway,
        client_of(gateway.url) as client,
        opened_window(proxy.url) as window,
    ):
        proxy.target = gateway.url
        tab = await window.tab(ignore_https_errors=True)
        document = await sign_in(tab)
        (cookie,) = await tab.page.context.cookies()
        assert {key: cookie[key] for key in ("name", "path", "httpOnly", "secure", "sameSite")} == {
            "name": f"__Secure-{NAME}",
            "path": "/signals",
            "httpOnly": True,
            "secure": True,
            "sameSite": "Strict",
        }
        assert (await ask(tab, "POST", "v1/signals", {"name": name}, document["csrfToken"]))[0] == 202
        await is_told(client, tab, f"{name}.followed")
