"""The real command, driven as its users drive it: beside a running `signal-broker run`, and on its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from broker.moments import next_millisecond, show_moment
from tests.support.eventually import eventually
from tests.support.instances import Place, Run
from tests.support.product import COMMAND
from tests.support.receiver import Answer, receiver

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


NOWHERE = {
    "TRANSPORT_URL": "amqp://me:hunter2@127.0.0.1:1/",
    "STORE_URL": "embedded:",
    "CONFIRM_TIMEOUT_SECONDS": "0.5",
}
"""Where no RabbitMQ is, so that every try to reach it fails."""
LONG = "word " * 29 + "end"


@pytest.fixture
def place(servers: Path) -> Place:
    """A place of this test's own, with nothing in it."""
    return Place(Path(mkdtemp(dir=servers)))


@pytest.fixture(scope="module")
def broker(servers: Path) -> Iterator[Run]:
    """A product that runs while the tests of this module work beside it; it must not notice."""
    with Run(Place(Path(mkdtemp(dir=servers)))) as run:
        yield run
        assert run.http("/readyz") == 200
        assert [line for line in run.log.read_text().splitlines() if '"level":"error"' in line] == []


def test_a_token_opens_the_gateway_until_it_is_revoked(broker: Run):
    ask = broker.place.ask
    limits = ("--name", "shop.#", "--tenant", "acme", "--queue", "acme.*", "--untenanted")
    made = ask("token", "create", "shop", "--permission", "signals:throw", *limits)
    assert (made["permissions"], made["names"], made["tenants"]) == (["signals:throw"], ["shop.#"], ["acme"])
    assert (made["queues"], made["untenanted"]) == (["acme.*"], True)
    assert broker.http("/v1/signals", made["token"], {"name": "shop.opened"}) == 202
    assert broker.http("/v1/signals", made["token"], {"name": "bank.opened"}) == 403
    listed = {token["name"]: token for token in ask("token", "list")}
    assert listed["shop"]["token"] is None
    assert ask("token", "revoke", str(made["id"])) == {"revoked": made["id"]}
    assert broker.http("/v1/signals", made["token"], {"name": "shop.opened"}) == 401


def test_an_endpoint_is_called_by_its_path_with_its_token(broker: Run):
    made = broker.place.ask("endpoint", "create", "forge", "--token", "hook", "--description", LONG)
    path = "/api/signal-endpoint/forge"
    assert made["url"] == broker.url + path
    assert broker.http(path, made["token"], {"pushed": True}) == 200
    assert broker.http(path, "signal_wrong", {"pushed": True}) == 401
    header, row = broker.place.call("endpoint", "list").stdout.splitlines()
    assert header.split() == ["ID", "NAME", "ENABLED", "DESCRIPTION", "TOKENS", "CREATED", "AT"]
    for title, cell in (("NAME", "forge "), ("ENABLED", "yes "), ("DESCRIPTION", LONG + " "), ("TOKENS", "hook ")):
        assert row[header.index(title) :].startswith(cell), "a table for no terminal is aligned and never wrapped"
    assert broker.place.refusal("endpoint", "create", "forge") == "Error: there is a signal endpoint 'forge' already"


def test_an_endpoint_and_its_tokens_are_renamed_switched_and_deleted(broker: Run):
    ask = broker.place.ask
    ask("endpoint", "create", "mill")
    opener = ask("endpoint", "token", "create", "mill", "wheel")
    renamed = ask("endpoint", "rename", "mill", "sawmill")
    path = "/api/signal-endpoint/sawmill"
    assert (renamed["url"], renamed["tokens"][0]["name"]) == (broker.url + path, "wheel")
    assert broker.http(path, opener["token"], {}) == 200
    assert ask("endpoint", "off", "sawmill")["enabled"] is False
    assert broker.http(path, opener["token"], {}) == 404
    assert ask("endpoint", "token", "rename", "sawmill", "wheel", "saw")["id"] == opener["id"]
    assert [token["name"] for token in ask("endpoint", "token", "list", "sawmill")] == ["saw"]
    assert ask("endpoint", "token", "delete", "sawmill", "saw") == {"deleted": "saw"}
    assert broker.http(path, opener["token"], {}) == 401
    assert ask("endpoint", "delete", "sawmill") == {"deleted": "sawmill"}
    assert broker.place.refusal("endpoint", "on", "sawmill") == "Error: there is no signal endpoint 'sawmill'"


def delivered(books: Any) -> Any:
    """Return *books* if they show a delivery that was made."""
    return books if books["deliveries"]["delivered"] else None


