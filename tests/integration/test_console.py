"""``/console``: files that run only what this server has, and let no payload become markup."""

from __future__ import annotations

import gzip
import re
from hashlib import sha256
from importlib.resources import files

import pytest
from aiohttp import ClientSession

from gateway.console import POLICY
from tests.support.throwing import recorded, throw

CONSOLE = files("gateway.console")
OWN = {entry.name: entry.read_text("utf-8") for entry in (CONSOLE / "app").iterdir() if entry.name != "__pycache__"}
SCRIPTS = "\n".join(text for name, text in OWN.items() if name.endswith(".js"))


@pytest.mark.slow
async def test_it_is_a_page_that_needs_no_credentials_to_be_loaded(client):
    status, headers, body = await client.caller("").request("GET", "/console")

    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == POLICY
    assert body.startswith(b"<!doctype html>")


async def test_every_file_is_there_and_asked_for_again_only_once_it_has_changed(client):
    stranger = client.caller("")
    for name, kind in [(name, kind) for name in OWN for kind in ("html", "css", "js") if name.endswith(f".{kind}")]:
        status, headers, body = await stranger.request("GET", f"/console/{name}")
        assert (status, body.decode()) == (200, OWN[name])
        assert headers["Content-Type"].startswith({"js": "text/javascript", "css": "text/css"}.get(kind, "text/html"))
        assert headers["Cache-Control"] == "no-cache"
        known = {"If-None-Match": headers["ETag"]}
        status, _, body = await stranger.request("GET", f"/console/{name}", headers=known)
        assert (status, body) == (304, b"")


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip, deflate, br, zstd", "gzip"),
        ("br, X-GZIP;q=0.5", "gzip"),
        ("*", "gzip"),
        ("gzip;q=0, *", None),
        ("gzip; q=0.000", None),
        ("identity", None),
        ("", None),
    ],
)
async def test_files_are_compressed_for_those_who_take_it(client, accepted, encoding):
    own = {"Accept-Encoding": accepted}
    async with ClientSession(client.url, auto_decompress=False) as session:
        async with session.get("/console/uplot.js", headers=own) as answer:
            headers, sent = answer.headers, await answer.read()
        async with session.get("/console/uplot.js", headers={**own, "If-None-Match": headers["ETag"]}) as again:
            assert (again.status, await again.read()) == (304, b"")
            assert (again.headers["Vary"], again.headers["ETag"]) == ("Accept-Encoding", headers["ETag"])
        other = {"Accept-Encoding": "identity" if encoding else "gzip", "If-None-Match": headers["ETag"]}
        async with session.get("/console/uplot.js", headers=other) as differs:
            assert differs.status == 200

    assert (headers.get("Content-Encoding"), headers["Vary"]) == (encoding, "Accept-Encoding")
    assert (gzip.decompress(sent) if encoding else sent) == (CONSOLE / "vendor" / "uplot.js").read_bytes()
    assert not encoding or len(sent) < 50_000


@pytest.mark.parametrize("name", ["none.js", "README.md", "..%2F__init__.py", "__init__.py", "%00", "app"])
async def test_there_are_no_other_files(client, name):
    status, _, body = await client.caller("").request("GET", f"/console/{name}")
    assert (status, body["status"]) == (404, 404)


def test_it_may_run_only_what_this_server_has_and_fetch_only_from_here():
    assert "unsafe" not in POLICY
    assert POLICY.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';")
    page = OWN["index.html"]
    assert not re.search(r"""https?:|(src|href)=["']?/|\sstyle=|\son\w+=|<style|<script(?! type="module" src=)""", page)
    assert not re.search(r"@import|\burl\(", OWN["console.css"])


def test_it_writes_values_as_text():
    written = r"[iI]nnerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|Function\(|\bstyle="
    assert not re.search(written, SCRIPTS)


def test_no_script_can_read_what_opens_the_api():
    assert not re.search(r"localStorage|sessionStorage|document\.cookie|indexedDB", SCRIPTS)


def test_what_others_made_is_as_they_published_it():
    table = (CONSOLE / "vendor" / "README.md").read_text("utf-8")
    told = dict(re.findall(r"^\| (\S+\.(?:js|css)) \|.*`([0-9a-f]{64})` \|$", table, re.MULTILINE))
    there = {
        entry.name: sha256(entry.read_bytes()).hexdigest()
        for entry in (CONSOLE / "vendor").iterdir()
        if entry.name.endswith((".js", ".css"))
    }
    assert told == there


async def test_every_address_that_it_asks_is_described(client):
    described = (await client.get("/openapi.json"))["paths"]
    asked = {re.sub(r"\$\{[\w.]+\}", "{id}", path) for path in re.findall(r"[\"`](/(?:v1/|readyz)[^?\"`]*)", SCRIPTS)}
    assert len(asked) > 10
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
