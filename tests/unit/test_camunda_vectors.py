"""Requests to Camunda 7.24 and its answers, as far as they can be decided without a running product.

Left to the running product: methods and paths (405, 404, matrix parameters), and whether a subscription is consumed.
"""

from typing import Any

import pytest

from broker.jsontext import read
from broker.variables import typed
from gateway.camunda.errors import CamundaError, unknown_execution
from gateway.camunda.requests import ThrowRequest, check_headers, parse_signal
from tests.compat.vectors import VECTORS, body_of, check_variables, expected_error, expected_status, name_of

DECIDABLE = [vector for vector in VECTORS if vector["expect"]["status"] not in {404, 405}]


def answer(request: dict[str, Any]) -> ThrowRequest | CamundaError:
    """What the gateway makes of *request* while nobody but the execution ``<EXEC>`` waits, for ``sig``."""
    path = request["path"].split("/")
    try:
        check_headers(request["headers"].get("Content-Type"), request["headers"].get("Accept"))
        parsed = parse_signal(body_of(request) or b"", engine=path[2] if path[1] == "engine" else "default")
    except CamundaError as error:
        return error
    if parsed.execution_id not in {None, "<EXEC>"}:
        return unknown_execution(str(parsed.execution_id))
    return parsed.unstorable if parsed.unstorable is not None and parsed.name == "sig" else parsed


@pytest.mark.parametrize("vector", DECIDABLE, ids=name_of)
def test_camunda_answers_like_this(vector):
    ours = answer(vector["request"])
    if isinstance(ours, CamundaError):
        assert ours.status == expected_status(vector)
        assert ours.body == expected_error(vector, ours.body)
    else:
        assert vector["expect"]["status"] == 204
        if vector["subscription_consumed"]:
            check_variables(vector, typed(read(ours.payload.decode()), ours.types, ours.payload))


def test_all_but_methods_and_paths_are_decided_here():
    assert len(DECIDABLE) == len(VECTORS) - 8
