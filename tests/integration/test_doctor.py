"""The doctor looks around the product: keys, clock, names and the ways out; what it finds says what to do."""

from __future__ import annotations

import asyncio
import json
import socket
from datetime import UTC, datetime, timedelta

import pytest
from yarl import URL

from broker.errors import StoreUnavailable
from broker.secrets import SecretBox, make_key
from broker.settings import Settings
from broker.shards import ShardFollower
from broker.store.administration.webhook_keys import WebhookKeyStore
from broker.store.postgres.database import Database
from broker.topology import TOPOLOGY, Topology
from broker.transport.rabbitmq import RabbitTransport
from deploy.cli.checkup import Checkup
from deploy.cli.messaging_checks import examine_messaging
from deploy.cli.privileges import RoleCheck
from tests.support.issuer import issuer
from tests.support.ports import free_ports
from tests.support.postgres import unmigrated
from tests.support.product import SECRET_KEY, Process
from tests.support.remote import Laptop

pytestmark = pytest.mark.slow

WEBHOOK = "http://127.0.0.1:9/hook"
LOOPBACK = "127.0.0.0/8"
HANDLERS = """
from workers.handlers import Handlers

handlers = Handlers("shop")


@handlers.on("a")
def handle(payload): ...
"""


@pytest.fixture
def operator(database_url, tmp_path):
    """The command line where the settings of a store are, and nothing runs."""
    return Laptop(tmp_path, STORE_URL=database_url, SECRET_KEYS=SECRET_KEY, EGRESS_ALLOW=LOOPBACK)


async def examine(operator, **settings):
    """Return what doctor finds: check -> level and detail of its worst finding. Each that is bad names a command."""
    done = await operator.call("doctor", "--json", **{f"SIGNAL_BROKER_{name}": text for name, text in settings.items()})
    assert done.stderr == ""
    found = {}
    for check in json.loads(done.stdout)["checks"]:
        assert check["level"] == "ok" or check["detail"].count("`") >= 2, check
        if found.get(check["check"], ("ok",))[0] == "ok":
            found[check["check"]] = check["level"], check["detail"]
    return found


def without(queues, names):
    return tuple(queue for queue in queues if queue.name not in names)


async def subscribe(operator, url, *options):
    return await operator.ask("subscribe", "order.paid", "--webhook", url, *options)


async def test_a_database_of_another_product_is_told_in_the_words_of_migrate(postgres_url, tmp_path):
    async with unmigrated(postgres_url) as database:
        await database.execute("CREATE TABLE users (id integer)")
        done = await Laptop(tmp_path, STORE_URL=database.url, SECRET_KEYS=SECRET_KEY).call("doctor", "--json")
    assert done.returncode == 1
    failed = [check for check in json.loads(done.stdout)["checks"] if check["level"] == "fail"]
    assert [check["check"] for check in failed] == ["store"]
    assert "seems to belong to another product" in failed[0]["detail"]
    assert "it has users, which signal-broker did not make" in failed[0]["detail"]


async def test_secrets_that_no_key_opens_are_counted_and_dated(operator, database):
    began = datetime.now(UTC).replace(microsecond=0)
    made = await subscribe(operator, WEBHOOK, "--header", "Authorization=Bearer x")
    await WebhookKeyStore(database, SecretBox([SECRET_KEY])).valid()
    assert (await examine(operator))["keys"] == ("ok", "the key ring opens all 3 secrets")
    other = make_key()
    level, detail = (await examine(operator, SECRET_KEYS=other))["keys"]
    assert level == "fail"
    assert detail.startswith(f"no key of the ring opens 3 of 3 secrets (subscriptions {made['id']}; webhook keys 1). ")
    moment = datetime.fromisoformat(detail.split(" from ")[1].split(" to ")[0])
    assert began <= moment <= began + timedelta(minutes=1)
    level, _ = (await examine(operator, SECRET_KEYS=f"{other},{SECRET_KEY}"))["keys"]
    assert level == "ok"