async def test_a_signal_thrown_here_reaches_a_subscription_made_here_and_a_dead_delivery_is_redriven(broker: Run):
    place = broker.place
    async with receiver() as target:
        url = target.answer("/hook", Answer(status=500), Answer(status=204))
        made = place.ask(
            *("subscribe", "policy.*", "--webhook", url, "--tenant", "acme", "--header", "X-Team=claims"),
            *("--max-attempts", "1", "--timeout", "2.5", "--description", "claims"),
            *("--signature", "v1", "--signature", "v1a"),
        )
        assert made["secret"].startswith("whsec_")
        assert (made["tenantId"], made["retry"], made["timeoutSeconds"]) == (
            "acme",
            {"schedule": [], "maxAttempts": 1},
            2.5,
        )
        thrown = place.ask("throw", "policy.changed", "--tenant", "acme", "--payload-file", "-", given='{"n": 1.50}')
        assert (thrown["scope"], thrown["payload"], thrown["state"]) == ("tenant", {"n": 1.5}, "accepted")
        await eventually(lambda: len(target.requests) == 1)
        assert target.requests[0].headers["X-Team"] == "claims"
        signatures = target.requests[0].headers["webhook-signature"].split(" ")
        assert [signature.split(",")[0] for signature in signatures] == ["v1", "v1a"]
        assert b'"payload":{"n": 1.50}' in target.requests[0].body
        delivery = f"{thrown['id']}-{made['id']}"
        await eventually(lambda: place.call("redrive", delivery).returncode == 0)  # it is dead in a moment
        await eventually(lambda: len(target.requests) == 2)
        books = await eventually(lambda: delivered(place.ask("ledger", "--subscription", str(made["id"]))))
        assert (books["matched"], books["unaccounted"]) == (1, 0)
        assert place.ask("redrive", delivery)["attemptCount"] == 2, "what was delivered can be delivered once more"
        await eventually(lambda: len(target.requests) == 3)
    assert "there is no delivery '1-999'" in place.refusal("redrive", "1-999")


async def test_what_is_dead_is_redriven_by_filters_and_the_past_is_replayed(broker: Run):
    place = broker.place
    async with receiver() as target:
        url = target.answer("/hook", *[Answer(status=500)] * 3, Answer())
        made = place.ask("subscribe", "bulk.*", "--webhook", url, "--max-attempts", "1")
        for _ in range(3):
            place.ask("throw", "bulk.one")
        which = ("--subscription", str(made["id"]), "--name", "bulk.#", "--outcome", "refused")
        which += ("--status", "500")
        which += ("--since", "2020-01-01T00:00:00Z", "--until", "2099-01-01T00:00:00Z")
        await eventually(lambda: place.ask("redrive", *which, "--dry-run") == {"count": 3, "dryRun": True})
        assert place.call("redrive", *which, "--dry-run").stdout == "count    3\ndry run  yes\n"
        assert place.ask("redrive", *which, "--per-second", "1000") == {"count": 3, "dryRun": False}
        await eventually(lambda: len(target.requests) == 6)
        assert place.ask("redrive", *which) == {"count": 0, "dryRun": False}
        assert place.ask("redrive", "--all", "--dry-run")["count"] >= 0

        late = place.ask("subscribe", "bulk.*", "--webhook", target.url("/late"))
        window = (str(late["id"]), "--since", "2020-01-01T00:00:00Z", "--name", "bulk.one")
        assert place.ask("replay", *window, "--dry-run") == {"count": 3, "dryRun": True}
        assert place.ask("replay", *window, "--per-second", "100") == {"count": 3, "dryRun": False}
        await eventually(lambda: sum(request.path == "/late" for request in target.requests) == 3)
        assert place.ask("replay", *window) == {"count": 0, "dryRun": False}
        wrong = place.refusal("replay", str(late["id"]), "--until", "soon")
        assert wrong.startswith("Error: /until: must be a date and time with its offset")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("redrive",), "give either a DELIVERY_ID, or filters, or --all"),
        (("redrive", "17-3", "--all"), "give either a DELIVERY_ID, or filters, or --all"),
        (("redrive", "17-3", "--dry-run"), "--dry-run, --per-second, --state and --after go with filters or --all"),
        (("redrive", "--outcome", "bad"), "Invalid value for '--outcome'"),
        (("redrive", "--status", "99"), "Invalid value for '--status'"),
        (("redrive", "--since", "yesterday"), "/since: must be a date and time with its offset"),
        (("redrive", "--name", "a", "--per-second", "0"), "/perSecond: "),
        (("redrive", "999999-1"), "there is no delivery '999999-1'"),
        (("replay", "999999"), "there is no subscription 999999"),
        (("replay", "x"), "Invalid value for 'SUBSCRIPTION_ID'"),
    ],
)
def test_a_redrive_or_replay_that_cannot_be_meant_is_refused(broker: Run, arguments: tuple[str, ...], line: str):
    done = broker.place.call(*arguments)
    assert (done.returncode != 0, done.stdout) == (True, "")
    assert line in done.stderr
    assert "Traceback" not in done.stderr


