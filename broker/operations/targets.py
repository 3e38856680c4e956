"""Targets as callers ask for them, checked, and as they are shown again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import chain, repeat
from urllib.parse import urlsplit

from broker.egress import Guard, check_headers, check_url
from broker.errors import InvalidField
from broker.names import check_name
from broker.schemas.subscriptions import (
    ChangeableSpec,
    HandlerTargetSchema,
    QueueTargetSchema,
    StepSchema,
    TargetSchema,
    WebhookTargetSchema,
)
from broker.subscriptions import Kind, Method, Scheme, Target
from broker.templates import check_content_type, check_template, check_url_template
from broker.topology import is_ours

HIDDEN = "***"
"""What is shown instead of a header's value that may be a credential."""
_CREDENTIAL = re.compile("auth|cookie|credential|key|pass|secret|session|signature|token", re.IGNORECASE)
_LONGEST = 900
"""Most seconds that all steps together may take. RabbitMQ wants an ack within half an hour."""


def read_targets(wanted: ChangeableSpec, guard: Guard, before: Sequence[Target] = ()) -> tuple[Target, ...]:
    """Return the one target of *wanted*, or those of its steps; *guard* knows where webhooks may go.

    *before* are the targets that they replace, in order: headers that are not shown may stay what they were.

    Raises:
        InvalidField: One cannot be a target, or there are both or neither.
    """
    old = chain(before, repeat(None))
    if wanted.target is not None and wanted.steps is None:
        return (_read_target(wanted.target, "/target", guard, next(old)),)
    if wanted.steps is None or wanted.target is not None:
        raise InvalidField("/target", "either `target` or `steps` is required")
    return tuple(
        replace(_read_target(step.target, f"/steps/{position}/target", guard, was), description=step.description)
        for (position, step), was in zip(enumerate(wanted.steps), old, strict=False)
    )


def check_durations(targets: Sequence[Target], timeout: timedelta | None) -> None:
    """Let *targets* pass if they cannot take too long together, each of them *timeout*.

    Raises:
        InvalidField: They may.
    """
    if len(targets) > 1 and timeout is not None and len(targets) * timeout.total_seconds() > _LONGEST:
        raise InvalidField("/timeoutSeconds", f"is for each step; all of them may take {_LONGEST} seconds at most")


def _read_target(target: TargetSchema, pointer: str, guard: Guard, was: Target | None) -> Target:
    if isinstance(target, HandlerTargetSchema):
        raise InvalidField(
            f"{pointer}/kind",
            "is made by nobody but `signal-broker worker handlers`: it subscribes its Python functions when it starts",
        )
    if isinstance(target, QueueTargetSchema):
        if is_ours(target.queue):
            raise InvalidField(f"{pointer}/queue", "is one of the product's own queues; name one of the subscriber's")
        return Target(kind=Kind.QUEUE, address=check_name(target.queue, f"{pointer}/queue"))
    check_url(check_url_template(target.url, f"{pointer}/url"), guard, f"{pointer}/url")
    headers = _reveal(target, was, f"{pointer}/headers")
    _check_headers(headers, f"{pointer}/headers", own_type=target.body_template is not None)
    if target.body_template is not None:
        check_template(target.body_template, f"{pointer}/bodyTemplate")
    return Target(
        kind=Kind.WEBHOOK,
        address=target.url,
        method=Method(target.method),
        headers=headers,
        body_template=target.body_template,
        signatures=tuple(scheme for scheme in Scheme if scheme.value in target.signatures),
    )


def _reveal(target: WebhookTargetSchema, was: Target | None, pointer: str) -> dict[str, str]:
    """Return the headers of *target*, those that are not shown with the values that they had.

    They had them at the same host: nobody is to find out what is not shown by having it sent elsewhere.
    """
    same_host = was is not None and was.kind is Kind.WEBHOOK and _origin(was.address) == _origin(target.url)
    kept = was.headers if was is not None and same_host else {}
    headers = {name: kept.get(name, HIDDEN) if value == HIDDEN else value for name, value in target.headers.items()}
    for name, value in headers.items():
        if value == HIDDEN:
            raise InvalidField(f"{pointer}/{name}", f"{HIDDEN} is what answers show instead of it; send the value")
    return headers


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme.lower(), parts.netloc.lower()


def _check_headers(headers: Mapping[str, str], pointer: str, *, own_type: bool) -> None:
    types = [name for name in headers if own_type and name.lower() == "content-type"]
    check_headers({name: value for name, value in headers.items() if name not in types}, pointer)
    for name in types:
        check_content_type(headers[name], f"{pointer}/{name}")
    for name, value in headers.items():
        check_template(value, f"{pointer}/{name}")


def render_target(target: Target) -> TargetSchema:
    """Return *target* without what may be a credential."""
    if target.kind is Kind.HANDLER:
        return HandlerTargetSchema(kind="handler", app=target.app, handler=target.handler)
    if target.kind is Kind.QUEUE:
        return QueueTargetSchema(kind="queue", queue=target.address)
    return WebhookTargetSchema(
        kind="webhook",
        url=target.address,
        method=target.method.value,
        headers={name: HIDDEN if _CREDENTIAL.search(name) else value for name, value in target.headers.items()},
        body_template=target.body_template,
        signatures=[scheme.value for scheme in target.signatures],
    )


def render_step(target: Target) -> StepSchema:
    """Return *target* as a step."""
    return StepSchema(target=render_target(target), description=target.description)
