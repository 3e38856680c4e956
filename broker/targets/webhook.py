"""Webhooks as targets: HTTP requests, signed as Standard Webhooks say, and made from templates if there are any."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field

from broker.egress import (
    HEADER_NAME,
    HEADER_VALUE,
    HEADER_VALUE_LIMIT,
    HEADERS_LIMIT,
    Guard,
    check_headers,
    check_names,
    check_url,
)
from broker.errors import InvalidField, pointer_to
from broker.redaction import HIDDEN, hide_credentials, hide_credentials_of_url
from broker.schematypes import Schema, Text
from broker.secrets import SecretBox
from broker.targets.target import Format, FormatName, Kind, Target
from broker.templates import TEMPLATE_LIMIT, check_content_type, check_template, check_url_template

ORIGIN = r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$"
"""The pattern of a DNS name (RFC 1123, 2.1)."""


class Method(enum.StrEnum):
    """The HTTP method of a webhook's requests."""

    POST = "POST"
    PUT = "PUT"
    PATCH = "PATCH"
    DELETE = "DELETE"


class Scheme(enum.StrEnum):
    """How a webhook is signed (Standard Webhooks 1.0)."""

    V1 = "v1"
    """HMAC-SHA256 with the subscription's secret."""
    V1A = "v1a"
    """Ed25519 with the product's own key, whose public half is published."""


