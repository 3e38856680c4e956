"""The forms of the dialects' errors, as tests recognise them."""

from __future__ import annotations

import uuid


def is_native(status, body):
    return body["status"] == status and {"type", "title", "detail"} <= set(body)


def is_camunda8(status, body):
    return is_native(status, body) and "instance" in body


def is_camunda(_, body):
    return set(body) == {"type", "message", "code"}


def is_unleash(_, body):
    return set(body) == {"id", "name", "message", "details"} and bool(uuid.UUID(body["id"]))


ROUTES = {
    "/v1/signals": is_native,
    "/v1/subscriptions": is_native,
    "/v1/tokens": is_native,
    "/engine-rest/signal": is_camunda,
    "/signal": is_camunda,
    "/api/admin/signal-endpoints": is_unleash,
}
"""Every route that reads a document, and the form of its errors."""
