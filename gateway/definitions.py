"""The schemas in the API's description, made from pydantic models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from broker.integers import MAX_ID
from gateway.examples import EXAMPLES

_MOST_IN_32_BITS = (1 << 31) - 1
_VALUES = {"examples", "example", "default", "enum", "const"}
"""Members of a schema that hold values, which look like schemas at most by accident."""
_NULL = {"type": ["string", "null"], "not": {"type": "string"}}


class _Generator(GenerateJsonSchema):
    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Return the schema of a member, where null is no default: generators of clients would require the member."""
        found = super().default_schema(schema)
        return {key: value for key, value in found.items() if key != "default" or value is not None}


def define(models: Iterable[type[BaseModel]], ref_template: str) -> dict[str, Any]:
    """Return the schemas of *models* and of what they consist of, by name, with an example for each of their members.

    *ref_template* makes a reference of a ``{model}``.
    """
    ordered = sorted(models, key=lambda model: model.__name__)
    _, found = models_json_schema(
        [(model, "validation") for model in ordered], ref_template=ref_template, schema_generator=_Generator
    )
    return {name: _with_examples(schema, EXAMPLES.get(name, ())) for name, schema in found["$defs"].items()}


def portable(schema: Any) -> Any:
    """Return a part of the description as generators of clients need it.

    They take integers for 32 bits unless the format says 64, and have no type for a member that is null alone.
    """
    if isinstance(schema, list):
        return [portable(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    told = {name: part if name in _VALUES else portable(part) for name, part in schema.items()}
    if told.get("type") == "integer" and told.get("maximum", MAX_ID) > _MOST_IN_32_BITS:
        told.setdefault("format", "int64")
    if isinstance(told.get("properties"), dict):
        told["properties"] = {
            name: _NULL | {key: value for key, value in member.items() if key != "type"}
            if member.get("type") == "null"
            else member
            for name, member in told["properties"].items()
        }
    return told


def _with_examples(schema: Mapping[str, Any], documents: Iterable[Any]) -> dict[str, Any]:
    described = {**schema, "examples": list(documents)}
    if "properties" in schema:
        described["properties"] = {
            name: _with_example(member, name, described["examples"]) for name, member in schema["properties"].items()
        }
    return described


def _with_example(member: Mapping[str, Any], name: str, documents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    values = [document[name] for document in documents if name in document]
    told = next((value for value in values if value is not None), None)
    return {"examples": [told] if values else [], **member}
