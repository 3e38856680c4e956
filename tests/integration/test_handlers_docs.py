"""docs/handlers.md: its example runs as it says, its test passes, and a team's type checker is content with both."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.support.eventually import eventually
from tests.support.product import Process, client_of
from tests.support.throwing import delivery, throw

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "handlers.md").read_text()
EXAMPLES = ["billing.py", "test_billing.py"]


@pytest.fixture
def team(tmp_path, monkeypatch):
    """Return the folder of a team that installed the product, and wrote the example."""
    for name in EXAMPLES:
        shutil.copy(ROOT / "docs" / "examples" / name, tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def run(*command, **environment):
    """Run a command to its end; return its output if it succeeds."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", *command],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_document_shows_the_example_as_it_is(name):
    assert f"```python {name}\n{(ROOT / 'docs' / 'examples' / name).read_text()}```" in TEXT


async def test_the_example_s_test_passes(team):
    said = await run("pytest", "-q", "-p", "no:cacheprovider", PYTHONPATH=f"{ROOT}{os.pathsep}{team}")
    assert "3 passed" in said


async def test_the_example_is_well_typed(team):
    """The decorator leaves functions as they are, and the product's own types are known to whoever installed it."""
    (team / "wrong.py").write_text(
        "from workers.handlers import Handlers\nhandlers = Handlers()\n"
        "@handlers.on('a')\nasync def twice(payload: int) -> int:\n    return 2 * payload\n\n"
        "async def use() -> str:\n    return await twice(1)\n"
    )
    with pytest.raises(AssertionError) as caught:
        await run("mypy", "--strict", "billing.py", "test_billing.py", "wrong.py", MYPYPATH=str(ROOT))
    assert re.search(r'wrong.py:\d+: error: .*got "int", expected "str"', str(caught.value))
    assert "Found 1 error in 1 file (checked 3 source files)" in str(caught.value)


async def test_the_example_runs_beside_the_product_it_subscribes_to(team, servers):
    environment = {"DATA_DIR": mkdtemp(dir=servers)}
    async with (
        Process("run", "--app", "billing:handlers", environment=environment, log=team / "log") as process,
        client_of(process.url) as client,
    ):
        page = await client.get("/v1/subscriptions")
        book = {one["target"]["handler"]: one for one in page["items"]}["book"]
        signal = await throw(client, "order.paid", payload={"order": 7, "cents": 1200})
        await delivery(client, signal, book, "delivered")
        rows = await eventually(lambda: sqlite3.connect("billing.db").execute("SELECT * FROM invoices").fetchall())
        assert rows == [(f"{signal['id']}-{book['id']}", 7, 1200)]
        assert await process.stop() == 0
