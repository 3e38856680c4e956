"""The headers of answers, for the API's description: those that not every answer has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from broker.health import MISSING

_WHOLE = {"type": "integer", "minimum": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerHeader:
    """A header of an answer.

    Args:
        name: Its name.
        meaning: What it says, as a sentence.
        example: What it may be.
        schema: Its JSON schema.
        is_certain: Whether every answer of its status has it.
    """

    name: str
    meaning: str
    example: str | int
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    is_certain: bool = False

    @property
    def component(self) -> str:
        """What it is called in the description."""
        return self.name.replace("-", "")


LOCATION = AnswerHeader(
    name="Location",
    meaning="Where it is: a path, or a URL where the settings name the server's.",
    example="/v1/signals/4711",
    schema={"type": "string", "format": "uri-reference"},
    is_certain=True,
)
REPLAYED = AnswerHeader(
    name="Idempotency-Replayed",
    meaning="There if an earlier request had the same idempotency key: this is its answer, and nothing was thrown.",
    example="true",
    schema={"const": "true"},
)
WARNING = AnswerHeader(
    name="Signal-Broker-Warning",
    meaning="There if the body, or a part of a form, was ignored: why.",
    example="the body was ignored: it is text/plain, not application/json",
)
RETRY_AFTER = AnswerHeader(
    name="Retry-After", meaning="In how many seconds to try again.", example=1, schema=_WHOLE, is_certain=True
)
CHALLENGE = AnswerHeader(
    name="WWW-Authenticate",
    meaning="What credentials are taken; one for each kind. Browsers are not asked for a password.",
    example='Bearer realm="signal-broker"',
    is_certain=True,
)
ENCODINGS = AnswerHeader(
    name="Accept-Encoding", meaning="There if the body was in another encoding: those that are read.", example="gzip"
)
COOKIE = AnswerHeader(
    name="Set-Cookie",
    meaning="The cookie of the session; with `Max-Age=0` it ends.",
    example="signal-broker-session=...; HttpOnly; Max-Age=43200; Path=/; SameSite=Strict",
    is_certain=True,
)
UNBUFFERED = AnswerHeader(
    name="X-Accel-Buffering",
    meaning="Has nginx pass each event on at once.",
    example="no",
    schema={"const": "no"},
)
CONTENT_POLICY = AnswerHeader(
    name="Content-Security-Policy",
    meaning="What the browser may load and run for it.",
    example="default-src 'none'",
    is_certain=True,
)
TAG = AnswerHeader(
    name="ETag",
    meaning="The version of the content, for `If-None-Match`.",
    example='"5d41402abc4b2a76b9719d911017c592"',
    is_certain=True,
)
VARY = AnswerHeader(
    name="Vary", meaning="The headers of the request that it depends on.", example="Accept-Encoding", is_certain=True
)
ENCODING = AnswerHeader(
    name="Content-Encoding",
    meaning="There if it is compressed.",
    example="gzip",
    schema={"const": "gzip"},
)
UNREADY = AnswerHeader(name=MISSING, meaning="What the process does without, if anything.", example="rabbitmq")
RATE_LIMITS = (
    AnswerHeader(
        name="RateLimit-Policy", meaning="Calls, and in how many seconds, if there is a limit.", example="1;w=1"
    ),
    AnswerHeader(name="RateLimit-Limit", meaning="Calls in a second, if there is a limit.", example=1, schema=_WHOLE),
    AnswerHeader(name="RateLimit-Remaining", meaning="Calls that are left of it.", example=0, schema=_WHOLE),
    AnswerHeader(name="RateLimit-Reset", meaning="Seconds until there may be as many again.", example=1, schema=_WHOLE),
)