@pytest.mark.parametrize(
    ("ahead", "level", "says"),
    [
        ("0 s", "ok", "differs from PostgreSQL's by 0.0"),
        ("90 s", "warn", "is 90 s behind PostgreSQL's: "),
        ("-10 min", "fail", "is 600 s ahead of PostgreSQL's: "),
    ],
)
async def test_a_clock_that_differs_from_postgresqls_is_told(operator, database, ahead, level, says):
    await database.execute(
        "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS"
        f" $$ SELECT pg_catalog.clock_timestamp() + interval '{ahead}' $$"
    )
    name = await database.fetchval("SELECT current_database()")
    await database.execute(f'ALTER DATABASE "{name}" SET search_path = public, pg_catalog')
    told = (await examine(operator))["clock"]
    assert (told[0], told[1][: len(says)]) == (level, says)


async def test_a_host_without_an_address_is_told_with_whose_webhooks_go_there(operator):
    await subscribe(operator, "https://nowhere.invalid/hook")
    await subscribe(operator, "http://localhost:9/hook")
    level, detail = (await examine(operator))["dns"]
    assert (level, detail[: detail.index(",")]) == ("warn", "no address for nowhere.invalid")
    level, detail = (await examine(operator, OIDC_ISSUER="https://issuer.invalid", OIDC_AUDIENCE="us"))["dns"]
    assert (level, detail[: detail.index(",")]) == ("fail", "no address for issuer.invalid")


async def test_a_webhook_that_may_not_go_where_its_name_leads_is_told(operator):
    await subscribe(operator, "http://localhost:9/hook")
    assert (await examine(operator))["egress"] == (
        "ok",
        "webhooks may reach public addresses, 127.0.0.0/8 (SIGNAL_BROKER_EGRESS_ALLOW)",
    )
    level, detail = (await examine(operator, EGRESS_ALLOW="10.0.0.0/8"))["egress"]
    assert level == "warn"
    assert detail.startswith("webhooks may not reach localhost (")
    assert "SIGNAL_BROKER_EGRESS_ALLOW" in detail


async def test_a_proxy_is_tried_and_looks_up_the_names_of_webhooks_itself(operator):
    await subscribe(operator, "https://nowhere.invalid/hook")
    (port,) = free_ports(1)
    dead = await examine(operator, EGRESS_PROXY=f"http://me:hunter2@127.0.0.1:{port}")
    level, detail = dead["egress"]
    assert level == "fail"
    assert detail.startswith(
        f"the proxy 127.0.0.1:{port} cannot be reached (Connection refused), so no webhook goes out"
    )
    assert "hunter2" not in json.dumps(dead)
    assert dead["dns"] == ("ok", "1 hosts have addresses; those of webhooks are up to the proxy")

    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port):
        level, detail = (await examine(operator, EGRESS_PROXY=f"http://127.0.0.1:{port}"))["egress"]
    assert (level, detail.split(",")[0]) == ("ok", f"webhooks go through the proxy 127.0.0.1:{port}")


async def test_an_issuer_that_does_not_give_its_keys_is_told(operator):
    async with issuer() as tokens:
        settings = {"OIDC_ISSUER": tokens.url, "OIDC_AUDIENCE": "us"}
        assert (await examine(operator, **settings))["issuer"] == ("ok", f"{tokens.url} answers with 1 keys")
        tokens.jwks = {"keys": []}
        level, detail = (await examine(operator, **settings))["issuer"]
        assert (level, detail.split(",")[0]) == ("fail", f"{tokens.url} has no key that tokens may be signed with")
        tokens.away = True
        level, detail = (await examine(operator, **settings))["issuer"]
        assert level == "fail"
        assert detail.startswith(f"{tokens.url} does not answer with its keys (")
        assert f"`curl {tokens.url}/.well-known/openid-configuration`" in detail
    assert "issuer" not in await examine(operator)


