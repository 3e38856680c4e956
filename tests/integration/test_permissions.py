"""The permissions that ``/openapi.json`` names are those that the gateway checks, before it reads anything else."""

from __future__ import annotations

import re

import pytest

from tests.support.throwing import token

CHECKED_LATER = ("/engine-rest", "/signal")
"""Camunda 7 answers a missing permission only once it knows who would receive the signal."""


@pytest.fixture
async def secured(client):
    """Return (method, path, permissions) of every operation that needs all of these and checks them first."""
    api = await client.get("/openapi.json")
    return [
        (method.upper(), path, ways[0])
        for path, methods in api["paths"].items()
        for method, one in methods.items()
        if not path.startswith(CHECKED_LATER)
        and len(ways := [way["token"] for way in one["security"] if way.get("token")]) == 1
    ]


@pytest.mark.slow
async def test_each_permission_is_needed_before_the_path_and_the_body_are_looked_at(client, secured):
    every = {permission for _, _, permissions in secured for permission in permissions} - {"admin"}
    assert len(every) == 5
    lacking = {permission: client.caller(await token(client, *(every - {permission}))) for permission in every}
    lacking["admin"] = client.caller(await token(client, *every))

    answers = {
        (method, path, permission): await _status(lacking[permission], method, path)
        for method, path, permissions in secured
        for permission in permissions
    }

    assert len(answers) > 40
    assert set(answers.values()) == {403}, answers


@pytest.mark.slow
async def test_credentials_come_before_everything_else(client, secured):
    stranger = client.caller("sb_nobody-has-this-token")

    statuses = {(method, path): await _status(stranger, method, path) for method, path, _ in secured}

    assert set(statuses.values()) == {401}, statuses


async def test_what_needs_no_credentials_says_so(client):
    api = await client.get("/openapi.json")

    open_paths = {path for path, methods in api["paths"].items() for one in methods.values() if not one["security"]}

    assert open_paths == {
        "/livez",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/asyncapi.json",
        "/docs",
        "/",
        "/console",
        "/console/{file}",
        "/v1/session",
        "/v1/webhook-keys",
        "/v1/webhook-permissions",
        "/engine-rest/engine",
        "/engine-rest/version",
        "/engine-rest/openapi.json",
        "/health",
        "/v2/status",
    }


async def test_a_call_of_an_endpoint_needs_a_token_of_that_endpoint(client):
    api = await client.get("/openapi.json")

    assert api["paths"]["/api/signal-endpoint/{name}"]["post"]["security"] == [{"endpointToken": []}]
    scheme = api["components"]["securitySchemes"]["endpointToken"]
    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "Authorization")


async def _status(caller, method, path):
    status, _, _ = await caller.request(
        method,
        re.sub(r"\{\w+\}", "no-such-id", path),
        data=None if method == "GET" else b"{",
        headers={"Content-Type": "text/plain"},
    )
    return status
