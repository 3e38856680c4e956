"""Whatever answers a command, or does not, it is told in a sentence."""

from __future__ import annotations

import json

import pytest
from aiohttp import ServerDisconnectedError, ServerTimeoutError

from deploy.cli.problems import describe, explain_failure, read_problem
from deploy.cli.products import Product

PRODUCT = Product("https://signals.example", None)


@pytest.mark.parametrize(
    ("detail", "told"),
    [
        ("There is no delivery '9-9'.", "there is no delivery '9-9'"),
        ("PostgreSQL does not answer.", "PostgreSQL does not answer"),
        ("A quota.", "a quota"),
        ("One thing. And another.", "one thing. And another."),
        ("", ""),
    ],
)
def test_a_detail_follows_a_colon(detail, told):
    assert describe({"detail": detail}) == told


def test_fields_come_with_their_pointers_and_not_too_many():
    errors = [{"pointer": f"/signals/3/{name}", "detail": "is required"} for name in "abcdefg"]
    errors[0]["pointer"] = "/signals/3"
    told = describe({"detail": "Wrong.", "errors": errors}, within="/signals/3")
    assert told.startswith("is required; /b: is required; ")
    assert told.count(";") == 4


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"title": "Not Found", "status": 404, "detail": "There is none."}, "there is none"),
        (
            {"id": "1", "name": "BadDataError", "message": "Bad.", "details": [{"message": "is bad", "path": "name"}]},
            "/name: is bad",
        ),
        ({"id": "1", "name": "NotFound", "message": "There is none.", "details": [{"message": "x"}]}, "there is none"),
        ({"detail": "Not Found"}, None),
        ({"message": "Not Found"}, None),
        (["a"], None),
    ],
)
def test_only_our_own_errors_are_read(body, told):
    assert read_problem(json.dumps(body).encode()) == told
    assert read_problem(b"<html>") is None


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ServerTimeoutError(), "did not answer within 60 s; what was asked for may have been done all the same"),
        (TimeoutError(), "did not answer within 60 s; what was asked for may have been done all the same"),
        (
            ServerDisconnectedError(),
            "broke off the connection: Server disconnected; what was asked for may have been done all the same",
        ),
    ],
)
def test_silence_is_told(error, told):
    assert explain_failure(error, PRODUCT) == f"https://signals.example {told}"
