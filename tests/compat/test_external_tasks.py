"""Camunda 7's workers of external tasks, unchanged, work off the deliveries of a pull target."""

from __future__ import annotations

import asyncio
import json
import re
import warnings
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.node import NODE, install
from tests.support.product import ADMIN_TOKEN
from tests.support.throwing import recorded, throw, token

with warnings.catch_warnings():  # its own deprecations
    warnings.simplefilter("ignore")
    from camunda.external_task.external_task_worker import ExternalTaskWorker

BOTH = pytest.mark.transports("embedded", "rabbitmq")
LOCK = 60_000
[WORKER] = re.findall(
    r"^```js worker\.mjs\n(.*?)^```",
    (Path(__file__).parents[2] / "docs" / "camunda.md").read_text(),
    re.MULTILINE | re.DOTALL,
)


@pytest.fixture
async def subscription(client, name):
    """A subscription whose name is the topic; failed attempts are repeated at once, twice."""
    return await client.post(
        "/v1/subscriptions", {"name": name, "target": {"kind": "pull"}, "retry": {"schedule": [0, 0]}}
    )


@pytest.fixture
def fetch(client, name):
    """Call it to fetch tasks; return them."""

    async def fetch(worker="w", *, topics=None, wait=30_000, **wanted):
        topics = topics or [{"topicName": name, "lockDuration": LOCK}]
        body = {"workerId": worker, "maxTasks": 10, "asyncResponseTimeout": wait, "topics": topics, **wanted}
        return await client.post("/engine-rest/external-task/fetchAndLock", body)

    return fetch


@pytest.fixture
def tell(client):
    """Call it to tell what became of a task; return the status and the answer."""

    async def tell(task_id, what, **members):
        path = f"/engine-rest/external-task/{task_id}/{what}"
        status, _, answer = await client.request("POST", path, json={"workerId": "w", **members})
        return status, answer

    return tell


async def delivery(client, task_id):
    return await client.get(f"/v1/deliveries/{task_id}")


