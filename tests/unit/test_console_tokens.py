"""The console's token: a link brings one, and replaces the one in use only if the operator says so."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

import gateway.console
from tests.support.node import NODE

PAGE = Path(gateway.console.__file__).with_name("console.html").read_text()
SCRIPT = re.search(r"<script>(.*)</script>", PAGE, re.DOTALL)[1]
BROWSER = """
const elements = {}, tokens = new Map(), heard = {};
const element = id => ({
  hidden: true, textContent: "", children: [], classList: {add() {}, remove() {}}, replaceChildren() {},
  addEventListener(type, listener) { heard[`${type} ${id}`] = listener; },
});
globalThis.document = {
  hidden: true, body: element("body"), addEventListener() {}, querySelectorAll: () => [],
  getElementById: id => elements[id] ??= element(id),
};
globalThis.sessionStorage = {
  getItem: key => tokens.get(key) ?? null, setItem: (key, value) => tokens.set(key, value),
  removeItem: key => tokens.delete(key),
};
globalThis.location = {hash: HASH, pathname: "/console"};
globalThis.history = {replaceState(_state, _title, path) { location.hash = path.includes("#") ? HASH : ""; }};
globalThis.fetch = () => new Promise(() => {});
if (OWN) tokens.set("token", OWN);
"""
AFTERWARDS = """
if (CHOICE) heard[CHOICE]({preventDefault() {}});
const asks = !document.getElementById("other").hidden;
console.log(JSON.stringify({token: tokens.get("token") ?? null, asks, hash: location.hash}));
process.exit(0);
"""


def visit(link, *, own="", choice=""):
    """Return the token in use after a visit by a link with that token, and what the console shows."""
    given = {"HASH": f"#token={link}" if link else "", "OWN": own, "CHOICE": choice}
    constants = "".join(f"const {name} = {json.dumps(value)};\n" for name, value in given.items())
    program = constants + BROWSER + SCRIPT + AFTERWARDS
    done = subprocess.run([NODE, "-"], input=program, capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("visited", "token", "asks"),
    [
        ({"link": "sb_given"}, "sb_given", False),
        ({"link": "sb_given", "own": "sb_mine"}, "sb_mine", True),
        ({"link": "sb_mine", "own": "sb_mine"}, "sb_mine", False),
        ({"link": "", "own": "sb_mine"}, "sb_mine", False),
        ({"link": "sb_given", "own": "sb_mine", "choice": "click keep"}, "sb_mine", False),
        ({"link": "sb_given", "own": "sb_mine", "choice": "submit other"}, "sb_given", False),
    ],
)
def test_a_link_replaces_no_token_in_use_without_asking(visited, token, asks):
    link = visited.pop("link")
    assert visit(link, **visited) == {"token": token, "asks": asks, "hash": ""}
