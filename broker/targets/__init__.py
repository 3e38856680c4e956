"""Targets: where subscriptions deliver. Each kind is one module: its schema, and how it is read, stored and shown.

To add a kind, write its module, add it to the lists below and to `Kind`, and give the workers a courier for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, cast

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from broker.egress import Guard
from broker.targets.handler import HandlerTarget, HandlerTargetSchema
from broker.targets.pull import PullTarget, PullTargetSchema
from broker.targets.queue import QueueTarget, QueueTargetSchema
from broker.targets.target import Format, Kind, Target
from broker.targets.webhook import WebhookTarget, WebhookTargetSchema, origin_of

TargetSchema = Annotated[
    WebhookTargetSchema | QueueTargetSchema | HandlerTargetSchema | PullTargetSchema, Field(discriminator="kind")
]
"""A target in an answer."""
WantedTargetSchema = Annotated[
    WebhookTargetSchema | QueueTargetSchema | PullTargetSchema | SkipJsonSchema[HandlerTargetSchema],
    Field(discriminator="kind"),
]
"""A target in a request; a handler is refused when it is read, which says why."""
WantedStepTargetSchema = Annotated[
    WebhookTargetSchema | QueueTargetSchema | SkipJsonSchema[PullTargetSchema] | SkipJsonSchema[HandlerTargetSchema],
    Field(discriminator="kind"),
]
"""The target of a step in a request; a pull target is refused likewise."""

_KINDS: Mapping[str, type[Target]] = {
    cls.kind.value: cls for cls in (WebhookTarget, QueueTarget, HandlerTarget, PullTarget)
}

__all__ = [
    "Format",
    "HandlerTarget",
    "Kind",
    "PullTarget",
    "QueueTarget",
    "Target",
    "TargetSchema",
    "WantedStepTargetSchema",
    "WantedTargetSchema",
    "WebhookTarget",
    "load_target",
    "origin_of",
    "read_target",
]


def read_target(wanted: TargetSchema, pointer: str, *, guard: Guard, before: Target | None = None) -> Target:
    """Return the target that a caller asks for; see `Target.read`.

    Raises:
        InvalidField: It cannot be a target.
    """
    return _KINDS[wanted.kind].read(wanted, pointer, guard=guard, before=before)


def load_target(columns: Mapping[str, Any], *, description: str | None = None) -> Target:
    """Return the target that *columns* of `subscriptions` hold."""
    kind = Kind.PULL if PullTarget.is_in(columns) else columns["kind"]
    return _KINDS[kind].load(columns, description=description)


def render_target(target: Target) -> TargetSchema:
    """Return the schema of *target*, without credentials."""
    return cast(TargetSchema, target.render())
