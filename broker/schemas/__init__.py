"""The documents of the API, as pydantic models: the OpenAPI description is made from them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from broker.schematypes import Moment, Name, PerSecond, Schema


class BulkRequest(Schema):
    """Which signals a bulk operation is about, and its pace. A member that is left out filters nothing."""

    name: Name | None = Field(
        None, description="Only signals with this name, or a pattern: `*` is one word, `#` any number."
    )
    since: Moment | None = Field(None, description="Only signals accepted at this moment or later.")
    until: Moment | None = Field(None, description="Only signals accepted before this moment.")
    dry_run: bool = Field(default=False, description="Only count.")
    per_second: PerSecond | None = Field(None, description="Most deliveries a second; without it, all at once.")
    after: Annotated[str, Field(max_length=100)] | None = Field(
        None, description="`next` of the previous answer; repeat all other members unchanged."
    )


class BulkResult(Schema):
    """How many deliveries a bulk operation changed or made."""

    count: int
    next: str | None = Field(description="`after` of the next request; null if nothing is left.")


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
