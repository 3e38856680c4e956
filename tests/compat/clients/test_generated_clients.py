"""Clients that generators make of the OpenAPI document compile, and throw a first signal."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest

from tests.compat.clients.kinds import KINDS
from tests.support import python_client
from tests.support.product import ADMIN_TOKEN
from tests.support.throwing import recorded

DOCUMENT = (Path(__file__).parents[3] / "docs" / "http.md").read_text()

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["openapi-python-client", "openapi-typescript", "@hey-api/openapi-ts"])
async def test_a_generated_client_throws_a_first_signal(product, client, tmp_path, kind):
    openapi = await client.get("/openapi.json")
    throw = await asyncio.to_thread(KINDS[kind], tmp_path, openapi)
    id_ = await asyncio.to_thread(throw, product.url, ADMIN_TOKEN, "clients.tried")
    assert (await recorded(client, id_))["payload"] == {"order": 7}


async def test_the_documents_python_client_has_not_the_name_of_ours(client, tmp_path):
    [command] = re.findall("`openapi-python-client (.*)`", DOCUMENT)
    [config] = re.findall("```yaml\n(project_name_override.*?)```", DOCUMENT, re.DOTALL)
    (tmp_path / "client.yml").write_text(config)
    (tmp_path / "openapi.json").write_text(json.dumps(await client.get("/openapi.json")))
    command = command.replace("--url http://127.0.0.1:8080/openapi.json", "--path openapi.json")
    run = [Path(sys.executable), "-m", "openapi_python_client", *command.split()]
    await asyncio.to_thread(python_client.run, *run, cwd=tmp_path)
    [project] = tmp_path.glob("*/pyproject.toml")
    assert tomllib.loads(project.read_text())["tool"]["poetry"]["name"] == "shop-signals"
    assert (project.parent / "shop_signals" / "__init__.py").is_file()
