"""Filters, as they are described; `broker.filters` reads them and names what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WrapValidator

from broker.filters import MAX_PATH_CHARACTERS, MAX_VALUE_CHARACTERS, MAX_VALUES
from broker.filters.operators import OPERATORS
from broker.schemas.rules import Rule
from broker.schematypes import Schema, Text

_Text = Annotated[Text, Field(max_length=MAX_VALUE_CHARACTERS)]
_Value = _Text | float | bool
_PATH: Rule = {"minLength": 1, "maxLength": MAX_PATH_CHARACTERS, "pattern": "^[^\\x00]*$"}


def _operators(*, least: int | None) -> Rule:
    """Return the rule of the operators that take at least *least* values, or the one value if that is None."""
    names = [name for name, one in OPERATORS.items() if (one.least if one.takes_list else None) == least]
    operator: Rule = {"operator": {"enum": names}}
    if least is None:
        value: Rule = {"type": ["string", "number", "boolean"]}
        return {
            "required": ["value"],
            "properties": {**operator, "value": value, "values": {"enum": [None, "", []]}},
        }
    values: Rule = {"type": "array", "minItems": least}
    return {"required": ["values"], "properties": {**operator, "values": values, "value": {"enum": [None, "", []]}}}


class ConditionSchema(Schema):
    """An operator and what it compares with; a list operator takes `values`, any other one `value`.

    What a value must look like depends on the operator: a number, a version, a date, a network or a regular expression.
    """

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [_operators(least=None), _operators(least=0), _operators(least=1)]}
    )

    operator: Literal[tuple(OPERATORS)]  # type: ignore[valid-type]
    value: _Value | Annotated[list[Any], Field(max_length=0)] | None = None
    values: Annotated[list[_Value], Field(max_length=MAX_VALUES)] | Literal[""] | None = None
    inverted: bool | None = None
    case_insensitive: bool | None = None


_Conditions = ConditionSchema | Annotated[list[ConditionSchema], Field(min_length=1)]
_Group = Annotated[
    dict[Annotated[str, Field(max_length=MAX_PATH_CHARACTERS)], _Conditions],
    Field(min_length=1, json_schema_extra={"propertyNames": _PATH}),
]


class FilterSchema(BaseModel):
    """Conditions on paths of the payload, all of which hold; and groups of them in `anyOf`, one of which holds."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"propertyNames": _PATH})
    __pydantic_extra__: dict[str, _Conditions]

    any_of: _Conditions | Annotated[list[_Group], Field(min_length=1)] = Field(default=[], alias="anyOf")


def _as_object(value: object, _handler: object) -> object:
    if not isinstance(value, dict):
        raise ValueError("must be a JSON object")  # noqa: TRY004  (pydantic's way to refuse a value)
    return value


if TYPE_CHECKING:
    FilterDocument = dict[str, Any]
else:
    FilterDocument = Annotated[FilterSchema, WrapValidator(_as_object)]
"""A filter as JSON: any object, described as what `broker.filters` takes."""
