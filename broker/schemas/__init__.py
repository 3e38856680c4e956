"""The documents of the API, as pydantic models: the OpenAPI description is made from them."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from broker.schematypes import Moment, Name, PerSecond, Schema

_MOMENT = "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9][.][0-9]{3}Z"


def following(last: str) -> Any:
    """Return the field `after`, where *last* is the pattern of the ids in it; with a pace there is a moment, too."""
    return Field(
        None,
        max_length=100,
        description="`next` of the previous answer; repeat all other members unchanged.",
        json_schema_extra={"pattern": f"^{last}(@{_MOMENT})?$"},
    )


class BulkRequest(Schema):
    """Which signals a bulk operation is about, and its pace. A member that is left out filters nothing."""

    name: Name | None = Field(
        None, description="Only signals with this name, or a pattern: `*` is one word, `#` any number."
    )
    since: Moment | None = Field(None, description="Only signals accepted at this moment or later.")
    until: Moment | None = Field(None, description="Only signals accepted before this moment.")
    dry_run: bool = Field(default=False, description="Only count.")
    per_second: PerSecond | None = Field(None, description="Most deliveries a second; without it, all at once.")
    after: str | None = following("[0-9]{1,18}(-[0-9]{1,18})?")


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
