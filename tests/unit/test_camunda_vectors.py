"""Requests to Camunda 7.24 and its answers, as far as they can be decided without a running product.

Left to the running product: methods and paths (405, 404, matrix parameters), and whether a subscription is consumed.
"""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from broker.jsontext import encode, read
from broker.variables import typed
from gateway.camunda.errors import CamundaError, unknown_execution
from gateway.camunda.requests import SignalRequest, check_headers, parse_signal

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "compat" / "camunda_vectors.json").read_text(encoding="utf-8")
)["vectors"]
DECIDABLE = [vector for vector in VECTORS if vector["expect"]["status"] not in {404, 405}]


def body_of(request: dict[str, Any]) -> bytes:
    if "body" in request:
        return json.dumps(request["body"]).encode()
    text: str = request["body_text"]
    return ast.literal_eval(text) if text.startswith("b'") else text.encode()


def answer(request: dict[str, Any]) -> SignalRequest | CamundaError:
    """What the gateway makes of *request* while nobody but the execution ``<EXEC>`` waits, for ``sig``."""
    path = request["path"].split("/")
    try:
        check_headers(request["headers"].get("Content-Type"), request["headers"].get("Accept"))
        parsed = parse_signal(body_of(request), engine=path[2] if path[1] == "engine" else "default")
    except CamundaError as error:
        return error
    if parsed.execution_id not in {None, "<EXEC>"}:
        return unknown_execution(str(parsed.execution_id))
    return parsed.refusal if parsed.refusal is not None and parsed.name == "sig" else parsed


def expected_error(vector: dict[str, Any], error: CamundaError) -> dict[str, Any]:
    """The body that the vector's policy asks for, with our own text where the text is ours."""
    if vector["policy"] in {"refused", "accidental"}:
        assert error.message, "our own refusals say what is wrong"
        return {"type": "InvalidRequestException", "message": error.message, "code": None}
    if vector["policy"] == "status":
        return error.body
    if vector["policy"] == "status-and-type":
        return {**vector["expect"]["json"], "message": error.message}
    return vector["expect"]["json"]


@pytest.mark.parametrize("vector", DECIDABLE, ids=lambda vector: f"{vector['id']} {vector['case']}")
def test_camunda_answers_like_this(vector):
    expected, ours = vector["expect"], answer(vector["request"])
    if isinstance(ours, CamundaError):
        changed = vector["policy"] in {"refused", "accidental"}
        assert ours.status == (400 if changed else expected["status"])
        assert ours.body == expected_error(vector, ours)
    else:
        assert expected["status"] == 204
        check_variables(ours, vector)


def check_variables(parsed: SignalRequest, vector: dict[str, Any]) -> None:
    variables = typed(read(encode(parsed.payload).decode()), parsed.types)
    assert variables == parsed.variables
    if vector["subscription_consumed"] and vector["variables_after"] is not None:
        assert variables == vector["variables_after"]
    if "variable_v_after" in vector["expect"]:
        check_variable(variables["v"], vector["expect"]["variable_v_after"])


def check_variable(delivered, kept):
    if kept is None:
        assert delivered["valueInfo"]["transient"] is True, "delivered, and said not to be kept"
    else:
        assert json.dumps(delivered, sort_keys=True) == json.dumps(kept, sort_keys=True)


def test_all_but_methods_and_paths_are_decided_here():
    assert len(DECIDABLE) == len(VECTORS) - 8
