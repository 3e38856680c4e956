"""What somebody adds to the schema makes a gateway answer "not now", in every dialect, never an error of its own."""

from __future__ import annotations

import pytest
import pytest_asyncio

from broker.store.postgres.database import Database
from tests.support.eventually import eventually
from tests.support.postgres import fresh_database
from tests.support.product import Process, client_of

PLAIN, KEYED, ORDERED, CAMUNDA, CAMUNDA8, SUBSCRIBE = (
    ("/v1/signals", {"name": "a"}, {}),
    ("/v1/signals", {"name": "a"}, {"Idempotency-Key": "k"}),
    ("/v1/signals", {"name": "a", "orderingKey": "o"}, {}),
    ("/engine-rest/signal", {"name": "a"}, {}),
    ("/v2/signals/broadcast", {"signalName": "a"}, {}),
    ("/v1/subscriptions", {"name": "a", "target": {"kind": "queue", "queue": "q"}}, {}),
)
ALL = (PLAIN, KEYED, ORDERED, CAMUNDA, CAMUNDA8)
ADD = "ALTER TABLE {0} ADD COLUMN surprise int NOT NULL DEFAULT 1; ALTER TABLE {0} ALTER COLUMN surprise DROP DEFAULT"
DROP = "ALTER TABLE {0} DROP COLUMN surprise"
END = "DO $$ BEGIN EXECUTE format('ALTER SEQUENCE signal_ids MAXVALUE %s', (SELECT last_value FROM signal_ids)); END $$"
SURPRISES = {
    "a sequence at its end": (END, "ALTER SEQUENCE signal_ids NO MAXVALUE", ALL),
    "a column of the keys": (ADD.format("idempotency_keys"), DROP.format("idempotency_keys"), (KEYED,)),
    "a column of the notes": (ADD.format("expected_signals"), DROP.format("expected_signals"), (ORDERED,)),
    "a column of the subscriptions": (ADD.format("subscriptions"), DROP.format("subscriptions"), (SUBSCRIBE,)),
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def gateway(store_server, tmp_path_factory):
    """Yield the URLs of a database and of a gateway on it."""
    directory = tmp_path_factory.mktemp("gateway")
    async with fresh_database(store_server) as url:
        environment = {"STORE_URL": url, "DATA_DIR": str(directory)}
        process = Process("run", environment=environment, log=directory / "log")
        async with process:
            yield url, process.url
        assert "request.failed" not in process.log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("surprise", SURPRISES)
async def test_a_surprise_in_the_schema_is_answered_503_and_by_readiness(gateway, surprise):
    store_url, url = gateway
    begin, end, requests = SURPRISES[surprise]
    async with Database(store_url, size=1) as database, client_of(url) as client:
        await client.post(SUBSCRIBE[0], {**SUBSCRIBE[1], "ordered": True}, expect=201)
        await client.post("/v1/signals", {"name": "a"}, expect=202)
        await database.execute(begin)
        try:
            for path, document, headers in requests:
                status, answered, body = await client.request("POST", path, json=document, headers=headers)
                assert (status, answered.get("Retry-After")) == (503, "1"), body
            if PLAIN in requests:

                async def is_not_ready():
                    await client.request("POST", PLAIN[0], json=PLAIN[1])
                    return (await client.request("GET", "/readyz"))[0] == 503

                await eventually(is_not_ready)
        finally:
            await database.execute(end)

        async def is_accepted():
            answers = [(await client.request("POST", p, json=d, headers=h))[0] for p, d, h in requests]
            return all(status < 300 for status in answers)

        await eventually(is_accepted)
