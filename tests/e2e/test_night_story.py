"""Three in the morning: a customer did not get a webhook. The person on call has a terminal, a URL and a token."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time

import pytest

from tests.support.eventually import eventually
from tests.support.product import COMMAND, Process, client_of
from tests.support.receiver import Answer, receiver

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SECONDS = 60
"""How long all commands of the story may take together."""
OTHERS = 500
"""How many signals of other customers are around."""


class Terminal:
    """A laptop's: each command is a process of its own, started in a directory without a product, and timed.

    Attributes:
        steps: What was called, and the seconds that it took.
    """

    def __init__(self, home, url, token):
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("SIGNAL_BROKER_", "XDG_"))
        }
        own = {"HOME": str(home), "NO_COLOR": "1", "SIGNAL_BROKER_URL": url, "SIGNAL_BROKER_TOKEN": token}
        self._environment = inherited | own
        self._home = home
        self.steps = []

    async def __call__(self, *arguments):
        """Return what the command printed; it must succeed."""
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *arguments,
            cwd=self._home,
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        self.steps.append((" ".join(arguments), time.monotonic() - began))
        assert (process.returncode, err.decode()) == (0, ""), arguments
        return out.decode()


async def happened_before(client, other, broken):
    """Make the night: globex's target answers 500, and hundreds of other signals are delivered. Return globex's id."""
    for tenant, url in (("globex", broken), ("acme", other)):
        document = {"name": "invoice.#", "tenantId": tenant, "target": {"kind": "webhook", "url": url}}
        made = await client.post("/v1/subscriptions", document | {"retry": {"schedule": [], "maxAttempts": 1}})
        if tenant == "globex":
            subscription = made["id"]
    for number in range(90, 95):
        signal = {"name": "invoice.paid", "tenantId": "globex", "businessKey": f"INV-{number}"}
        await client.post("/v1/signals", signal | {"payload": {"cents": number}})
    batch = [{"name": "invoice.paid", "tenantId": "acme", "businessKey": f"A-{number}"} for number in range(OTHERS)]
    await client.post("/v1/signals/batch", {"signals": batch})
    return subscription


async def state_is(client, delivery, state):
    return (await client.get(f"/v1/deliveries/{delivery}"))["state"] == state


async def test_a_customer_did_not_get_a_webhook(database_url, rabbitmq_url, tmp_path, capsys):
    environment = {"STORE_URL": database_url, "TRANSPORT_URL": rabbitmq_url, "DATA_DIR": str(tmp_path / "data")}
    (tmp_path / "laptop").mkdir()
    async with (
        receiver() as target,
        Process("run", environment=environment, log=tmp_path / "log") as process,
        client_of(process.url) as client,
    ):
        broken = target.answer("/old", Answer(status=500, body=b'{"hint": "moved to /new"}'))
        mended = target.answer("/new", Answer(status=204))
        subscription = await happened_before(client, target.url("/acme"), broken)
        permissions = ["signals:read", "deliveries:manage", "subscriptions:manage"]
        token = (await client.post("/v1/tokens", {"name": "on call", "permissions": permissions}))["token"]
        await eventually(lambda: len(target.requests) == OTHERS + 5)
        call = Terminal(tmp_path / "laptop", process.url, token)

        # "Globex did not get the webhook for invoice INV-92."
        found = await call("signals", "list", "--tenant", "globex", "--business-key", "INV-92")
        signal = re.search(r"^(\d+) .* invoice\.paid ", found, re.MULTILINE)[1]
        delivery = f"{signal}-{subscription}"
        await eventually(lambda: state_is(client, delivery, "dead"))

        listed = await call("deliveries", "list", "--signal", signal)
        assert re.search(rf"^{delivery} +invoice\.paid +dead ", listed, re.MULTILINE)
        why = await call("deliveries", "show", delivery)
        assert "HTTP 500" in why
        assert "moved to /new" in why
        assert broken in why

        # The target has moved: mend it, and try it before anything real is sent.
        await call("subscriptions", "edit", str(subscription), "--webhook", mended)
        assert "succeeded" in await call("subscriptions", "test", str(subscription))
        await call("deliveries", "redrive", delivery)
        await eventually(lambda: state_is(client, delivery, "delivered"))
        shown = await call("deliveries", "show", delivery)
        assert re.search(r"^state +delivered$", shown, re.MULTILINE)
        assert target.requests[-1].headers["webhook-id"] == delivery

        # INV-92 was not the only one.
        others = ("redrive", "--subscription", str(subscription), "--state", "dead")
        assert re.search(r"^count +4$", await call(*others, "--dry-run"), re.MULTILINE)
        await call(*others, "--per-second", "100")
        sent = {f"{one['id']}-{subscription}" for one in (await client.get("/v1/signals?tenantId=globex"))["items"]}
        await eventually(lambda: {one.headers["webhook-id"] for one in target.requests if one.path == "/new"} >= sent)

        async def balanced():
            books = await client.get(f"/v1/ledger?subscriptionId={subscription}")
            return books["deliveries"]["delivered"] == books["matched"] == 5

        await eventually(balanced)
        books = await call("ledger", "--subscription", str(subscription))
        assert re.search(r"^dead +0$", books, re.MULTILINE)
        assert re.search(r"^unaccounted +0$", books, re.MULTILINE)
        assert await process.stop() == 0

    total = sum(seconds for _, seconds in call.steps)
    lines = [f"{seconds:6.2f} s  {line}" for line, seconds in [*call.steps, ("all commands", total)]]
    with capsys.disabled():
        sys.stdout.write("\n".join(["", *lines, ""]))
    assert total < SECONDS
    assert not list((tmp_path / "laptop").iterdir()), "commands leave nothing behind"