class WebhookTargetSchema(Schema):
    """Deliver by an HTTP request, signed as Standard Webhooks say."""

    kind: Literal["webhook"] = Field(description="The kind of target.")
    url: Annotated[
        str,
        Field(
            max_length=2048,
            json_schema_extra={"pattern": r"^[Hh][Tt][Tt][Pp][Ss]?://[^\x00-\x20\x7f\\]+$"},
            description="After the host, `{{payload.path}}` and the like become values of the signal.",
            examples=["https://example.com/hooks/signals"],
        ),
    ]
    method: Literal["POST", "PUT", "PATCH", "DELETE"] = Field("POST", description="The method of the request.")
    headers: dict[str, str] = Field(
        default_factory=dict,
        json_schema_extra={
            "maxProperties": HEADERS_LIMIT,
            "propertyNames": {"pattern": HEADER_NAME, "maxLength": 128},
            "additionalProperties": {"type": "string", "maxLength": HEADER_VALUE_LIMIT, "pattern": HEADER_VALUE},
        },
        description="Values may be templates, too. Answers show `***` in place of those that may be, or hold,"
        " credentials.",
    )
    body_template: Annotated[Text, Field(max_length=TEMPLATE_LIMIT)] | None = Field(
        None,
        description="Mustache: what the body is made from instead of the signal; an empty template sends no body.",
        examples=['{"text": "{{name}}: {{payload.summary}}"}'],
    )
    signatures: Annotated[list[Literal["v1", "v1a"]], Field(min_length=1, max_length=2)] = Field(
        default=["v1"],
        description="How to sign: `v1` with the subscription's secret, `v1a` with a key of `GET /v1/webhook-keys`.",
    )
    format: FormatName = "standard"
    request_origin: Annotated[str, Field(max_length=253, pattern=ORIGIN)] | None = Field(
        None,
        description="The DNS name that the receiver is asked for permission as, by OPTIONS, before it gets signals"
        " (HTTP 1.1 Web Hooks for Event Delivery, 4).",
        examples=["broker.example.com"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookTarget(Target):
    """A webhook.

    Args:
        url: Where to send the request; it may be a template.
        method: The request's method.
        headers: Further headers of the request; their values may be templates.
        body_template: What the body is made from; None sends the signal.
        signatures: The schemes it is signed with.
        format: How the body is written, unless there is a template.
        request_origin: The name that the receiver is asked for permission as; None does not ask.
        sealed: URL and headers with their credentials, sealed. Then `url` and `headers` have ``***`` in their place.
    """

    kind: ClassVar[Kind] = Kind.WEBHOOK
    is_signed: ClassVar[bool] = True

    url: str
    method: Method = Method.POST
    headers: Mapping[str, str] = field(default_factory=dict)
    body_template: str | None = None
    signatures: tuple[Scheme, ...] = (Scheme.V1,)
    format: Format = Format.STANDARD
    request_origin: str | None = None
    sealed: str | None = None

    @classmethod
    def read(cls, wanted: WebhookTargetSchema, pointer: str, *, guard: Guard, before: Target | None) -> Self:
        """Return the webhook, if its URL, headers and templates are valid and *guard* allows the URL."""
        if isinstance(before, WebhookTarget) and before.sealed and HIDDEN in wanted.url and wanted.url == before.url:
            raise InvalidField(f"{pointer}/url", f"{HIDDEN} is shown instead of a part that no key opens; send the URL")
        check_url(check_url_template(wanted.url, f"{pointer}/url"), guard, f"{pointer}/url")
        headers = _reveal(wanted, before, f"{pointer}/headers")
        _check_headers(headers, f"{pointer}/headers", own_type=wanted.body_template is not None)
        if wanted.body_template is not None:
            check_template(wanted.body_template, f"{pointer}/bodyTemplate")
        _check_format(wanted, pointer)
        return cls(
            url=wanted.url,
            method=Method(wanted.method),
            headers=headers,
            body_template=wanted.body_template,
            signatures=tuple(scheme for scheme in Scheme if scheme.value in wanted.signatures),
            format=Format(wanted.format),
            request_origin=wanted.request_origin,
        )

    def render(self) -> WebhookTargetSchema:
        """Return its schema; the values of headers that may be, or hold, credentials are hidden."""
        shown = hide_credentials(self.headers)
        return WebhookTargetSchema(
            kind="webhook",
            url=self.url,
            method=self.method.value,
            headers={name: value if shown[name] == value else HIDDEN for name, value in self.headers.items()},
            body_template=self.body_template,
            signatures=[scheme.value for scheme in self.signatures],
            format=self.format.value,
            request_origin=self.request_origin,
        )

    @property
    def address(self) -> str:
        """The URL."""
        return self.url

    @property
    def circuit(self) -> str | None:
        """The URL without what may be a credential: another key for the same receiver is no other receiver."""
        return hide_credentials_of_url(self.url)

    @property
    def holds_credentials(self) -> bool:
        """Whether it has headers, or a URL with what may be a credential, in clear."""
        return self.sealed is None and (any(self.headers.values()) or hide_credentials_of_url(self.url) != self.url)

    def seal(self, box: SecretBox) -> Self:
        """Return it with all values of headers, and what may be a credential in its URL, sealed and hidden."""
        if not self.holds_credentials:
            return self
        sealed = box.seal(json.dumps({"url": self.url, "headers": dict(self.headers)})).decode()
        headers = dict.fromkeys(self.headers, HIDDEN)
        return replace(self, url=hide_credentials_of_url(self.url), headers=headers, sealed=sealed)

    def unseal(self, box: SecretBox) -> Self:
        """Return it with its URL and headers as they are sent.

        Raises:
            SecretUnreadable: No key opens them.
        """
        if self.sealed is None:
            return self
        return replace(self, **json.loads(box.open(self.sealed.encode())), sealed=None)

    def hide(self) -> Self:
        """Return it without what may be a credential in its URL."""
        return replace(self, url=hide_credentials_of_url(self.url))

    @property
    def columns(self) -> dict[str, object]:
        """The columns of `subscriptions` that hold it, as JSON."""
        return {
            "kind": self.kind.value,
            "address": self.url,
            "method": self.method.value,
            "headers": dict(self.headers),
            "body_template": self.body_template,
            "signatures": [scheme.value for scheme in self.signatures],
            "sealed": self.sealed,
            "format": self.format.value,
            "request_origin": self.request_origin,
        }

    @classmethod
    def load(cls, columns: Mapping[str, Any], *, description: str | None) -> Self:
        """Return the webhook in *columns*."""
        return cls(
            url=columns["address"],
            method=Method(columns["method"]),
            headers=columns["headers"],
            body_template=columns["body_template"],
            signatures=tuple(map(Scheme, columns["signatures"])),
            sealed=columns.get("sealed"),
            format=Format(columns.get("format", Format.STANDARD)),  # steps of earlier versions have none
            request_origin=columns.get("request_origin"),
            description=description,
        )


def _reveal(wanted: WebhookTargetSchema, before: Target | None, pointer: str) -> dict[str, str]:
    """Return the headers of *wanted*; hidden ones keep the values that they have in *before*.

    They keep them at the same host only: otherwise a caller could learn a hidden value by having it sent elsewhere.
    """
    same_host = isinstance(before, WebhookTarget) and origin_of(before.url) == origin_of(wanted.url)
    kept = before.headers if isinstance(before, WebhookTarget) and same_host else {}
    headers = {name: kept.get(name, HIDDEN) if value == HIDDEN else value for name, value in wanted.headers.items()}
    for name, value in headers.items():
        if value == HIDDEN:
            raise InvalidField(
                pointer_to(pointer, name), f"{HIDDEN} is what answers show instead of it; send the value"
            )
    return headers


@lru_cache(10_000)
def origin_of(url: str) -> str:
    """Return scheme, host and port of a webhook's URL: ``https://example.com:443``."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{parts.scheme}://{parts.hostname}:{port}"


def _check_format(wanted: WebhookTargetSchema, pointer: str) -> None:
    """Check that nothing else in *wanted* says what its format says."""
    if Format(wanted.format) is Format.STANDARD:
        return
    if wanted.body_template is not None:
        raise InvalidField(f"{pointer}/format", "cannot be given together with bodyTemplate, which makes another body")
    for name in wanted.headers:
        if name.lower().startswith("ce-"):
            raise InvalidField(
                pointer_to(f"{pointer}/headers", name), "is an attribute of the event, which has its own"
            )


def _check_headers(headers: Mapping[str, str], pointer: str, *, own_type: bool) -> None:
    check_names(headers, pointer)
    types = [name for name in headers if own_type and name.lower() == "content-type"]
    check_headers({name: value for name, value in headers.items() if name not in types}, pointer)
    for name in types:
        check_content_type(headers[name], pointer_to(pointer, name))
    for name, value in headers.items():
        check_template(value, pointer_to(pointer, name))
