"""``GET /engine-rest/event-subscription`` and ``/count`` (section I of what Camunda 7 does)."""

from __future__ import annotations

import re
from urllib.parse import urlencode

import pytest

from tests.support.throwing import fresh_id, recorded_ids, subscribe, throw, token

PATH = "/engine-rest/event-subscription"


@pytest.fixture
async def rows(client, name):
    """Return three subscriptions: a standing one, an execution's, and an execution's of a tenant."""
    tenant = fresh_id("tenant")
    return [
        await subscribe(client, f"{name}.other", description="standing"),
        await subscribe(client, name, executionId=fresh_id("execution"), once=True),
        await subscribe(client, name, executionId=fresh_id("execution"), once=True, tenantId=tenant),
    ]


@pytest.fixture
def ask(client, rows):
    """Return a function that asks for event subscriptions and returns the positions in `rows` of what is found."""
    positions = {str(row["id"]): position for position, row in enumerate(rows)}

    async def asked(**query):
        found = await client.get(f"{PATH}?{urlencode(query)}")
        page = [positions[row["id"]] for row in found if row["id"] in positions]
        if not {"firstResult", "maxResults", "sortBy"} & set(query):
            assert (await client.get(f"{PATH}/count?{urlencode(query)}"))["count"] == len(found)
        return page

    return asked


