"""A second SIGINT or SIGTERM ends a process that drains at once, and nothing that was accepted is lost."""

from __future__ import annotations

import signal as signals
import socket
import time
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.support.eventually import eventually
from tests.support.instances import Place, Run
from tests.support.product import Process, client_of
from tests.support.proxy import proxy
from tests.support.receiver import Answer
from tests.support.throwing import delivery, recorded, subscribe, throw
from tests.support.waiting import logged

NEVER = {"DRAIN_TIMEOUT_SECONDS": "600", "WEBHOOK_TIMEOUT_SECONDS": "300", "BODY_TIMEOUT_SECONDS": "600"}
WITHOUT_ITS_BODY = (
    "POST /v1/signals HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n"
    "Content-Length: 9\r\nExpect: 100-continue\r\n\r\n"
)


async def interrupt(process, first, second):
    """Send the second signal while the process drains; return its exit status."""
    process.process.send_signal(first)
    await logged(process.log, lambda lines: any(line["event"] == "process.stopping" for line in lines))
    assert process.process.returncode is None
    process.process.send_signal(second)
    return await process.process.wait()


@pytest.fixture(params=["embedded", "rabbitmq"])
def environment(request, database_url):
    """Settings with which nothing in flight ends by itself, on each transport."""
    own = {"TRANSPORT_URL": request.getfixturevalue("rabbitmq_url")} if request.param == "rabbitmq" else {}
    return {"STORE_URL": database_url, **NEVER, **own}


@pytest.mark.slow
@pytest.mark.parametrize("second", [signals.SIGINT, signals.SIGTERM])
async def test_an_attempt_under_way_is_left_for_redelivery(environment, webhooks, name, tmp_path, second):
    url = webhooks.answer("/hook", Answer(fate="hang"), Answer())
    async with Process("run", environment=environment, log=tmp_path / "log") as process, client_of("") as client:
        client.url = process.url
        subscription = await subscribe(client, name, url)
        signal = await throw(client, name)
        await eventually(lambda: webhooks.requests)
        assert await interrupt(process, signals.SIGINT, second) == 128 + second
        lines = await logged(process.log, lambda lines: lines[-1]["event"] == "process.stopped")
        left = {line["queue"]: line["left_for_redelivery"] for line in lines if line["event"] == "consumer.stopped"}
        assert left.pop("signals.record") <= 1  # the recorder may not have settled what it has published already
        assert left == {"deliveries.attempt": 1, "deliveries.attempt.slow": 0}
        assert lines[-1]["interrupted"] is True
        await process.start()
        await delivery(client, signal, subscription, "delivered")


@pytest.mark.slow
@pytest.mark.parametrize("role", ["gateway", "recorder", "deliverer", "scheduler"])
async def test_a_store_that_hangs_is_not_waited_for(role, database_url, rabbitmq_url, name, tmp_path):
    environment = {"STORE_URL": database_url, "TRANSPORT_URL": rabbitmq_url, **NEVER}
    async with proxy(database_url) as store:
        command = ["gateway"] if role == "gateway" else ["worker", role]
        hanging = environment | {"STORE_URL": store.url, "STORE_TIMEOUT_SECONDS": "300"}
        async with (
            Process("run", environment=environment, log=tmp_path / "product") as product,
            Process(*command, environment=hanging, log=tmp_path / "log") as process,
            client_of(product.url) as client,
        ):
            store.stall()
            signal = await throw(client, name)
            assert await interrupt(process, signals.SIGTERM, signals.SIGTERM) == 143
            await recorded(client, signal["id"])


@pytest.mark.slow
def test_a_request_under_way_is_given_up_and_the_embedded_postgresql_stopped(tmp_path):
    place = Place(Path(mkdtemp(dir=tmp_path)))
    place.environment |= {f"SIGNAL_BROKER_{name}": value for name, value in NEVER.items()}
    with Run(place) as run:
        token = place.ask("token", "create", "me", "--permission", "admin")["token"]
        assert run.http("/v1/signals", token, {"name": "kept"}) == 202
        host, port = run.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as caller:
            caller.sendall(WITHOUT_ITS_BODY.format(token).encode())
            assert caller.recv(1 << 10).startswith(b"HTTP/1.1 100 ")
            run.process.send_signal(signals.SIGTERM)
            while not run.events("process.stopping"):
                time.sleep(0.01)
            assert run.process.poll() is None
            while run.process.poll() is None:
                run.process.send_signal(signals.SIGTERM)
                time.sleep(0.01)
            assert run.process.returncode == 128 + signals.SIGTERM
    assert not place.has_postgres()
    books = place.ask("ledger")
    assert books["recorded"] + books["awaitingRecord"] == 1
