"""What the native API reads and answers, as pydantic models; the OpenAPI description is made of them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from broker.schematypes import Moment, Name, PerSecond, Schema


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
