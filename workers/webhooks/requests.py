"""Requests: what a target makes of a signal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from broker.cloudevents import STRUCTURED, event_attributes, event_json, header_value
from broker.representations import signal_json, signal_members
from broker.store.deliveries.attempts import Claimed
from broker.targets import Format
from broker.targets.webhook import Method, WebhookTarget
from broker.templates import JSON, is_template, render_body, render_header, render_url


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A webhook that is not signed yet."""

    method: Method
    url: str
    headers: Mapping[str, str]
    body: bytes


def compose(claimed: Claimed, target: WebhookTarget) -> Request:
    """Return the request that the attempt *claimed* makes at *target*, which has its credentials in clear.

    Raises:
        Unrenderable: A template of the target renders something that cannot be sent.
    """
    due = claimed.due
    further = {"deliveryId": due.delivery_id, "attempt": due.attempt, "subscriptionId": due.subscription_id}
    if not _has_templates(target):
        own, body = _write(claimed, target.format, further)
        return Request(method=target.method, url=target.url, headers={**target.headers, **own}, body=body)
    context = signal_members(claimed.signal, further)
    headers = {name: render_header(value, context) for name, value in target.headers.items()}
    if target.body_template is None:
        own, body = _write(claimed, target.format, further)
        headers |= own
    else:
        kind = next((name for name in headers if name.lower() == "content-type"), "content-type")
        body = render_body(target.body_template, headers.setdefault(kind, JSON), context)
        if not body:
            del headers[kind]
    return Request(method=target.method, url=render_url(target.url, context), headers=headers, body=body)


def _write(claimed: Claimed, form: Format, further: Mapping[str, object]) -> tuple[dict[str, str], bytes]:
    """Return the headers and the body that the signal of *claimed* is written in, with *further* members if it can."""
    match form:
        case Format.STRUCTURED:
            return {"content-type": STRUCTURED}, event_json(claimed.signal)
        case Format.BINARY:
            attributes = event_attributes(claimed.signal)
            kind = attributes.pop("datacontenttype")
            headers = {f"ce-{name}": header_value(value) for name, value in attributes.items()}
            return {"content-type": kind, **headers}, claimed.signal.throw.payload
        case Format.STANDARD:
            return {"content-type": JSON}, signal_json(claimed.signal, further)


def _has_templates(target: WebhookTarget) -> bool:
    return target.body_template is not None or any(map(is_template, (target.url, *target.headers.values())))
