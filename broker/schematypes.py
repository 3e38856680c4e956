"""What schemas are made of: their base class, and the types of their members."""

from __future__ import annotations

import json
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
    try:
        if isinstance(value, str):
            return read_moment(value)
    except ValueError:
        pass
    raise ValueError("must be a date and time with its offset (RFC 3339), like 2026-11-22T10:00:00Z")


def _read_whole(value: object) -> object:
    """Return *value*, as a whole number if it is written as one with a fraction of zero, which JSON does not tell."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


LINE = "^[^\\x00-\\x1f\\x7f]*$"
"""The pattern of what has no control characters; the code that reads it says which one it found."""
VISIBLE = f"^[^\\x00-\\x1f\\x7f{STEERING.pattern[1:-1]}]*$"
"""The pattern of what has no `STEERING` characters either."""


Moment = Annotated[datetime, BeforeValidator(_read_moment)]
"""A moment as callers write it."""
Shown = Annotated[
    datetime,
    PlainSerializer(show_moment, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A moment as answers show it."""
Text = Annotated[str, AfterValidator(_storable), Field(json_schema_extra={"pattern": "^[^\\x00]*$"})]
"""A text that PostgreSQL can store."""
Name = Annotated[
    str,
    Field(
        min_length=1,
        max_length=255,
        examples=["policy_conditions_changed"],
        json_schema_extra={"pattern": VISIBLE},
    ),
    AfterValidator(_visible),
]
Id = Annotated[
    str, Field(min_length=1, max_length=255, json_schema_extra={"pattern": VISIBLE}), AfterValidator(_visible)
]
WHOLE = BeforeValidator(_read_whole)
"""Makes an integer of a number like 2.0: JSON does not tell them apart."""

PerSecond = Annotated[float, Field(ge=0.001, le=100_000, allow_inf_nan=False)]


class Schema(BaseModel):
    """A document with members in camelCase. Unknown ones are errors, so that a typing error is not a silent default."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", strict=True)

    def to_json(self) -> bytes:
        """Return it as JSON."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), separators=(",", ":")).encode()