async def test_a_row_has_camundas_members(client, name, rows):
    status, headers, found = await client.request("GET", f"{PATH}?eventName={name}&sortBy=created&sortOrder=asc")

    assert (status, headers["Cache-Control"], headers["Content-Type"]) == (
        200,
        "no-cache",
        "application/json",
    )
    assert found[1] == {
        "id": str(rows[2]["id"]),
        "eventType": "signal",
        "eventName": name,
        "executionId": rows[2]["executionId"],
        "processInstanceId": rows[2]["executionId"],
        "activityId": None,
        "createdDate": found[1]["createdDate"],
        "tenantId": rows[2]["tenantId"],
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000", found[1]["createdDate"])
    assert found[1]["createdDate"][:-5] == rows[2]["createdAt"][:23]


async def test_what_stands_for_a_start_event_has_no_execution(client, name, rows):
    (found,) = await client.get(f"{PATH}?eventName={name}.other")

    assert (found["executionId"], found["processInstanceId"], found["tenantId"]) == (None, None, None)


async def test_filters_are_exact_and_and_combined(ask, name, rows):
    execution, tenant = rows[1]["executionId"], rows[2]["tenantId"]

    assert await ask() == [0, 1, 2]
    assert await ask(eventName=name) == [1, 2]
    assert await ask(eventName=name.upper()) == []
    assert await ask(eventName="") == []
    assert await ask(eventName="\0") == []
    assert await ask(eventType="signal") == [0, 1, 2]
    assert await ask(eventType="message") == []
    assert await ask(eventType="Signal") == []
    assert await ask(executionId=execution) == [1]
    assert await ask(processInstanceId=execution) == [1]
    assert await ask(executionId=execution, processInstanceId=execution) == [1]
    assert await ask(executionId=execution, processInstanceId="other") == []
    assert await ask(activityId="catch") == []
    assert await ask(eventSubscriptionId=rows[0]["id"]) == [0]
    assert await ask(eventSubscriptionId="nope") == []
    assert await ask(eventSubscriptionId=f"0{rows[0]['id']}") == []
    assert await ask(eventSubscriptionId="9" * 30) == []
    assert await ask(eventName=name, executionId=execution) == [1]
    assert await ask(eventName=f"{name}.other", executionId=execution) == []
    assert await ask(tenantIdIn=tenant) == [2]
    assert await ask(nobody="knows") == [0, 1, 2]


async def test_tenants_are_filtered_as_in_camunda(ask, rows):
    tenant = rows[2]["tenantId"]

    assert await ask(tenantIdIn=f"{tenant},zz") == [2]
    assert await ask(tenantIdIn="zz") == []
    assert await ask(tenantIdIn="") == [0, 1, 2]
    assert await ask(withoutTenantId="true") == [0, 1]
    assert await ask(withoutTenantId="false") == [0, 1, 2]
    assert await ask(withoutTenantId="") == [0, 1, 2]
    assert await ask(tenantIdIn=tenant, includeEventSubscriptionsWithoutTenantId="true") == [0, 1, 2]
    assert await ask(includeEventSubscriptionsWithoutTenantId="true") == [0, 1, 2]
    assert await ask(tenantIdIn=tenant, withoutTenantId="true") == [0, 1]


async def test_the_first_value_of_a_repeated_parameter_counts(client, name, rows):
    found = await client.get(f"{PATH}?eventName={name}&eventName={name}.other")

    assert len(found) == 2


async def test_rows_are_sorted(ask, name, rows):
    assert await ask(sortBy="created", sortOrder="asc") == [0, 1, 2]
    assert await ask(sortBy="created", sortOrder="desc") == [2, 1, 0]
    assert await ask(eventName=name, sortBy="tenantId", sortOrder="asc") == [2, 1]
    assert await ask(eventName=name, sortBy="tenantId", sortOrder="desc") == [1, 2]


async def test_pages_are_cut_out(client, ask, name):
    cut = {
        (None, None): [1, 2],
        (1, None): [2],
        (1, 1): [2],
        (0, 1): [1],
        (None, "+1"): [1],
        (None, 0): [],
        (None, -1): [],
        (-1, None): [],
        (99, None): [],
        ("", ""): [1, 2],
        (None, 2147483647): [1, 2],
    }
    for (first, most), expected in cut.items():
        page = {"firstResult": first, "maxResults": most}
        query = {key: value for key, value in page.items() if value is not None}
        assert await ask(eventName=name, sortBy="created", sortOrder="asc", **query) == expected
    assert await client.get(f"{PATH}/count?eventName={name}&firstResult=1&maxResults=x&sortBy=x") == {"count": 2}


REFUSALS = {
    "sortBy=created": "Only a single sorting parameter specified. sortBy and sortOrder required",
    "sortOrder=asc": "Only a single sorting parameter specified. sortBy and sortOrder required",
    "sortBy=x&sortOrder=asc": "Cannot set query parameter 'sortBy' to value 'x'",
    "sortBy=created&sortOrder=x": "Cannot set query parameter 'sortOrder' to value 'x'",
    "sortOrder=x": "Cannot set query parameter 'sortOrder' to value 'x'",
    "sortBy=Created&sortOrder=asc": "Cannot set query parameter 'sortBy' to value 'Created'",
    "withoutTenantId=x": (
        "Cannot set query parameter 'withoutTenantId' to value 'x': "
        "Cannot convert value x to java type java.lang.Boolean"
    ),
    "includeEventSubscriptionsWithoutTenantId=1": (
        "Cannot set query parameter 'includeEventSubscriptionsWithoutTenantId' to value '1': "
        "Cannot convert value 1 to java type java.lang.Boolean"
    ),
}


@pytest.mark.parametrize("query", REFUSALS)
async def test_what_camunda_refuses_is_refused(client, query):
    status, _, error = await client.request("GET", f"{PATH}?{query}")

    assert status == 400
    assert error == {"type": "InvalidRequestException", "message": REFUSALS[query], "code": None}


@pytest.mark.parametrize("query", ["maxResults=abc", "maxResults=2147483648", "firstResult=1.0", "firstResult=x"])
async def test_a_number_that_is_none_is_a_path_that_is_none(client, query):
    status, _, error = await client.request("GET", f"{PATH}?{query}")

    assert (status, error["type"]) == (404, "NotFoundException")


async def test_paths_and_methods(client, rows):
    for base in ("/engine-rest", "/engine-rest/engine/default"):
        for more in ("", "/", ";a=b"):
            assert await client.get(f"{base}/event-subscription{more}")
            assert (await client.get(f"{base}/event-subscription/count{more}"))["count"] >= len(rows)
    for path in (PATH, f"{PATH}/count"):
        status, _, error = await client.request("POST", path, json={})
        assert (status, error["type"]) == (405, "NotAllowedException")
        assert (await client.request("GET", path, headers={"Accept": "text/html"}))[0] == 406
    status, _, error = await client.request("GET", f"{PATH}/{rows[0]['id']}")
    assert (status, error["type"]) == (404, "NotFoundException")
    status, _, error = await client.request("GET", "/engine-rest/engine/nope/event-subscription")
    assert (status, error["message"]) == (400, "No process engine available")


async def test_nobody_we_know_sees_nothing(client):
    status, headers, body = await client.caller("").request("GET", PATH)

    assert (status, body, headers["WWW-Authenticate"]) == (401, b"", 'Basic realm="default", charset="UTF-8"')


async def test_who_may_neither_throw_nor_read_sees_an_empty_list(client, rows):
    caller = client.caller(await token(client, "deliveries:manage"))

    assert await caller.get(PATH) == []
    assert await caller.get(f"{PATH}/count") == {"count": 0}


async def test_consumed_and_deleted_subscriptions_are_gone(client, ask, name, rows):
    await throw(client, name, executionId=rows[1]["executionId"])
    await recorded_ids(client, name, 1)
    await client.request("DELETE", f"/v1/subscriptions/{rows[0]['id']}")

    assert await ask() == [2]