def test_actions_are_made_of_files(broker: Run, tmp_path: Path):
    (tmp_path / "body").write_text('{"on": {{payload.on}}}')
    url = "http://127.0.0.1:9/{{payload.flag}}"
    made = broker.place.ask(
        *("subscribe", "flags.*", "--webhook", url, "--method", "PUT", "--header", "Authorization=s3cret"),
        *("--body-template", f"@{tmp_path / 'body'}"),
    )
    assert made["target"] == {
        "kind": "webhook",
        "url": url,
        "method": "PUT",
        "headers": {"Authorization": "***"},
        "bodyTemplate": '{"on": {{payload.on}}}',
        "signatures": ["v1"],
        "format": "standard",
        "requestOrigin": None,
    }
    steps = [
        {"target": {"kind": "queue", "queue": queue, "format": "cloudevents-binary"}, "description": queue}
        for queue in ("first", "second")
    ]
    (tmp_path / "steps.json").write_text(json.dumps(steps))
    made = broker.place.ask("subscribe", "flags.*", "--steps", str(tmp_path / "steps.json"))
    assert (made["target"], made["steps"], made["secret"]) == (None, steps, None)


def test_an_ordered_subscription_is_made_here(broker: Run):
    made = broker.place.ask("subscribe", "orders.*", "--queue", "orders", "--ordered", "--head-of-line", "skip")
    assert (made["ordered"], made["headOfLine"]) == (True, "skip")
    assert "/headOfLine" in broker.place.refusal("subscribe", "n", "--queue", "q", "--head-of-line", "skip")


def test_a_subscription_with_a_filter_and_limits_is_made_here(broker: Run, tmp_path: Path):
    condition = {"cpu": {"operator": "NUM_GT", "value": "90"}}
    (tmp_path / "filter").write_text(json.dumps(condition))
    limits = ("--max-in-flight", "4", "--max-per-second", "2.5")
    for given in (json.dumps(condition), f"@{tmp_path / 'filter'}"):
        made = broker.place.ask("subscribe", "load", "--queue", "load", "--filter", given, *limits)
        assert (made["filter"], made["maxInFlight"], made["maxPerSecond"]) == (condition, 4, 2.5)
    assert "--filter is not JSON" in broker.place.call("subscribe", "n", "--queue", "q", "--filter", "{").stderr
    assert "/maxInFlight" in broker.place.refusal("subscribe", "n", "--queue", "q", "--max-in-flight", "0")


def test_the_same_throw_with_the_same_idempotency_key_is_one_signal(broker: Run):
    first = broker.place.ask("throw", "paid", "--payload", "1", "--idempotency-key", "k")
    again = broker.place.ask("throw", "paid", "--payload", "1", "--idempotency-key", "k")
    assert again == first
    assert "Idempotency-Key" in broker.place.refusal("throw", "paid", "--payload", "2", "--idempotency-key", "k")


def test_a_signal_is_thrown_for_later_here(broker: Run):
    deliver_at, expires_at = (datetime.now(UTC) + timedelta(hours=hours) for hours in (1, 2))
    moments = ("--deliver-at", deliver_at.isoformat(), "--expires-at", expires_at.isoformat())
    thrown = broker.place.ask("throw", "later", *moments, "--ordering-key", "order-7")
    assert (thrown["deliverAt"], thrown["expiresAt"]) == (
        show_moment(next_millisecond(deliver_at)),
        show_moment(next_millisecond(expires_at)),
    )
    assert thrown["orderingKey"] == "order-7"
    assert "must be a date and time with its offset" in broker.place.refusal("throw", "n", "--deliver-at", "soon")