async def test_a_file_of_authorities_that_cannot_be_read_is_told(operator, tmp_path):
    level, detail = (await examine(operator, EGRESS_CA_FILE=str(tmp_path / "none.pem")))["egress"]
    assert (level, detail.startswith("SIGNAL_BROKER_EGRESS_CA_FILE: ")) == ("fail", True)


async def test_without_postgresql_or_rabbitmq_it_says_how_to_look_at_them(operator):
    found = await examine(operator, STORE_URL="postgresql://me:hunter2@127.0.0.1:1/x")
    assert found["store"][0] == "fail"
    assert "pg_isready" in found["store"][1]
    found = await examine(operator, TRANSPORT_URL="amqp://127.0.0.1:1/", CONFIRM_TIMEOUT_SECONDS="0.5")
    assert found["transport"][0] == "fail"
    assert "rabbitmq-diagnostics alarms" in found["transport"][1]


async def test_a_rabbitmq_that_hangs_is_waited_for_once(operator):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        found = await examine(
            operator, TRANSPORT_URL=f"amqp://127.0.0.1:{port}/", MANAGEMENT_URL=url, CONFIRM_TIMEOUT_SECONDS="1"
        )
    assert found["transport"][0] == "fail"
    not_asked = "not asked: RabbitMQ does not answer, see `rabbitmq-diagnostics status`"
    for check in ("topology", "queues", "roles", "shards", "bindings", "policies", "lost"):
        assert found[check] == ("warn", not_asked)


async def test_a_management_api_that_hangs_is_waited_for_once(operator, rabbitmq_url):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        found = await examine(operator, TRANSPORT_URL=rabbitmq_url, MANAGEMENT_URL=url, CONFIRM_TIMEOUT_SECONDS="1")
    assert found["transport"] == ("ok", "accepts messages")
    assert found["bindings"][1].startswith("cannot be seen, and without one, say, deliveries stop (")
    assert "did not answer in time)" in found["bindings"][1]
    assert found["policies"][1].startswith("not asked: RabbitMQ's management API does not answer, see ")


async def test_without_postgresql_rabbitmq_is_looked_at_all_the_same(operator, rabbitmq_url):
    with socket.create_server(("127.0.0.1", 0)) as server:
        hung = f"postgresql://me:hunter2@127.0.0.1:{server.getsockname()[1]}/x"
        for url in (hung, "postgresql://me:hunter2@127.0.0.1:1/x"):
            found = await examine(
                operator, STORE_URL=url, TRANSPORT_URL=rabbitmq_url, MANAGEMENT_URL="", STORE_TIMEOUT_SECONDS="1"
            )
            assert found["store"][0] == "fail"
            assert found["transport"] == ("ok", "accepts messages")
            assert found["topology"][0] == "fail"  # nothing has declared it
            assert found["roles"][1].startswith("not asked: PostgreSQL does not answer, see `pg_isready")
    assert not [level for level, detail in found.values() if level == "fail" and "PostgreSQL does not answer" in detail]


async def test_a_postgresql_that_falls_silent_in_the_middle_is_told_and_rabbitmq_looked_at(
    database_url, rabbitmq_url, monkeypatch
):
    async def fall_silent(_follower):
        raise StoreUnavailable("PostgreSQL does not answer")

    monkeypatch.setattr(ShardFollower, "look", fall_silent)
    settings = Settings(store_url=database_url, transport_url=rabbitmq_url, _env_file=None)
    async with Database(database_url) as database:
        role = RoleCheck(database, transport_too=False)
        found = {one.check: one.level async for one in examine_messaging(settings, database, role, Checkup(database))}
    assert (found["handlers"], found["transport"], found["topology"]) == ("fail", "ok", "fail")
    assert (found["queues"], found["roles"], found["lost"]) == ("warn", "warn", "warn")


