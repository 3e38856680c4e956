"""The options of a subscription are declared once: what reads, stores, shows and asks for them is derived from that."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

import click
import pytest

from broker.access import ADMINISTRATOR
from broker.egress import Guard
from broker.errors import InvalidField
from broker.operations.answers import render_subscription
from broker.operations.subscriptions import change_spec, read_spec
from broker.schemas.subscriptions import SubscriptionChanges, SubscriptionOptions, SubscriptionRequest
from broker.secrets import SecretBox, make_key
from broker.store.rows import SPEC_COLUMNS, read_subscription, spec_columns
from broker.subscriptions import HeadOfLine, Subscription, SubscriptionSpec
from broker.targets import QueueTarget, WebhookTarget
from broker.targets.webhook import Method, Scheme
from deploy.cli.subscribe import subscribe

GUARD = Guard(())
DOCUMENT = {
    "name": "order.*",
    "target": {
        "kind": "webhook",
        "url": "https://example.com/{{payload.id}}",
        "method": "PUT",
        "headers": {"X-Team": "billing"},
        "bodyTemplate": "{{payload}}",
        "signatures": ["v1", "v1a"],
        "format": "standard",
        "requestOrigin": "broker.example.com",
    },
    "executionId": "e",
    "tenantId": "t",
    "businessKey": "order-7",
    "correlationKeys": {"orderId": 7, "paid": True},
    "once": False,
    "ordered": True,
    "headOfLine": "skip",
    "filter": {"cpu": {"operator": "NUM_GT", "value": "90"}},
    "retry": {"schedule": [1.0, 5.0], "maxAttempts": 3},
    "timeoutSeconds": 7.0,
    "maxInFlight": 4,
    "maxPerSecond": 2.5,
    "description": "for people",
}
ROW = {
    "id": 1,
    "created_at": datetime(2026, 1, 31, tzinfo=UTC),
    "created_by": "admin",
    "owner_tenants": None,
    "owner_untenanted": True,
    "since": 1,
    "until": None,
    "consumed_by": None,
    "paused_at": None,
    "disabled_because": None,
}


def spec_of(document: dict[str, object]) -> SubscriptionSpec:
    return read_spec(SubscriptionRequest.model_validate(document, by_alias=True, by_name=False), GUARD)


def stored(spec: SubscriptionSpec) -> SubscriptionSpec:
    """Return what is read of *spec* once it was written: JSON columns come back as text."""
    columns = {
        name: json.dumps(value)
        if name in {"headers", "steps", "filter", "correlation_keys"} and value is not None
        else value
        for name, value in json.loads(json.dumps(spec_columns(spec))).items()
    }
    return read_subscription(ROW | columns).spec  # type: ignore[arg-type]


def test_the_document_of_these_tests_has_every_option():
    assert len(DOCUMENT) == len(SubscriptionRequest.model_fields) - 1, "all but steps, which exclude a target"


def test_every_option_is_shown_as_it_was_asked_for():
    subscription = Subscription(id=1, spec=spec_of(DOCUMENT), created_at=ROW["created_at"], since=1)
    shown = json.loads(render_subscription(subscription).to_json())
    assert {name: shown[name] for name in DOCUMENT} == DOCUMENT


def test_every_option_is_stored():
    spec = spec_of(DOCUMENT)
    assert all(getattr(spec, field.name) != field.default for field in fields(spec) if field.name != "once")
    assert stored(spec) == spec
    assert spec_columns(spec).keys() == set(SPEC_COLUMNS)
    once = replace(spec, once=True, ordered=False)
    assert stored(once) == once


def test_steps_are_stored_in_order_with_their_descriptions():
    first = WebhookTarget(
        url="https://example.com/", method=Method.DELETE, headers={"A": "b"}, signatures=(Scheme.V1A,), description="1"
    )
    spec = SubscriptionSpec(name="a", targets=(first, QueueTarget(queue="q", description=None)))
    assert stored(spec) == spec


@pytest.mark.parametrize("name", sorted(SubscriptionOptions.model_fields.keys() - {"target", "steps"}))
def test_every_option_that_may_change_does(name):
    member = SubscriptionOptions.model_fields[name].alias or name
    bare = replace(spec_of({"name": "a", "target": {"kind": "queue", "queue": "q"}}), ordered=True)
    changed = change_spec(
        SubscriptionChanges.model_validate({member: DOCUMENT[member]}, by_alias=True, by_name=False),
        bare,
        GUARD,
        by=ADMINISTRATOR,
        box=SecretBox([make_key()]),
        seals=True,
    )
    differing = [field.name for field in fields(bare) if getattr(changed, field.name) != getattr(bare, field.name)]
    assert len(differing) == 1
    assert getattr(changed, differing[0]) == getattr(spec_of(DOCUMENT), differing[0])


@pytest.mark.parametrize("name", sorted(SubscriptionRequest.model_fields.keys() - {"name", "target", "steps", "retry"}))
def test_every_option_is_a_flag_of_the_command(name):
    (flag,) = [parameter for parameter in subscribe.params if parameter.name == name]
    assert isinstance(flag, click.Option)
    assert flag.help == SubscriptionRequest.model_fields[name].description


def test_options_that_do_not_go_together_are_refused():
    with pytest.raises(InvalidField, match="ordered"):
        spec_of(DOCUMENT | {"once": True})
    with pytest.raises(InvalidField, match="for an ordered subscription only"):
        spec_of(DOCUMENT | {"ordered": False})
    assert spec_of(DOCUMENT | {"ordered": False, "headOfLine": None}).head_of_line is HeadOfLine.BLOCK


@pytest.mark.parametrize(("seconds", "steps", "allowed"), [(300, 3, True), (300, 4, False), (225, 4, True)])
def test_all_steps_together_take_at_most_fifteen_minutes(seconds, steps, allowed):
    step = {"target": {"kind": "queue", "queue": "q"}}
    document = {"name": "a", "steps": [step] * steps, "timeoutSeconds": seconds}
    if allowed:
        assert spec_of(document).timeout == timedelta(seconds=seconds)
        return
    with pytest.raises(InvalidField, match="at most 900 seconds"):
        spec_of(document)
