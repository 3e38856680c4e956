"""What requests may hold: the limits of names, moments and rates."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from broker.errors import InvalidDocument
from broker.schemas import BulkRequest
from broker.schemas.access import TokenRequest, TokenRotation, UserChanges, UserRequest
from broker.schemas.deliveries import CancelRequest, RedriveRequest
from broker.schemas.quotas import QuotaRequest
from broker.schemas.signals import BatchItem, SignalRequest
from broker.schemas.subscriptions import (
    ReplayRequest,
    ResumptionRequest,
    RetrySchema,
    RotationRequest,
    SubscriptionChanges,
    SubscriptionRequest,
)
from broker.schemas.validation import validate

REQUESTS = [
    BatchItem,
    CancelRequest,
    QuotaRequest,
    RedriveRequest,
    ReplayRequest,
    ResumptionRequest,
    RetrySchema,
    RotationRequest,
    SignalRequest,
    SubscriptionChanges,
    SubscriptionRequest,
    TokenRequest,
    TokenRotation,
    UserChanges,
    UserRequest,
]


def parse(**members):
    return BulkRequest.model_validate(members)


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"name": "n"},
        {"name": "n" * 255},
        {"perSecond": 0.001},
        {"perSecond": 100_000.0},
        {"after": "a" * 100},
        {"since": "2026-11-22t10:00:00.123456789z"},
    ],
)
def test_what_is_within_the_limits_is_taken(members):
    parse(**members)


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "n" * 256}, "name"),
        ({"perSecond": 0.0009}, "perSecond"),
        ({"perSecond": 100_000.1}, "perSecond"),
        ({"perSecond": float("inf")}, "perSecond"),
        ({"perSecond": float("nan")}, "perSecond"),
        ({"perSecond": "5"}, "perSecond"),
        ({"after": "a" * 101}, "after"),
        ({"dryRun": "true"}, "dryRun"),
        ({"since": "2026-11-22T10:00:00"}, "since"),
        ({"since": "2026-02-30T10:00:00Z"}, "since"),
        ({"since": 5}, "since"),
        ({"nmae": "n"}, "nmae"),
    ],
)
def test_what_is_beyond_the_limits_is_refused_where_it_stands(members, field):
    with pytest.raises(ValidationError) as caught:
        parse(**members)
    assert [error["loc"] for error in caught.value.errors()] == [(field,)]


def test_a_moment_is_kept_in_utc():
    assert parse(since="2026-11-22T10:00:00+02:00").since == datetime(2026, 11, 22, 8, tzinfo=UTC)


def test_nothing_is_only_counted_unless_it_is_asked_for():
    assert not parse().dry_run
    assert parse(dryRun=True).dry_run


def test_members_have_their_python_names_as_well():
    assert BulkRequest(per_second=2.0).per_second == 2.0


def integers():
    for model in REQUESTS:
        for name, schema in model.model_json_schema()["properties"].items():
            for choice in schema.get("anyOf", [schema]):
                if choice.get("type") == "integer":
                    yield pytest.param(model, name, choice.get("minimum", 0), id=f"{model.__name__}.{name}")


@pytest.mark.parametrize(("model", "name", "least"), list(integers()))
def test_a_whole_number_may_be_written_with_a_fraction_of_zero(model, name, least):
    """JSON Schema makes no difference between 2 and 2.0."""
    try:
        model.model_validate({name: float(least)})
    except ValidationError as error:
        assert name not in {one["loc"][0] for one in error.errors() if one["loc"]}  # noqa: PT017


KEYS = "must be a text of at most 1000 characters, a 64-bit number, true, false or null"


@pytest.mark.parametrize("value", [[1], {}, "x" * 1001, 1 << 63, -(1 << 63) - 1, float("inf"), float("nan")])
def test_what_cannot_be_a_correlation_key_is_told_in_one_sentence_where_it_stands(value):
    with pytest.raises(InvalidDocument) as raised:
        validate(SubscriptionRequest, {"name": "n", "target": {"kind": "pull"}, "correlationKeys": {"a": value}})
    assert [(one.pointer, one.detail) for one in raised.value.errors] == [("/correlationKeys/a", KEYS)]


@pytest.mark.parametrize("value", ["", "x" * 1000, (1 << 63) - 1, -(1 << 63), 1.5, True, None])
def test_a_correlation_key_is_any_simple_value(value):
    wanted = {"name": "n", "target": {"kind": "pull"}, "correlationKeys": {"a": value}}
    assert validate(SubscriptionRequest, wanted).correlation_keys == {"a": value}


def test_what_is_wrong_for_each_of_several_types_is_one_error_at_the_value():
    with pytest.raises(InvalidDocument) as raised:
        validate(SubscriptionRequest, {"name": "n", "target": {"kind": "pull"}, "correlationKeys": {"a": "\0"}})
    [error] = raised.value.errors
    assert error.pointer == "/correlationKeys/a"
    assert error.detail.startswith("must not hold the character U+0000; or ")


def test_a_text_is_counted_in_characters():
    with pytest.raises(InvalidDocument, match="/description: must have at most 1000 characters"):
        validate(SubscriptionRequest, {"name": "n", "target": {"kind": "pull"}, "description": "x" * 1001})