@pytest.mark.parametrize("transport", ["embedded", "rabbitmq"])
async def test_a_lock_that_statements_wait_for_is_told_and_is_no_silence(operator, database, transport, request):
    own = {"TRANSPORT_URL": request.getfixturevalue("rabbitmq_url")} if transport == "rabbitmq" else {}
    async with database.transaction() as session:
        pid = await session.fetchval("SELECT pg_backend_pid()")
        await session.execute("LOCK TABLE subscriptions IN ACCESS EXCLUSIVE MODE")
        task = asyncio.create_task(examine(operator, STORE_TIMEOUT_SECONDS="1", MANAGEMENT_URL="", **own))
        while not task.done():
            await asyncio.wait([task], timeout=3)
            await session.execute("SELECT 1")  # a transaction that is idle for ten seconds is ended
        found = await task
    level, detail = found["keys"]
    assert level == "fail"
    assert detail.startswith("statements wait, although PostgreSQL answers others: for a lock, most likely that of")
    assert f"pid {pid} signal-broker" in detail
    assert "pg_blocking_pids" in detail
    for check in ("notify", "clock", "books", "retention", "transport", "shards"):
        assert found[check][0] == "ok", (check, found[check])
    assert "does not answer" not in json.dumps(found)
    assert "pg_isready" not in json.dumps(found)


async def test_a_statement_that_is_slow_without_a_lock_is_told_as_slow(operator, database):
    await database.execute("ALTER TABLE webhook_keys RENAME TO slow")
    await database.execute(
        "CREATE VIEW webhook_keys AS SELECT id, public_key, private_key, created_at, valid_until FROM slow"
        " UNION ALL SELECT 0, '', '', now(), NULL FROM pg_sleep(5)"
    )
    level, detail = (await examine(operator, STORE_TIMEOUT_SECONDS="1"))["keys"]
    assert level == "fail"
    assert detail.startswith("a statement takes longer than 1 s (SIGNAL_BROKER_STORE_TIMEOUT_SECONDS)")
    assert "pg_stat_activity" in detail


@pytest.mark.parametrize(
    "gone", [["signals.record.dead"], ["deliveries.attempt.slow"], ["deliveries.attempt.dead", "signals.record"]]
)
async def test_a_queue_of_the_product_that_is_gone_is_told_once_with_what_declares_it(
    operator, database, rabbitmq_url, gone
):
    async with RabbitTransport(rabbitmq_url) as transport:
        await transport.declare(Topology(TOPOLOGY.exchanges, without(TOPOLOGY.queues, gone), ()))
    settings = Settings(store_url=database.url, transport_url=rabbitmq_url, management_url="", _env_file=None)
    role = RoleCheck(database, transport_too=False)
    told = [one async for one in examine_messaging(settings, database, role, Checkup(database)) if one.level != "ok"]
    of_queues = [one for one in told if any(name in one.detail for name in gone)]
    assert [one.check for one in of_queues] == ["topology"]
    assert all(name in of_queues[0].detail for name in gone)
    assert "`signal-broker topology --apply`" in of_queues[0].detail
    assert "worker handlers" not in str(told)


async def test_a_shard_that_is_gone_is_told_once(operator, database, rabbitmq_url):
    async with RabbitTransport(rabbitmq_url) as transport:
        await transport.declare(TOPOLOGY)
    await database.execute("INSERT INTO shards (queue, published, consumed) VALUES ('deliveries.attempt', 2, 2)")
    settings = Settings(store_url=database.url, transport_url=rabbitmq_url, management_url="", _env_file=None)
    role = RoleCheck(database, transport_too=False)
    told = [one async for one in examine_messaging(settings, database, role, Checkup(database)) if one.level != "ok"]
    [of_shard] = [one for one in told if "deliveries.attempt.1" in one.detail]
    assert of_shard.check == "topology"
    assert "`signal-broker topology --attempt-shards N`" in of_shard.detail
    assert "worker handlers" not in str(told)


