"""What schemas are made of: their base class, and the types of their members."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

from broker.moments import read_moment, show_moment
from broker.texts import STEERING


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not hold the character U+0000")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must not hold half of a surrogate pair") from None
    return text


def _visible(text: str) -> str:
    found = STEERING.search(text)
    if found:
        raise ValueError(f"must not hold the character U+{ord(found[0]):04X}, which steers terminals or is not seen")
    return text


def _read_moment(value: object) -> datetime:
    if isinstance(value, str):
        with suppress(ValueError):
            return read_moment(value)
    raise ValueError("must be a date and time with its offset (RFC 3339), like 2026-11-22T10:00:00Z")


Moment = Annotated[datetime, BeforeValidator(_read_moment)]
"""A moment as callers write it."""
Shown = Annotated[
    datetime,
    PlainSerializer(show_moment, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A moment as answers show it."""
Text = Annotated[str, AfterValidator(_storable)]
"""A text that PostgreSQL can store."""
Name = Annotated[
    str, Field(min_length=1, max_length=255, examples=["policy_conditions_changed"]), AfterValidator(_visible)
]
Id = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_visible)]

PerSecond = Annotated[float, Field(ge=0.001, le=100_000, allow_inf_nan=False)]


class Schema(BaseModel):
    """A document with members in camelCase. Unknown ones are errors, so that a typing error is not a silent default."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", strict=True)

    def to_json(self) -> bytes:
        """Return it as JSON."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), separators=(",", ":")).encode()
