"""Targets as callers ask for them, checked, and as they are shown again."""

from __future__ import annotations

import re
from dataclasses import replace

from broker.egress import Guard, check_headers, check_url
from broker.errors import InvalidField
from broker.names import check_name
from broker.subscriptions import Kind, Method, Scheme, Target
from broker.templates import check_content_type, check_template, check_url_template
from broker.topology import is_ours
from gateway.documents import (
    HandlerTargetDocument,
    QueueTargetDocument,
    StepDocument,
    SubscriptionRequest,
    TargetDocument,
    WebhookTargetDocument,
)

HIDDEN = "***"
"""What is shown instead of a header's value that may be a credential."""
_CREDENTIAL = re.compile("auth|cookie|credential|key|pass|secret|session|signature|token", re.IGNORECASE)
_LONGEST = 900
"""Most seconds that all steps together may take. RabbitMQ wants an ack within half an hour."""


def read_targets(wanted: SubscriptionRequest, guard: Guard) -> tuple[Target, ...]:
    """Return the one target of *wanted*, or those of its steps; *guard* knows where webhooks may go.

    Raises:
        InvalidField: One cannot be a target, there are both or neither, or the steps may take too long.
    """
    if wanted.target is not None and wanted.steps is None:
        return (_read_target(wanted.target, "/target", guard),)
    if wanted.steps is None or wanted.target is not None:
        raise InvalidField("/target", "either `target` or `steps` is required")
    if len(wanted.steps) * (wanted.timeout_seconds or 0) > _LONGEST:
        raise InvalidField("/timeoutSeconds", f"is for each step; all of them may take {_LONGEST} seconds at most")
    return tuple(
        replace(_read_target(step.target, f"/steps/{position}/target", guard), description=step.description)
        for position, step in enumerate(wanted.steps)
    )


def _read_target(target: TargetDocument, pointer: str, guard: Guard) -> Target:
    if isinstance(target, HandlerTargetDocument):
        raise InvalidField(
            f"{pointer}/kind",
            "is made by nobody but `signal-broker worker handlers`: it subscribes its Python functions when it starts",
        )
    if isinstance(target, QueueTargetDocument):
        if is_ours(target.queue):
            raise InvalidField(f"{pointer}/queue", "is one of the product's own queues; name one of the subscriber's")
        return Target(kind=Kind.QUEUE, address=check_name(target.queue, f"{pointer}/queue"))
    check_url(check_url_template(target.url, f"{pointer}/url"), guard, f"{pointer}/url")
    _check_headers(target, f"{pointer}/headers")
    if target.body_template is not None:
        check_template(target.body_template, f"{pointer}/bodyTemplate")
    return Target(
        kind=Kind.WEBHOOK,
        address=target.url,
        method=Method(target.method),
        headers=target.headers,
        body_template=target.body_template,
        signatures=tuple(scheme for scheme in Scheme if scheme.value in target.signatures),
    )


def _check_headers(target: WebhookTargetDocument, pointer: str) -> None:
    own_type = target.body_template is not None
    types = [name for name in target.headers if own_type and name.lower() == "content-type"]
    check_headers({name: value for name, value in target.headers.items() if name not in types}, pointer)
    for name in types:
        check_content_type(target.headers[name], f"{pointer}/{name}")
    for name, value in target.headers.items():
        if value == HIDDEN:
            raise InvalidField(f"{pointer}/{name}", f"{HIDDEN} is what answers show instead of it; send the value")
        check_template(value, f"{pointer}/{name}")


def target_document(target: Target) -> TargetDocument:
    """Return *target* without what may be a credential."""
    if target.kind is Kind.HANDLER:
        return HandlerTargetDocument(kind="handler", app=target.app, handler=target.handler)
    if target.kind is Kind.QUEUE:
        return QueueTargetDocument(kind="queue", queue=target.address)
    return WebhookTargetDocument(
        kind="webhook",
        url=target.address,
        method=target.method.value,
        headers={name: HIDDEN if _CREDENTIAL.search(name) else value for name, value in target.headers.items()},
        body_template=target.body_template,
        signatures=[scheme.value for scheme in target.signatures],
    )


def step_document(target: Target) -> StepDocument:
    """Return *target* as a step."""
    return StepDocument(target=target_document(target), description=target.description)
