"""Requests to Camunda 7.24 and its answers (`camunda_vectors.json`), and what our policy makes of them."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

Vector = dict[str, Any]

VECTORS: list[Vector] = json.loads(Path(__file__).with_name("camunda_vectors.json").read_text(encoding="utf-8"))[
    "vectors"
]


def name_of(vector: Vector) -> str:
    return f"{vector['id']} {vector['case']}"


def body_of(request: dict[str, Any]) -> bytes | None:
    """Return the body that the vector sends."""
    if "body" in request:
        return json.dumps(request["body"]).encode()
    text: str | None = request["body_text"]
    if text is None:
        return None
    return ast.literal_eval(text) if text.startswith("b'") else text.encode()


def renamed(body: bytes, suffix: str) -> bytes:
    """Return *body* with the signal ``sig``, however it is spelled, and the execution renamed by *suffix*."""
    body = re.sub(rb"sig(?=\s*\"|')", lambda match: match[0] + suffix.encode(), body, flags=re.IGNORECASE)
    return body.replace(b"<EXEC>", b"<EXEC>" + suffix.encode())


def expected_status(vector: Vector) -> int:
    return 400 if vector["policy"] in {"refused", "accidental"} else vector["expect"]["status"]


def expected_error(vector: Vector, error: dict[str, Any]) -> dict[str, Any]:
    """Return the error's body that the policy asks for, with the text of *error* where the text is ours."""
    if vector["policy"] in {"refused", "accidental"}:
        assert error["message"], "our own refusals say what is wrong"
        return {"type": "InvalidRequestException", "message": error["message"], "code": None}
    if vector["policy"] == "status":
        return error
    if vector["policy"] == "status-and-type":
        return {**vector["expect"]["json"], "message": error["message"]}
    return vector["expect"]["json"]


def check_variables(vector: Vector, delivered: dict[str, Any]) -> None:
    """Check what a receiver of the vector's signal holds; a transient variable, which Camunda drops, is marked."""
    expected = vector["variables_after"]
    if "variable_v_after" in vector["expect"]:
        kept = vector["expect"]["variable_v_after"]
        if kept is None:
            sent = vector["request"]["body"]["variables"]["v"]["value"]
            assert (delivered["v"]["value"], delivered["v"]["valueInfo"]["transient"]) == (sent, True)
            return
        expected = {"v": kept}
    if expected is not None:
        # As text, because 1 == 1.0 == True in Python.
        assert json.dumps(delivered, sort_keys=True) == json.dumps(expected, sort_keys=True)
