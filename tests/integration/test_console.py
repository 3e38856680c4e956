"""``/console``: one page that runs only its own script, and lets no payload become markup."""

from __future__ import annotations

import re

import pytest

from gateway.pages import content_security_policy
from tests.support.throwing import recorded, throw


@pytest.fixture
async def page(client):
    _, _, body = await client.caller("").request("GET", "/console")
    return body.decode()


async def test_it_is_a_page_that_needs_no_credentials_to_be_loaded(client):
    status, headers, body = await client.caller("").request("GET", "/console")

    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert body.startswith(b"<!doctype html>")


async def test_it_may_run_only_what_is_in_it_and_fetch_only_from_here(client, page):
    _, headers, _ = await client.request("GET", "/console")

    policy = headers["Content-Security-Policy"]
    assert policy == content_security_policy(page)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "connect-src 'self'" in policy
    assert "unsafe" not in policy
    assert page.count("<script>") == page.count("<style>") == 1
    assert not re.search(r"""https?:|(src|href)=["']?//|\sstyle=|\son\w+=|@import|\burl\(""", page)


async def test_it_writes_values_as_text_and_only_reads(page):
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|Function\(", page)
    assert not re.search(r"\bmethod:", page)


async def test_it_keeps_the_token_in_its_tab(page):
    assert "sessionStorage" in page
    assert not re.search(r"localStorage|document\.cookie|indexedDB", page)


async def test_every_address_that_it_asks_is_described(client, page):
    described = (await client.get("/openapi.json"))["paths"]

    asked = {re.sub(r"\$\{[\w.]+\}", "{id}", path) for path in re.findall(r"[\"`](/(?:v1/|readyz)[^?\"`]*)", page)}

    assert len(asked) == 8
    assert asked <= set(described)


async def test_markup_in_a_signal_comes_to_it_as_json_that_no_browser_reads_as_a_page(client, name):
    markup = "<script>document.title='injected'</script>"
    signal = await throw(client, f"{name}.{markup}", payload={markup: markup})
    await recorded(client, signal["id"])

    _, headers, _ = await client.request("GET", f"/v1/signals/{signal['id']}")

    assert headers["Content-Type"].startswith("application/json")
    found = await client.get(f"/v1/signals/{signal['id']}")
    assert (found["name"], found["payload"]) == (f"{name}.{markup}", {markup: markup})


async def test_the_root_leads_to_the_console(client):
    status, headers, _ = await client.caller("").request("GET", "/", allow_redirects=False)
    assert (status, headers["Location"]) == (302, "console")
    status, headers, _ = await client.caller("").request("GET", "/")
    assert (status, headers["Content-Type"].partition(";")[0]) == (200, "text/html")
