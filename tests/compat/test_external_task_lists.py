"""Lists of external tasks, and what is done to one without its worker, as in Camunda 7."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from tests.support.eventually import eventually
from tests.support.throwing import fresh_id, recorded, throw, token

PATH = "/engine-rest/external-task"
LOCK = 60_000
LONG_AGO = "2026-01-01T00:00:00.000+0000"


@pytest.fixture
async def topic(client, name):
    """The id, as a topic, of a subscription with a pull target whose failed attempts are repeated at once, twice."""
    spec = {"name": name, "target": {"kind": "pull"}, "retry": {"schedule": [0, 0]}}
    return str((await client.post("/v1/subscriptions", spec))["id"])


@pytest.fixture
def fetch(client, topic):
    """Call it to lock some tasks; return them."""

    async def fetch(most=1, worker="w"):
        wanted = {"topicName": topic, "lockDuration": LOCK}
        body = {"workerId": worker, "maxTasks": most, "asyncResponseTimeout": 30_000, "topics": [wanted]}
        return await client.post(f"{PATH}/fetchAndLock", body)

    return fetch


def asked(what, topic, query):
    return f"{PATH}{what}?{urlencode({'topicName': topic, **query})}"


async def owed(client, name, topic, count, **spec):
    """Return the ids of that many new tasks, once they are there."""
    thrown = [(await throw(client, name, **spec))["id"] for _ in range(count)]
    ids = [f"{signal_id}-{topic}" for signal_id in thrown]

    async def are_there():
        return set(ids) <= {task["id"] for task in await client.get(f"{PATH}?topicName={topic}")}

    await eventually(are_there)
    return ids


@pytest.mark.transports("embedded", "rabbitmq")
async def test_a_task_is_listed_and_shown_until_it_is_done(client, name, topic, fetch):
    execution = fresh_id("execution")
    waiting = {"name": name, "executionId": execution, "target": {"kind": "pull"}, "businessKey": "b"}
    subscription = await client.post("/v1/subscriptions", waiting)
    message = {"messageName": name, "businessKey": "b"}
    await client.post("/engine-rest/message", message, expect=204)

    [task] = await client.get(f"{PATH}?executionId={execution}")

    assert task == {
        "activityId": None,
        "activityInstanceId": None,
        "businessKey": "b",
        "createTime": task["createTime"],
        "errorMessage": None,
        "executionId": execution,
        "id": task["id"],
        "lockExpirationTime": None,
        "priority": 0,
        "processDefinitionId": None,
        "processDefinitionKey": None,
        "processDefinitionVersionTag": None,
        "processInstanceId": execution,
        "retries": None,
        "suspended": False,
        "tenantId": None,
        "topicName": name,
        "workerId": None,
    }
    assert task["id"].endswith(f"-{subscription['id']}")
    assert await client.get(f"{PATH}/{task['id']}") == task
    for query in (f"processInstanceId={execution}", f"processInstanceIdIn=none,{execution}"):
        assert await client.get(f"{PATH}?{query}") == [task]
        assert await client.get(f"{PATH}/count?{query}") == {"count": 1}
    assert await client.get(f"{PATH}?processInstanceIdIn=none,{execution}&executionId=none") == []
    wanted = {"topicName": str(subscription["id"]), "lockDuration": LOCK}
    await client.post(f"{PATH}/fetchAndLock", {"workerId": "w", "maxTasks": 1, "topics": [wanted]})
    locked = await client.get(f"{PATH}/{task['id']}")
    assert (locked["workerId"], locked["lockExpirationTime"][-5:]) == ("w", "+0000")
    await client.post(f"{PATH}/{task['id']}/complete", {"workerId": "w"}, expect=204)
    assert await client.get(f"{PATH}?executionId={execution}") == []
    assert (await client.request("GET", f"{PATH}/{task['id']}"))[0] == 404


@pytest.mark.slow
async def test_tasks_are_found_by_what_is_asked_for(client, name, topic, fetch):
    ids = await owed(client, name, topic, 4)
    [locked] = await fetch()
    [dead] = await fetch(worker="x")
    await client.post(f"{PATH}/{dead['id']}/failure", {"workerId": "x", "retries": 0}, expect=204)
    until = locked["lockExpirationTime"]
    assert [locked["id"], dead["id"]] == ids[:2]
    cases = [
        ({}, ids),
        ({"sortBy": "id", "sortOrder": "desc"}, ids[::-1]),
        ({"firstResult": "1", "maxResults": "2"}, ids[1:3]),
        ({"maxResults": "0"}, []),
        ({"locked": "true"}, ids[:1]),
        ({"locked": "false"}, ids),
        ({"notLocked": "true"}, ids[1:]),
        ({"locked": "true", "notLocked": "true"}, []),
        ({"workerId": "w"}, ids[:1]),
        ({"workerId": "x"}, []),
        ({"lockExpirationAfter": LONG_AGO, "lockExpirationBefore": "2999-01-01T00:00:00.000+0100"}, ids[:1]),
        ({"lockExpirationAfter": until}, []),
        ({"lockExpirationBefore": until}, []),
        ({"lockExpirationBefore": LONG_AGO}, []),
        ({"noRetriesLeft": "true"}, ids[1:2]),
        ({"withRetriesLeft": "true"}, [ids[0], *ids[2:]]),
        ({"externalTaskId": ids[3]}, ids[3:]),
        ({"externalTaskIdIn": f"{ids[3]},{ids[0]},nothing,1-{topic}"}, [ids[0], ids[3]]),
        ({"externalTaskIdIn": f"{ids[3]},{ids[0]}", "locked": "true"}, ids[:1]),
        ({"externalTaskIdIn": f"{ids[3]},{ids[0]}", "externalTaskId": ids[1]}, []),
        ({"active": "true"}, ids),
        ({"suspended": "true"}, []),
        ({"tenantIdIn": "acme"}, []),
        ({"executionId": "none"}, []),
        ({"priorityHigherThanOrEquals": "0", "priorityLowerThanOrEquals": "0"}, ids),
        ({"priorityHigherThanOrEquals": "1"}, []),
    ]
    for query, expected in cases:
        found = await client.get(asked("", topic, query))
        assert [task["id"] for task in found] == expected, query
        counted = {key: value for key, value in query.items() if key not in {"firstResult", "maxResults"}}
        if counted == query:
            assert await client.get(asked("/count", topic, query)) == {"count": len(expected)}, query
    [gone] = await client.get(asked("", topic, {"noRetriesLeft": "true"}))
    assert (gone["retries"], gone["workerId"]) == (0, None)


async def test_tasks_are_found_by_a_document(client, name, topic, fetch):
    ids = await owed(client, name, topic, 3)
    await fetch()
    wanted = {"topicName": topic, "notLocked": True, "sorting": [{"sortBy": "id", "sortOrder": "desc"}]}

    found = await client.post(f"{PATH}?maxResults=1", wanted)
    count = await client.post(f"{PATH}/count", {"topicName": topic, "externalTaskIdIn": ids[:2]})

    assert [task["id"] for task in found] == ids[2:]
    assert count == {"count": 2}
    assert await client.post(PATH, {"topicName": topic, "tenantIdIn": ["acme"]}) == []


async def test_a_topic_is_the_name_of_subscriptions_and_the_id_of_one(client, name, topic):
    ids = await owed(client, name, topic, 1)
    await client.post("/v1/subscriptions", {"name": topic, "target": {"kind": "pull"}})
    named = await throw(client, topic)
    await recorded(client, named["id"])

    found = await client.get(f"{PATH}?topicName={topic}")

    assert [int(task["id"].partition("-")[0]) for task in found] == [int(ids[0].partition("-")[0]), named["id"]]


@pytest.mark.parametrize("member", ["topicName", "workerId", "executionId"])
async def test_what_no_name_can_be_finds_nothing(client, member):
    assert await client.post(PATH, {member: "\ud800"}) == []


async def test_a_paused_subscription_has_suspended_tasks(client, name, topic):
    ids = await owed(client, name, topic, 1)
    await client.post(f"/v1/subscriptions/{topic}/pause", {})

    found = await client.get(f"{PATH}?topicName={topic}&suspended=true")

    assert [(task["id"], task["suspended"]) for task in found] == [(ids[0], True)]
    assert await client.get(f"{PATH}?topicName={topic}&active=true") == []


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"activityId": "a"}, "activityId: must be left out, because tasks are deliveries of signals"),
        ({"processDefinitionKeyIn": "a,b"}, "processDefinitionKeyIn: must be left out"),
        ({"processVariables": "a_eq_1"}, "processVariables: must be left out"),
        ({"locked": "perhaps"}, "Cannot set query parameter 'locked' to value 'perhaps'"),
        (
            {"lockExpirationAfter": "9999-12-31T23:59:59.999+0000"},
            "Cannot set query parameter 'lockExpirationAfter' to",
        ),
        ({"lockExpirationAfter": "today"}, "Cannot set query parameter 'lockExpirationAfter' to value 'today'"),
        ({"priorityLowerThanOrEquals": "low"}, "Cannot set query parameter 'priorityLowerThanOrEquals' to value 'low'"),
        (
            {"sortBy": "tenantId", "sortOrder": "asc"},
            "Cannot set query parameter 'sortBy' to value 'tenantId': tasks are",
        ),
        ({"sortBy": "id", "sortOrder": "up"}, "Cannot set query parameter 'sortOrder' to value 'up'"),
        ({"sortBy": "id"}, "Only a single sorting parameter specified."),
        ({"externalTaskIdIn": "1-1," * 1001}, "externalTaskIdIn: must have at most 1000 values, and has 1002"),
    ],
)
async def test_what_cannot_be_answered_is_refused_by_its_name(client, query, message):
    for path in (PATH, f"{PATH}/count"):
        status, _, error = await client.request("GET", path, params=query)
        assert (status, error["type"]) == (400, "InvalidRequestException")
        assert error["message"].startswith(message)


@pytest.mark.parametrize(
    "document",
    [
        {"topicName": 1},
        {"externalTaskIdIn": "1-1"},
        {"tenantIdIn": [1]},
        {"locked": []},
        {"sorting": {"sortBy": "id"}},
        {"sorting": ["id"]},
        {"lockExpirationAfter": 1},
        {"priorityHigherThanOrEquals": {}},
        {"processVariables": [{"name": "a", "operator": "eq", "value": 1}]},
    ],
)
async def test_a_wrong_document_is_refused(client, document):
    status, _, error = await client.request("POST", PATH, json=document)

    assert (status, error["type"]) == (400, "InvalidRequestException")


@pytest.mark.slow
@pytest.mark.transports("embedded", "rabbitmq")
async def test_an_unlocked_task_can_be_fetched_at_once_and_has_lost_no_retry(client, name, topic, fetch):
    [task_id] = await owed(client, name, topic, 1)
    for worker in ("w", "x", "y", "z"):
        [task] = await fetch(worker=worker)
        assert (task["id"], task["retries"], task["workerId"]) == (task_id, None, worker)
        for _ in range(2):
            assert (await client.request("POST", f"{PATH}/{task_id}/unlock"))[0] == 204
        status, _, error = await client.request("POST", f"{PATH}/{task_id}/complete", json={"workerId": worker})
        assert (status, error["type"]) == (400, "RestException")
    attempts = (await client.get(f"/v1/deliveries/{task_id}"))["attempts"]
    assert [(one["outcome"], one["error"]) for one in attempts] == [("refused", "the lease was returned")] * 4


@pytest.mark.parametrize("task_id", ["nothing", "1-1", "9223372036854775807-1", "0-0", "%00"])
async def test_what_is_no_task_is_not_there(client, task_id):
    for method, path in (("GET", f"{PATH}/{task_id}"), ("POST", f"{PATH}/{task_id}/unlock")):
        status, _, error = await client.request(method, path)
        assert (status, error["type"]) == (404, "RestException")
        assert error["message"].endswith("does not exist")


async def test_reading_tasks_needs_the_permission_to_read_signals(client):
    credential = {"Authorization": f"Bearer {await token(client, 'signals:throw')}"}
    for method, path in (("GET", PATH), ("POST", PATH), ("GET", f"{PATH}/count"), ("GET", f"{PATH}/1-1")):
        status, _, error = await client.request(method, path, headers=credential, json={} if method == "POST" else None)
        assert (status, error["type"]) == (403, "AuthorizationException")
