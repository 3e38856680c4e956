"""The product's own signing keys, with many processes that ask for them at once."""

from __future__ import annotations

import asyncio
import base64
from datetime import timedelta

import pytest

from broker.access import Permission, Principal
from broker.secrets import SecretBox, decode_private_key, make_key
from broker.store.administration.audit import AuditStore
from broker.store.administration.webhook_keys import WebhookKeyStore

DAY = timedelta(days=1)


@pytest.fixture
def box():
    return SecretBox([make_key()])


@pytest.fixture
def keys(database, box):
    return WebhookKeyStore(database, box)


async def test_of_many_that_ask_first_one_makes_the_key_and_all_get_it(keys):
    asked = await asyncio.gather(*(keys.valid() for _ in range(8)))
    [first] = asked[0]
    assert asked == [[first]] * 8
    assert first.valid_until is None


async def test_the_private_half_is_kept_sealed(keys, box, database):
    [key] = await keys.valid()
    kept = await database.fetchval("SELECT private_key FROM webhook_keys")
    assert b"whsk_" not in kept
    public = decode_private_key(box.open(kept)).public_key().public_bytes_raw()
    assert key.public_key == "whpk_" + base64.b64encode(public).decode()
    assert "private_key" not in repr(key)


async def test_of_many_rotations_at_once_the_two_newest_keys_sign(keys):
    await keys.valid()
    rotated = await asyncio.gather(*(keys.rotate(DAY) for _ in range(5)))
    newest, before = await keys.valid()
    assert (newest.valid_until, before.valid_until is None) == (None, False)
    assert len({key.public_key for answer in rotated for key in answer}) == 6
    assert all(len(answer) == 2 for answer in rotated)


async def test_a_rotation_is_in_the_audit_with_the_public_key_only(keys, database):
    by = Principal(name="ops", permissions=frozenset({Permission.ADMIN}))
    [first] = await keys.rotate(DAY, by=by)
    [event] = (await AuditStore(database).page()).items
    assert (event.type, event.subject_id, event.principal) == ("webhook-key-rotated", first.id, "ops")
    assert event.after == {"publicKey": first.public_key, "graceSeconds": 86_400.0}


async def test_the_first_key_may_come_of_a_rotation(keys):
    [first] = await keys.rotate(DAY)
    assert await keys.valid() == [first]
