"""Filters, as they are described; `broker.filters` reads them and names what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WrapValidator

from broker.filters import MAX_PATH_CHARACTERS, MAX_VALUE_CHARACTERS, MAX_VALUES
from broker.filters.operators import OPERATORS
from broker.schemas.rules import Rule, when
from broker.schematypes import Schema, Text

_Text = Annotated[Text, Field(max_length=MAX_VALUE_CHARACTERS)]
_Value = _Text | float | bool
_PATH: Rule = {"minLength": 1, "maxLength": MAX_PATH_CHARACTERS, "pattern": "^[^\\x00]*$"}


_NOTHING: Rule = {"enum": [None, "", []]}


def _taking_list(least: int) -> Rule:
    """Return the rule that the operator takes a list of at least *least* values."""
    names = [name for name, one in OPERATORS.items() if one.takes_list and one.least >= least]
    return {"properties": {"operator": {"enum": names}}}


def _values(least: int) -> Rule:
    """Return the rule that there are at least *least* values, and not the one value."""
    values: Rule = {"type": "array", "items": {}, "minItems": least}
    return {"required": ["values"], "properties": {"values": values, "value": _NOTHING}}


_OPERANDS = when(
    _taking_list(1),
    _values(1),
    when(
        _taking_list(0),
        _values(0),
        {
            "required": ["value"],
            "properties": {"value": {"type": ["string", "number", "boolean"]}, "values": _NOTHING},
        },
    ),
)


class ConditionSchema(Schema):
    """An operator and what it compares with; a list operator takes `values`, any other one `value`.

    What a value must look like depends on the operator: a number, a version, a date, a network or a regular expression.
    """

    model_config = ConfigDict(json_schema_extra=_OPERANDS)

    operator: Literal[tuple(OPERATORS)] = Field(description="How the value at the path is compared.")  # type: ignore[valid-type]
    value: _Value | Annotated[list[Any], Field(max_length=0)] | None = Field(
        None, description="What it is compared with, for an operator that takes one value."
    )
    values: Annotated[list[_Value], Field(max_length=MAX_VALUES)] | Literal[""] | None = Field(
        None, description="What it is compared with, for an operator that takes a list: one of them must fit."
    )
    inverted: bool | None = Field(None, description="Whether the condition holds if the comparison does not.")
    case_insensitive: bool | None = Field(
        None, description="Whether texts are compared without regard to upper and lower case."
    )


_Conditions = ConditionSchema | Annotated[list[ConditionSchema], Field(min_length=1)]
_Group = Annotated[
    dict[Annotated[str, Field(max_length=MAX_PATH_CHARACTERS)], _Conditions],
    Field(min_length=1, json_schema_extra={"propertyNames": _PATH}),
]


class FilterSchema(BaseModel):
    """Conditions on paths of the payload, all of which hold; and groups of them in `anyOf`, one of which holds."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"propertyNames": _PATH})
    __pydantic_extra__: dict[str, _Conditions]

    any_of: _Conditions | Annotated[list[_Group], Field(min_length=1)] = Field(
        default_factory=list[Any], alias="anyOf", description="Groups of conditions, one of which holds."
    )


def _as_object(value: object, _handler: object) -> object:
    if not isinstance(value, dict):
        raise ValueError("must be a JSON object")  # noqa: TRY004  (pydantic's way to refuse a value)
    return value


if TYPE_CHECKING:
    FilterDocument = dict[str, Any]
else:
    FilterDocument = Annotated[FilterSchema, WrapValidator(_as_object)]
"""A filter as JSON: any object, described as what `broker.filters` takes."""
