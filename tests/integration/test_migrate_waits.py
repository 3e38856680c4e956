"""While PostgreSQL does not answer, `migrate` says what it waits for, and at the end which setting leads there."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from broker.errors import StoreUnavailable
from broker.store.postgres.migrate import migrate
from tests.support.eventually import eventually
from tests.support.ports import free_ports


def waits(logs):
    return [log for log in logs if log["event"] == "migration.waits"]


@pytest.mark.parametrize(("host", "reason"), [("127.0.0.1", "Connect"), ("nowhere.invalid", "gaierror")])
async def test_a_host_that_does_not_answer_is_told_at_once_and_named_at_the_end(host, reason):
    (port,) = free_ports(1)
    with capture_logs() as logs, pytest.raises(StoreUnavailable) as raised:
        await migrate(f"postgresql://me:hunter2@{host}:{port}/signals", wait=1)
    first = waits(logs)[0]
    assert (first["seconds"], first["hint"]) == (0, f"waiting for PostgreSQL at {host}:{port}")
    assert reason in first["error"]
    assert str(raised.value).startswith(f"SIGNAL_BROKER_STORE_URL: PostgreSQL at {host}:{port} did not answer within ")
    assert reason in str(raised.value)
    assert "hunter2" not in f"{logs}{raised.value}"


async def test_a_server_that_hangs_is_told_before_the_first_try_is_over():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with capture_logs() as logs:
            migrating = asyncio.create_task(migrate(f"postgresql://me@127.0.0.1:{port}/signals", wait=60))
            [told] = await eventually(lambda: waits(logs))
            migrating.cancel()
            with suppress(asyncio.CancelledError):
                await migrating
    assert (told["hint"], told["error"]) == (f"waiting for PostgreSQL at 127.0.0.1:{port}", "no answer yet")
