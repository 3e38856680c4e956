"""What the native API reads and answers, as pydantic models; the OpenAPI description is made of them."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not hold the character U+0000")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must not hold half of a surrogate pair") from None
    return text


_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE)


def _read_moment(value: object) -> datetime:
    try:
        if isinstance(value, str) and _MOMENT.fullmatch(value):
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("must be a date and time with its offset (RFC 3339), like 2026-11-22T10:00:00Z")


Moment = Annotated[datetime, BeforeValidator(_read_moment)]
Text = Annotated[str, AfterValidator(_storable)]
"""What PostgreSQL can keep."""
Name = Annotated[str, Field(min_length=1, max_length=255, examples=["policy_conditions_changed"])]
Id = Annotated[str, Field(min_length=1, max_length=255)]

PerSecond = Annotated[float, Field(ge=0.001, le=100_000, allow_inf_nan=False)]


class Schema(BaseModel):
    """Members in camelCase; unknown ones are refused, so that a typing error is not a silent default."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", strict=True)

    def to_json(self) -> bytes:
        """Return it as JSON."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), separators=(",", ":")).encode()


class BulkRequest(Schema):
    """Of which signals something is to be done to many, and how fast; what is not mentioned is no limit."""

    name: Name | None = Field(None, description="A signal's name, or a pattern: `*` one word, `#` any number of words.")
    since: Moment | None = Field(None, description="Of signals accepted at this moment or later.")
    until: Moment | None = Field(None, description="Of signals accepted before this moment.")
    dry_run: bool = Field(default=False, description="Only count.")
    per_second: PerSecond | None = Field(None, description="How many go in a second; without it, all of them at once.")
    after: Annotated[str, Field(max_length=100)] | None = Field(
        None, description="Where to go on: `next` of the answer before, with everything else as it was."
    )


class BulkResult(Schema):
    """To how many it was done."""

    count: int
    next: str | None = Field(description="`after` of the next request; null: there are no more.")


class FieldProblem(Schema):
    """One field that was wrong."""

    pointer: str
    detail: str


class Problem(Schema):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] | None = None
