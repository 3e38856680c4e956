"""A client generated from Unleash's interface of signal endpoints does all thirteen operations.

``unleash_openapi.json`` describes them as Unleash documents them; openapi-python-client makes a client of it, which
parses every answer strictly: members, dates, enumerations.
"""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
from datetime import UTC
from pathlib import Path

import pytest

from tests.support.product import ADMIN_TOKEN
from tests.support.throwing import fresh_id, recorded

INTERFACE = Path(__file__).with_name("unleash_openapi.json")


@pytest.fixture(scope="session")
def generated(tmp_path_factory):
    """Return the name of the generated package, which can be imported."""
    directory = tmp_path_factory.mktemp("generated")
    (directory / "config.yml").write_text("post_hooks: []")
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--path", INTERFACE, "--meta", "none"]
    command += ["--output-path", directory / "unleash_client", "--config", directory / "config.yml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done
    sys.path.insert(0, str(directory))
    yield "unleash_client"
    sys.path.remove(str(directory))


@pytest.fixture
def operate(product, generated):
    """Return a function that does an operation, as the administrator or with a token, and returns what was parsed."""
    client = importlib.import_module(f"{generated}.client")

    async def operate(operation, *path, status=200, token=ADMIN_TOKEN, **arguments):
        module = importlib.import_module(f"{generated}.api.operational.{operation}")
        with client.AuthenticatedClient(base_url=product.url, token=token) as caller:
            answer = await asyncio.to_thread(module.sync_detailed, *path, client=caller, **arguments)
        assert answer.status_code == status, answer
        return answer.parsed

    return operate


@pytest.fixture
def models(generated):
    """Return the generated models."""
    return importlib.import_module(f"{generated}.models")


@pytest.mark.slow
async def test_the_generated_client_does_every_operation(client, operate, models):
    name, renamed = fresh_id("endpoint"), fresh_id("endpoint")
    wanted = models.CreateSignalEndpointSchema(name=name, description="for a test")

    made = await operate("create_signal_endpoint", status=201, body=wanted)
    id_ = str(made.id)
    token = await operate(
        "create_signal_endpoint_token", id_, status=201, body=models.CreateSignalEndpointTokenSchema(name="first")
    )
    assert (made.name, made.enabled, made.description, made.tokens) == (name, True, "for a test", [])
    assert made.url.endswith(f"/api/signal-endpoint/{name}")
    assert token.signal_endpoint_id == made.id

    called = await operate("call_signal_endpoint", name, token=token.token)
    [signal] = called.signals
    assert (signal.source_id, signal.created_by_source_token_id) == (made.id, token.id)
    assert signal.payload.to_dict() == {}
    await recorded(client, signal.id)

    again = models.CreateSignalEndpointTokenSchema(name="renamed")
    assert (await operate("update_signal_endpoint_token", id_, str(token.id), body=again)).name == "renamed"
    [listed] = (await operate("get_signal_endpoint_tokens", id_)).signal_endpoint_tokens
    assert (listed.id, listed.name, bool(listed.token)) == (token.id, "renamed", False)

    [of_one] = (await operate("get_signal_endpoint_signals", id_, limit="20", offset="0")).signal_endpoint_signals
    assert (of_one.id, of_one.token_name, of_one.source_id) == (signal.id, "renamed", made.id)
    today = f"IS:{signal.created_at.astimezone(UTC).date()}"
    found = await operate("get_signals", from_=today, to=today, limit="1000", offset="0")
    assert found.total >= 1
    assert [one.source_name for one in found.signals if one.id == signal.id] == [name]

    assert (await operate("disable_signal_endpoint", id_)).enabled is False
    assert (await operate("enable_signal_endpoint", id_)).enabled is True
    updated = await operate(
        "update_signal_endpoint", id_, body=models.CreateSignalEndpointSchema(name=renamed, enabled=False)
    )
    assert (updated.name, updated.enabled, updated.description) == (renamed, False, None)
    assert renamed in [one.name for one in (await operate("get_signal_endpoints")).signal_endpoints]

    await operate("delete_signal_endpoint_token", id_, str(token.id))
    assert (await operate("get_signal_endpoint_tokens", id_)).signal_endpoint_tokens == []
    await operate("delete_signal_endpoint", id_)
    assert renamed not in [one.name for one in (await operate("get_signal_endpoints")).signal_endpoints]


@pytest.mark.slow
async def test_the_generated_client_understands_refusals(operate, models):
    wanted = models.CreateSignalEndpointSchema(name=fresh_id("endpoint"))
    made = await operate("create_signal_endpoint", status=201, body=wanted)
    names = {
        (await operate("call_signal_endpoint", wanted.name, status=401)).name,
        (await operate("get_signal_endpoints", status=401, token="wrong")).name,
    }
    missing = await operate("delete_signal_endpoint", str(made.id + 10_000), status=404)
    wrong = await operate(
        "create_signal_endpoint", status=400, body=models.CreateSignalEndpointSchema(name="Not a name")
    )

    assert names == {"UnauthorizedError"}
    assert missing.name == "NotFoundError"
    assert (wrong.name, wrong.details[0].path) == ("BadDataError", "name")