async def test_what_is_amiss_ends_with_where_its_cure_is(operator):
    await subscribe(operator, "https://nowhere.invalid/hook")
    assert "docs/troubleshooting.md" in (await operator.call("doctor")).stdout


async def test_in_a_terminal_it_is_wrapped_and_without_colours_if_asked_for(operator):
    await subscribe(operator, "https://nowhere.invalid/hook")
    coloured = await operator.show("doctor")
    assert "\x1b[33mwarn" in coloured
    plain = await operator.show("doctor", NO_COLOR="1")
    assert "\x1b" not in plain
    assert max(map(len, plain.splitlines())) <= 80
    assert "\nwarn  dns         no address for nowhere.invalid, where webhooks go: see `getent\n          " in plain


@pytest.fixture(params=["embedded", "rabbitmq"])
def workers(request, database_url, tmp_path):
    """Return (what calls `doctor`, what is a worker of these roles, not yet started) on each transport."""
    own = {"TRANSPORT_URL": request.getfixturevalue("rabbitmq_url")} if request.param == "rabbitmq" else {}
    environment = {"STORE_URL": database_url, "SECRET_KEYS": SECRET_KEY, "EGRESS_ALLOW": LOOPBACK, **own}

    def worker(*roles):
        command = roles if roles == ("gateway",) else ("worker", *roles)
        return Process(*command, environment=environment, log=tmp_path / f"{roles[0]}.log")

    return Laptop(tmp_path, **environment), worker


async def test_roles_that_are_missing_are_named_with_what_to_start(workers):
    operator, worker = workers
    async with worker("recorder") as recorder:
        level, detail = (await examine(operator))["roles"]
        assert level == "warn"
        assert detail.startswith(
            "no gateway and no deliverer and no scheduler runs (without a gateway nothing can be thrown; without a"
            " deliverer no attempt is made; "
        )
        assert "start `signal-broker gateway` and `signal-broker worker deliverer scheduler`, or" in detail
        assert detail.endswith("the Deployments whose names end in `-gateway`, `-deliverer`, `-scheduler`")
        async with worker("scheduler", "deliverer") as others:
            level, detail = (await examine(operator))["roles"]
            assert detail.startswith("no gateway runs (without a gateway nothing can be thrown): start")
            assert "start `signal-broker gateway`, or `signal-broker run`" in detail
            async with worker("gateway") as gateway:
                told = (await examine(operator))["roles"]
                assert told == ("ok", "a gateway, a recorder, a deliverer and a scheduler run")
                await gateway.stop()
            await others.stop()
        await recorder.stop()
    told = await examine(operator)
    assert told["roles"][1].startswith("no gateway and no recorder and no deliverer and no scheduler runs (without a ")


async def test_of_gateways_whose_sessions_have_a_name_of_the_url_nothing_is_said(workers):
    operator, worker = workers
    url = URL(operator.environment["SIGNAL_BROKER_STORE_URL"])
    named = {"STORE_URL": str(url.update_query(application_name="me"))}
    async with worker("recorder", "deliverer", "scheduler"):
        told = (await examine(operator, **named))["roles"]
    assert told == ("ok", "a recorder, a deliverer and a scheduler run")


@pytest.mark.parametrize("workers", ["rabbitmq"], indirect=True)
async def test_on_rabbitmq_a_worker_of_handlers_is_no_deliverer_and_is_missed_by_its_app(workers, tmp_path):
    operator, worker = workers
    (tmp_path / "shop.py").write_text(HANDLERS)
    async with worker("gateway"), worker("recorder", "scheduler"):
        async with worker("handlers", "--app", f"{tmp_path}/shop.py:handlers"):
            assert (await examine(operator))["roles"][1].startswith("no deliverer runs (")
        async with worker("deliverer"):
            level, detail = (await examine(operator))["roles"]
    assert (level, detail.split(",")[0]) == ("warn", "no worker runs for the handlers of shop")
