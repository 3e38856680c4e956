"""What generators of clients need of the description beyond what a validator needs."""

from __future__ import annotations

from gateway.definitions import portable


def test_integers_that_may_have_more_than_32_bits_say_so():
    identity, small = {"type": "integer", "minimum": 0}, {"type": "integer", "maximum": 1000}
    document = {"properties": {"id": identity, "ids": {"type": "array", "items": identity}, "limit": small}}
    assert portable(document)["properties"] == {
        "id": identity | {"format": "int64"},
        "ids": {"type": "array", "items": identity | {"format": "int64"}},
        "limit": small,
    }


def test_a_member_that_is_always_null_has_a_type_and_still_takes_nothing_else():
    members = {"activityId": {"type": "null", "description": "None."}, "other": {"anyOf": [{"type": "null"}]}}
    assert portable({"properties": members})["properties"] == {
        "activityId": {"type": ["string", "null"], "not": {"type": "string"}, "description": "None."},
        "other": {"anyOf": [{"type": "null"}]},
    }


def test_values_stay_as_they_are():
    document = {"examples": [{"type": "integer"}], "default": {"type": "integer"}, "enum": [{"type": "integer"}]}
    assert portable(document) == document
