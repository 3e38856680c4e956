"""What a subscription can ask for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict


class SubscriptionOptions(TypedDict, total=False):
    """The options of a subscription, as in ``POST /v1/subscriptions``."""

    tenant_id: str
    execution_id: str
    once: bool
    filter: Mapping[str, object]
    ordered: bool
    head_of_line: Literal["block", "skip"]
    retry: Mapping[str, object]
    timeout_seconds: float
    max_in_flight: int
    max_per_second: float
    description: str
    steps: Sequence[Mapping[str, object]]


def camel(name: str) -> str:
    """Return how the API spells the member *name*."""
    return re.sub("_([a-z])", lambda found: found[1].upper(), name)


def subscription_body(name: str, target: Mapping[str, object] | None, options: Mapping[str, object]) -> dict[str, Any]:
    """Return the body of the request that subscribes *target* to *name*."""
    body: dict[str, Any] = {"name": name} | ({} if target is None else {"target": dict(target)})
    return body | {camel(option): value for option, value in options.items()}