def test_the_lines_of_a_file_are_thrown_and_what_is_wrong_is_told_with_its_line(broker: Run, tmp_path: Path):
    file = tmp_path / "signals.jsonl"
    lines = [f'{{"name": "row", "payload": {number}}}' for number in range(1200)]
    file.write_text("\n".join([*lines[:1], "", '{"nome": 1}', "{", *lines[1:]]) + "\n")
    done = broker.place.call("throw", "--batch", str(file), "--idempotency-key", "import", "--json")
    shown = json.loads(done.stdout)
    assert (shown["accepted"], shown["refused"], done.returncode) == (1200, 2, 1)
    told, broken, total = done.stderr.splitlines()
    assert told.startswith("line 3: /name: is required; /nome: unknown field")
    assert broken.startswith("line 4: ")
    assert total == "Error: 2 of 1202 signals were not accepted"
    again = broker.place.ask("throw", "--batch", "-", "--idempotency-key", "import", given=lines[0] + "\n")
    assert again == {"accepted": 1, "refused": 0, "firstId": shown["firstId"], "lastId": shown["firstId"]}
    for wrong in (("throw",), ("throw", "n", "--batch", "-"), ("throw", "--batch", "-", "--tenant", "t")):
        assert broker.place.call(*wrong).returncode == 2


def test_tail_prints_what_is_recorded_one_line_each_and_ends_with_ctrl_c(broker: Run):
    place = broker.place
    thrown = place.ask("throw", "river.rose", "--payload", '{"cm":\n 3}')
    place.ask("throw", "lake.rose")
    done = place.call("tail", "--since-id", "0", "--name", "river.#", "--count", "1", "--json")
    (line,) = done.stdout.splitlines()
    assert (json.loads(line)["id"], json.loads(line)["state"]) == (thrown["id"], "recorded")
    follow = [*COMMAND, "tail", "--since-id", str(thrown["id"] - 1)]
    with subprocess.Popen(follow, env=place.environment, stdout=subprocess.PIPE, text=True) as tail:
        assert tail.stdout is not None
        # Signals of an earlier test with lower ids may have been recorded after them.
        first = next(line for line in tail.stdout if ".rose" in line)
        assert first.split()[2:] == ["river.rose", "broadcast", '{"cm":', "3}"]
        assert "lake.rose" in tail.stdout.readline()
        tail.send_signal(signal.SIGINT)
        assert tail.wait(10) == 0


