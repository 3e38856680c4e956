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


class BulkSelection(Schema):
    """Which signals a bulk operation is about. A member that is left out filters nothing."""

    name: Name | None = Field(
        None, description="Only signals with this name, or a pattern: `*` is one word, `#` any number."
    )
    since: Moment | None = Field(None, description="Only signals accepted at this moment or later.")
    until: Moment | None = Field(None, description="Only signals accepted before this moment.")
    dry_run: bool = Field(default=False, description="Only count.")
    after: str | None = following("[0-9]{1,18}(-[0-9]{1,18})?")


class BulkRequest(BulkSelection):
    """Which signals a bulk operation is about, and its pace."""

    per_second: PerSecond | None = Field(None, description="Most deliveries a second; without it, all at once.")


class BulkResult(Schema):
    """How many deliveries a bulk operation changed or made."""

    count: int = Field(description="Deliveries that were changed or made, or that would have been (`dryRun`).")
    next: str | None = Field(description="`after` of the next request; null if nothing is left.")


class FieldProblem(Schema):
    """One field that was wrong."""

    pointer: str = Field(
        description="Which field: a JSON pointer into the body, or `?` and the name of a query parameter."
    )
    detail: str = Field(description="What is wrong with it, and what is allowed.")


class Problem(Schema):
    """An error (RFC 9457)."""

    type: str = Field(description="The kind of problem; `about:blank`: the status says it all.")
    title: str = Field(description="The phrase of the status.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What is wrong, and what is allowed.")
    errors: list[FieldProblem] | None = Field(
        None, description="The fields that were wrong, if the error is about fields; 50 at most."
    )
