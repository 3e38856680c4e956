"""A limit on names holds whatever the wording: it has to cover every name that a wanted pattern matches."""

from __future__ import annotations

import pytest

from tests.support.throwing import NOWHERE, subscribe, token

MANAGING = ("subscriptions:manage", "signals:read")


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [
        (["{}.*"], "{}.#"),
        (["{}.*"], "{}.*.#"),
        (["*.*.{}"], "#.{}"),
        (["{}.*.c"], "{}.#.c"),
        (["*"], "#"),
        (["{}", "{}.*", "{}.*.*"], "{}.#"),
    ],
)
async def test_a_pattern_wider_than_the_limits_is_neither_made_nor_managed(client, name, limits, wanted):
    word = name.rpartition(".")[2]
    caller = client.caller(await token(client, *MANAGING, names=[limit.replace("{}", word) for limit in limits]))
    pattern = wanted.replace("{}", word)
    target = {"kind": "webhook", "url": NOWHERE}

    await caller.post("/v1/subscriptions", {"name": pattern, "target": target}, expect=403)

    made = await subscribe(client, pattern, tenantId=word)
    path = f"/v1/subscriptions/{made['id']}"
    answers = [
        await caller.request("PATCH", path, json={"description": "mine"}),
        *[
            await caller.request("POST", f"{path}/{verb}", json={})
            for verb in ("pause", "resume", "rotate-secret", "replay")
        ],
        await caller.request("DELETE", path),
    ]
    assert {status for status, _, _ in answers} == {403}
    assert (await client.request("DELETE", path))[0] == 204


async def test_a_pattern_that_the_limits_cover_together_is_subscribed_to(client, name):
    caller = client.caller(await token(client, *MANAGING, names=[name, f"{name}.*.#"]))
    made = await subscribe(caller, f"{name}.#")
    assert (await caller.request("DELETE", f"/v1/subscriptions/{made['id']}"))[0] == 204