def test_the_doctor_finds_nothing_wrong_with_a_running_product(broker: Run):
    done = broker.place.call("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    assert not [line for line in done.stdout.splitlines() if line.startswith("fail")]
    checked = {line.split()[1] for line in done.stdout.splitlines()}
    assert checked >= {"settings", "store", "schema", "transport", "topology", "queues", "books", "deliveries"}


@pytest.mark.parametrize(
    ("arguments", "settings", "line"),
    [
        (("subscribe", "n", "--webhook", "ftp://x"), {}, "/target/url: must be an absolute http:// or https:// URL"),
        (("throw", "n", "--payload", "{"), {}, "the payload is not JSON: "),
        (("token", "revoke", "999999"), {}, "there is no token 999999"),
        (("run",), {}, "SIGNAL_BROKER_DATA_DIR: another signal-broker runs on "),
        (("ledger",), {"TRANSPORT_URL": "amqp://me:hunter2/@x"}, "SIGNAL_BROKER_TRANSPORT_URL: must be a URL like "),
        (("topology", "--apply"), NOWHERE, "the topology was not declared within 0.5 s: 127.0.0.1:1: "),
        (("throw", "s"), NOWHERE, "the topology was not declared within 0.5 s: 127.0.0.1:1: "),
        (("ledger",), {"STORE_URL": "postgresql://me:hunter2@127.0.0.1:1/x"}, "PostgreSQL: "),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(
    broker: Run, arguments: tuple[str, ...], settings: dict[str, str], line: str
):
    told = broker.place.refusal(*arguments, **settings)
    assert told.startswith("Error: " + line)
    assert "hunter" not in told


def test_a_mistyped_setting_is_told_and_the_nearest_one_named(broker: Run):
    done = broker.place.call("topology", "--apply", "--json", LOG_LEVLE="debug")
    assert (done.returncode, json.loads(done.stdout)["applied"]) == (0, True)
    assert json.loads(done.stderr)["hint"] == (
        "SIGNAL_BROKER_LOG_LEVLE is not a setting; did you mean SIGNAL_BROKER_LOG_LEVEL?"
    )


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--record-shards", "2"), "only RabbitMQ as the transport splits queues: see SIGNAL_BROKER_TRANSPORT_URL"),
        (("--record-shards", "0"), "Invalid value for '--record-shards': 0 is not in the range 1<=x<=32."),
        (("--attempt-shards", "33"), "Invalid value for '--attempt-shards': 33 is not in the range 1<=x<=32."),
        (("--apply", "--prune", "--record-shards", "2"), "--prune is a step of its own, without numbers of shards"),
    ],
)
def test_a_queue_that_cannot_be_split_so_stays_as_it_is(broker: Run, options: tuple[str, ...], line: str):
    assert line in broker.place.call("topology", *options).stderr


def test_bindings_of_earlier_versions_are_pruned_only_when_asked_for(broker: Run):
    done = broker.place.call("topology", "--apply", "--prune", "--json")
    document = json.loads(done.stdout)
    assert (document["applied"], document["pruned"], document["removed"]) == (True, True, 0)
    assert "signals.record" not in [
        binding["destination"] for binding in document["bindings"] if "witness" not in binding["source"]
    ]
    assert "there was nothing to prune" in broker.place.call("topology", "--apply", "--prune").stdout
    assert "--prune needs --apply" in broker.place.call("topology", "--prune").stderr


def has_recorded(place: Place, signals: int) -> bool:
    """Return whether so many signals are recorded, once PostgreSQL answers: killed, it leaves dead connections."""
    done = place.call("ledger", "--json")
    return done.returncode == 0 and json.loads(done.stdout)["recorded"] == signals


async def test_an_instance_of_its_own_keeps_its_data_from_start_to_start(broker: Run, place: Place):
    assert place.call("migrate").returncode == 0
    token = place.ask("token", "create", "before", "--permission", "admin")["token"]
    assert not place.has_postgres(), "a command that started PostgreSQL stops it"

    with Run(place) as first:
        assert "admin token sb_" in first.said
        assert first.http("/v1/signals", token, {"name": "kept"}) == 202
        assert broker.http("/v1/signals", token, {"name": "kept"}) == 401, "two instances share nothing"
        assert first.end(signal.SIGTERM) == 0
    assert {(line["queue"], line["left_for_redelivery"]) for line in first.events("consumer.stopped")} == {
        ("signals.record", 0),
        ("deliveries.attempt", 0),
        ("deliveries.attempt.slow", 0),
    }
    assert not place.has_postgres()

    with Run(place) as second:
        assert "the one printed at the first start; `signal-broker token create me --permission admin`" in second.said
        assert "sb_" not in second.said
        await eventually(lambda: second.http("/v1/signals/1", token) == 200)
        os.kill(place.postgres(), signal.SIGKILL)
        await eventually(lambda: second.http("/v1/signals", token, {"name": "kept"}) == 202)
        await eventually(lambda: has_recorded(place, 2))
        await eventually(lambda: second.http("/v1/signals/1", token) == 200)  # what was recorded before
        assert second.end(signal.SIGINT) == 0

    with Run(place) as killed:
        assert killed.end(signal.SIGKILL) == -signal.SIGKILL
    assert place.has_postgres()
    assert place.ask("ledger")["recorded"] == 2
    assert not place.has_postgres(), "the last one stops PostgreSQL, though another was killed"


def test_the_doctor_finds_what_is_missing(place: Place):
    done = place.call("doctor", "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["healthy"] is False
    assert report["checks"][-1]["level"] == "fail"
    assert report["checks"][-1]["check"] == "store"
    assert place.call("migrate").returncode == 0
    place.ask("throw", "unheard")
    found = place.call("doctor").stdout
    assert "ok    lost        no accepted signal is lost or missing" in found
    assert "warn  queues" in found
    assert "does a recorder run?" in found


def test_help_is_quick_because_nothing_is_imported_for_it():
    program = "import sys, deploy.cli.main as m; m.main(['--help'], standalone_mode=False); print(*sys.modules)"
    done = subprocess.run([COMMAND[0], "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert {"pydantic", "aiohttp", "asyncpg", "structlog"}.isdisjoint(done.stdout.split())


@pytest.mark.parametrize(
    "command",
    [
        *(("throw", "a"), ("ledger",), ("tail", "--count", "1"), ("listen", "a"), ("explain", "a"), ("audit",)),
        *(("subscribe", "a", "--queue", "q"), ("replay", "1", "--since", "2026-11-22T10:00:00Z"), ("redrive", "--all")),
        *(
            (group, "list")
            for group in ("token", "user", "quota", "endpoint", "signals", "deliveries", "subscriptions")
        ),
        *(("recover",), ("reseal",), ("topology", "--apply")),
    ],
    ids=" ".join,
)
def test_a_command_in_another_directory_makes_no_product_of_its_own(tmp_path: Path, command: tuple[str, ...]):
    place = Place(tmp_path / "elsewhere")
    told = place.refusal(*command)
    assert "there is no signal-broker in" in told
    assert "run `signal-broker run` first" in told
    assert place.call("doctor").returncode == 1
    assert not list(tmp_path.iterdir())
