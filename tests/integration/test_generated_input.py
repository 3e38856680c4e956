"""No JSON and no number, however it was made, brings a route down."""

from __future__ import annotations

import http.client
import json
import re
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.forms import ROUTES
from tests.support.product import ADMIN_TOKEN
from tests.support.throwing import NOWHERE

JSON = {"Content-Type": "application/json"}
MEMBERS = st.sampled_from(
    [
        "name",
        "payload",
        "variables",
        "executionId",
        "tenantId",
        "withoutTenantId",
        "businessKey",
        "target",
        "kind",
        "url",
        "queue",
        "headers",
        "once",
        "retry",
        "schedule",
        "maxAttempts",
        "timeoutSeconds",
        "permissions",
        "names",
        "tenants",
        "value",
        "type",
        "valueInfo",
        "enabled",
        "description",
    ]
)
WORDS = st.sampled_from(["webhook", "queue", NOWHERE, "signals:throw", "Integer", "Object", "application/json"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(MEMBERS | st.text(max_size=5), inner, max_size=6),
    max_leaves=12,
)
PATTERNS = {"#", "*"}


@pytest.mark.slow
@given(document=VALUES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("path", ROUTES)
def test_no_json_brings_a_route_down(product, path, document):
    """`json.dumps` writes NaN and Infinity too, and half characters as escapes."""
    if isinstance(document, dict) and PATTERNS & set(str(document.get("name")).split(".")):
        return  # a subscription that matches everything would disturb the other tests
    status, body = post(product, path, document)

    assert status < 500 or (path in {"/engine-rest/signal", "/signal"} and "executionId" in document), body


def post(product, path, document):
    connection = http.client.HTTPConnection(urlsplit(product.url).netloc, timeout=10)
    try:
        headers = {**JSON, "Authorization": f"Bearer {ADMIN_TOKEN}"}
        connection.request("POST", path, body=json.dumps(document), headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


NUMBERS = ("-1", "0", "32768", str(1 << 31), str((1 << 63) - 1), str(1 << 63), "9" * 50)


@pytest.mark.slow
async def test_no_number_in_a_path_or_a_query_brings_a_list_down(client):
    document = await client.get("/openapi.json")
    asked = [
        (path, parameter["name"])
        for path, operations in document["paths"].items()
        for parameter in operations.get("get", {}).get("parameters", ())
        if parameter["in"] in {"path", "query"}
    ]
    assert ("/v1/ledger", "subscriptionId") in asked
    for path, name in asked:
        for number in NUMBERS:
            url = f"{re.sub('{[^}]*}', number, path)}?{name}={number}&executionId=1"
            status, _, body = await client.request("GET", url)
            assert status < 500, (url, body)