@pytest.mark.slow
@BOTH
async def test_the_client_in_javascript_fails_and_completes_tasks(client, product, subscription, name):
    await throw(client, name, payload={"n": 1, "fails": True}, businessKey="b-1")
    directory = await asyncio.to_thread(install, Path(__file__).with_name("node"))
    process = await asyncio.create_subprocess_exec(
        *(NODE, directory / "work.mjs", product.url, ADMIN_TOKEN, name, "2"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, problems = await process.communicate()
    seen = [json.loads(line) for line in out.decode().splitlines() if line.startswith("{")]
    assert [(one["retries"], one["businessKey"], one["variables"]) for one in seen] == [
        (None, "b-1", {"n": 1, "fails": True}),
        (2, "b-1", {"n": 1, "fails": True}),
    ], problems.decode()
    done = await eventually(lambda: delivered(client, seen[0]["id"]))
    assert [(one["outcome"], one["error"], one["worker"]) for one in done["attempts"]] == [
        ("refused", "not yet", "js"),
        ("succeeded", None, "js"),
    ]


@pytest.mark.slow
async def test_the_worker_in_the_documentation_takes_what_a_user_may(client, product, subscription, name, tmp_path):
    user = {"name": name, "password": "a long password", "permissions": ["deliveries:manage", "signals:read"]}
    await client.post("/v1/users", user)
    thrown = await throw(client, name, payload={"n": 1})
    await recorded(client, thrown["id"])
    directory = await asyncio.to_thread(install, Path(__file__).with_name("node"))
    (tmp_path / "node_modules").symlink_to(directory / "node_modules")
    program = tmp_path / "worker.mjs"
    text = WORKER.replace("http://broker:8080", product.url).replace("'worker'", f"'{name}'")
    program.write_text(text.replace("order.paid", name))
    process = await asyncio.create_subprocess_exec(NODE, program, stdout=asyncio.subprocess.DEVNULL)
    try:
        done = await eventually(lambda: delivered(client, f"{thrown['id']}-{subscription['id']}"))
    finally:
        process.terminate()
        await process.wait()
    assert [one["outcome"] for one in done["attempts"]] == ["succeeded"]


async def test_a_caller_without_permissions_is_told_which_are_needed_here(client, name):
    caller = client.caller(await token(client, "signals:read"))
    wanted = {"workerId": "w", "maxTasks": 1, "topics": [{"topicName": name, "lockDuration": LOCK}]}
    status, _, answer = await caller.request("POST", "/engine-rest/external-task/fetchAndLock", json=wanted)
    assert (status, answer["type"]) == (403, "AuthorizationException")
    assert answer["message"].endswith("In signal-broker these are 'deliveries:manage' and 'signals:read'.")


async def delivered(client, task_id):
    found = await delivery(client, task_id)
    return found if found["state"] == "delivered" else None


async def test_the_client_in_python_fails_and_completes_tasks(client, product, subscription, name):
    signal_id = (await throw(client, name, payload={"n": 1}))["id"]
    config = {"auth_bearer": {"access_token": ADMIN_TOKEN}, "retryTimeout": 0, "asyncResponseTimeout": 20_000}
    worker = ExternalTaskWorker("python", f"{product.url}/engine-rest", config)
    seen = []

    def work(task):
        seen.append(task.get_variables())
        if len(seen) == 1:
            return task.failure("not yet", "a while", max_retries=3, retry_timeout=0)
        return task.complete({"done": True})

    for _ in range(2):
        await asyncio.to_thread(worker.fetch_and_execute, name, work)
    found = await delivery(client, f"{signal_id}-{subscription['id']}")
    assert seen == [{"n": 1}, {"n": 1}]
    assert found["state"] == "delivered"
    assert [(one["outcome"], one["error"]) for one in found["attempts"]] == [
        ("refused", "not yet\na while"),
        ("succeeded", None),
    ]


async def test_a_task_is_a_delivery_in_camundas_form(client, subscription, fetch, name):
    variables = {"due": {"value": "2026-01-31T08:00:00.000+0000", "type": "Date"}, "n": {"value": 5, "type": "Long"}}
    await client.post("/engine-rest/signal", {"name": name, "variables": variables, "businessKey": "b"}, expect=204)
    [task] = await fetch()
    assert task["topicName"] == name
    assert task["workerId"] == "w"
    assert task["id"].endswith(f"-{subscription['id']}")
    assert (task["businessKey"], task["retries"], task["tenantId"], task["executionId"]) == ("b", None, None, None)
    assert {key: one["type"] for key, one in task["variables"].items()} == {"due": "Date", "n": "Long"}
    assert task["lockExpirationTime"].endswith("+0000")


async def test_a_topic_is_a_signal_name_or_the_id_of_a_subscription(client, subscription, fetch, name):
    await throw(client, name, payload=[1])
    topics = [{"topicName": str(subscription["id"]), "lockDuration": LOCK, "variables": ["payload"]}]
    [task] = await fetch(topics=topics)
    assert (task["topicName"], list(task["variables"])) == (str(subscription["id"]), ["payload"])


async def test_a_worker_waits_for_the_first_task_of_several_topics(client, subscription, fetch, name):
    other = f"{name}.other"
    await client.post("/v1/subscriptions", {"name": other, "target": {"kind": "pull"}})
    topics = [{"topicName": one, "lockDuration": LOCK} for one in (name, other)]
    [task], _ = await asyncio.gather(fetch(topics=topics), throw(client, other, payload={}))
    assert task["topicName"] == other


async def test_only_the_worker_that_holds_the_lock_ends_and_extends_it(client, subscription, fetch, tell, name):
    await throw(client, name, payload={})
    [task] = await fetch()
    status, answer = await tell(task["id"], "complete", workerId="x")
    assert (status, answer["type"], answer["message"]) == (
        400,
        "RestException",
        f"External Task {task['id']} cannot be completed by worker 'x'. It is locked by worker 'w'.",
    )
    assert (await tell(task["id"], "extendLock", newDuration=LOCK))[0] == 204
    assert (await tell(task["id"], "complete", variables={"a": {"value": 1}}))[0] == 204
    assert (await tell(task["id"], "complete"))[0] == 204, "a repeated request gets the same answer"
    assert (await tell(task["id"], "failure", retries=1))[0] == 400
    assert (await delivery(client, task["id"]))["state"] == "delivered"


async def test_no_retries_are_the_end_of_the_delivery(client, subscription, fetch, tell, name):
    await throw(client, name, payload={})
    [task] = await fetch()
    assert (await tell(task["id"], "failure", errorMessage="bro\0ken\ud800", retries=0))[0] == 204
    found = await delivery(client, task["id"])
    assert (found["state"], found["reason"]) == ("dead", "given up: broken?")


async def test_a_task_tells_what_it_failed_of(client, fetch, tell, name):
    spec = {"name": name, "target": {"kind": "pull"}, "retry": {"schedule": [0]}}
    topic = (await client.post("/v1/subscriptions", spec))["id"]
    await throw(client, name, payload={})
    topics = [{"topicName": str(topic), "lockDuration": LOCK}]
    [first] = await fetch(topics=topics)
    assert (first["errorMessage"], first["errorDetails"]) == (None, None)
    assert (await client.request("GET", f"/engine-rest/external-task/{first['id']}/errorDetails"))[0] == 204
    told = {"errorMessage": "bank down", "errorDetails": "at a\nat b", "retries": 2}
    assert (await tell(first["id"], "failure", **told))[0] == 204
    [again] = await fetch(topics=topics)
    assert (again["errorMessage"], again["errorDetails"]) == ("bank down", "at a\nat b")
    assert (await client.get(f"/engine-rest/external-task/{again['id']}"))["errorMessage"] == "bank down"
    status, headers, details = await client.request("GET", f"/engine-rest/external-task/{again['id']}/errorDetails")
    assert (status, headers["Content-Type"], details) == (200, "text/plain; charset=utf-8", b"at a\nat b")
    assert (await tell(again["id"], "failure", errorMessage="x" * 700, retries=0))[0] == 204
    dead = await client.get(f"/engine-rest/external-task/{again['id']}")
    assert (dead["retries"], dead["errorMessage"]) == (0, "x" * 666)
    assert (await client.request("GET", f"/engine-rest/external-task/{again['id']}/errorDetails"))[0] == 204
    assert (await client.request("GET", "/engine-rest/external-task/1-1/errorDetails"))[0] == 404


@pytest.mark.parametrize("task_id", ["nothing", "1-1", "9223372036854775807-1", "0-0", "%00", "34-"])
@pytest.mark.parametrize("what", ["complete", "failure", "extendLock"])
async def test_what_is_no_task_is_not_there(tell, task_id, what):
    status, answer = await tell(task_id, what, newDuration=LOCK, retries=1)
    assert (status, answer["type"]) == (404, "RestException")
    assert answer["message"].endswith("does not exist")


async def test_a_bpmn_error_is_refused(client, subscription, fetch, tell, name):
    await throw(client, name, payload={})
    [task] = await fetch()
    status, answer = await tell(task["id"], "bpmnError", errorCode="e")
    assert (status, answer["type"]) == (400, "InvalidRequestException")
    assert "cannot end with a BPMN error" in answer["message"]


TOPIC = {"topicName": "t", "lockDuration": LOCK}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"workerId": None}, "workerId is null"),
        ({"workerId": "a\nb"}, "workerId: "),
        ({"workerId": "a\0"}, "workerId: "),
        ({"topics": [{**TOPIC, "topicName": "\ud800"}]}, "topics[0].topicName: contains the character U+D800"),
        ({"topics": [{**TOPIC, "topicName": "\0"}]}, "topics[0].topicName: contains the character U+0000"),
        ({"topics": [{**TOPIC, "topicName": "9" * 256}]}, "topics[0].topicName: is 256 bytes long"),
        ({"topics": [{**TOPIC, "tenantIdIn": ["\udc00"]}]}, "topics[0].tenantIdIn: contains the character U+DC00"),
        ({"maxTasks": -1}, "maxResults is not greater than or equal to 0"),
        ({"maxTasks": None}, "maxResults is not greater than or equal to 0"),
        ({"maxTasks": {}}, ""),
        (
            {"asyncResponseTimeout": 1_800_001},
            "The asynchronous response timeout cannot be set to a value greater than 1800000 milliseconds",
        ),
        ({"topics": {}}, ""),
        ({"topics": [1]}, ""),
        ({"topics": [TOPIC] * 101}, "topics: at most 100 are fetched at once, and these are 101"),
        ({"topics": [{"lockDuration": 1}]}, "topicName is null"),
        ({"topics": [{"topicName": "t"}]}, "lockTime is not greater than 0"),
        ({"topics": [{**TOPIC, "lockDuration": -5}]}, "lockTime is not greater than 0"),
        (
            {"topics": [{**TOPIC, "lockDuration": 10**30}]},
            "topics[0].lockDuration: must be at most 43200000 milliseconds",
        ),
        ({"topics": [TOPIC, {**TOPIC, "businessKey": "b"}]}, "topics[1].businessKey: "),
        ({"topics": [{**TOPIC, "processVariables": {"a": 1}}]}, "topics[0].processVariables: "),
        ({"topics": [{**TOPIC, "variables": "a"}]}, ""),
        ({"topics": [{**TOPIC, "tenantIdIn": [[]]}]}, ""),
    ],
)
async def test_a_wrong_request_is_refused_with_what_is_wrong(client, change, message):
    body = {"workerId": "w", "maxTasks": 1, "topics": [TOPIC], **change}
    status, _, answer = await client.request("POST", "/engine-rest/external-task/fetchAndLock", json=body)
    assert (status, answer["type"]) == (400, "InvalidRequestException")
    assert answer["message"].startswith(message)


@pytest.mark.parametrize(
    "topic",
    ["", "nobody's", "9" * 18, "9" * 255, "ü" * 127],
)
async def test_a_topic_without_a_subscription_has_no_tasks(fetch, topic):
    assert await fetch(wait=None, topics=[{"topicName": topic, "lockDuration": LOCK}]) == []


@BOTH
async def test_a_message_is_a_task_too(client, product, fetch, tell, name):
    waiting = {"name": name, "executionId": name, "once": True, "target": {"kind": "pull"}}
    await client.post("/v1/subscriptions", waiting)
    message = {"messageName": name, "processInstanceId": name, "processVariables": {"n": {"value": 1}}}
    await client.post("/engine-rest/message", message, expect=204)
    [task] = await fetch()
    assert (task["executionId"], task["variables"]["n"]["value"]) == (name, 1)
    assert (await tell(task["id"], "complete"))[0] == 204
    assert (await delivery(client, task["id"]))["state"] == "delivered"
