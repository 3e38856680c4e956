"""Documents validated by a model, every error with its pointer."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import ValidationError

from broker.errors import InvalidDocument, InvalidField, pointer_to
from broker.schematypes import Schema

D = TypeVar("D", bound=Schema)


def validate(model: type[D], value: object) -> D:
    """Return *value*, JSON as Python has it, as a *model*.

    Raises:
        InvalidDocument: It is not what the model allows.
    """
    try:
        return model.model_validate(value, by_alias=True, by_name=False)
    except ValidationError as error:
        found: dict[str, list[str]] = {}
        for one in error.errors(include_url=False):
            field = _read(one, value)
            found.setdefault(field.pointer, []).append(field.detail)
        # A value of several types is wrong for each of them.
        wrong = [InvalidField(pointer, "; or ".join(problems)) for pointer, problems in found.items()]
        raise InvalidDocument(wrong) from error


def _read(error: Any, value: object) -> InvalidField:
    """Return what pydantic found in *value*, in the terms of JSON and of its caller."""
    pointer, context = _pointer(error["loc"], value, is_missing=error["type"] == "missing"), error.get("ctx", {})
    match error["type"]:
        case "union_tag_not_found":
            return InvalidField(pointer_to(pointer, context["discriminator"].strip("'")), "is required")
        case "union_tag_invalid":
            place = pointer_to(pointer, context["discriminator"].strip("'"))
            return InvalidField(place, f"must be one of {context['expected_tags']}")
        case _:
            return InvalidField(pointer, _sentence(error))


def _pointer(location: tuple[int | str, ...], value: Any, *, is_missing: bool) -> str:
    """Return *location* in *value* as a JSON pointer, without the names of variants, which pydantic puts into it."""
    pointer = ""
    for position, part in enumerate(location):
        is_there = (isinstance(value, dict) and part in value) or (isinstance(value, list) and isinstance(part, int))
        if is_there or (is_missing and position == len(location) - 1):
            pointer = pointer_to(pointer, str(part))
        value = value[part] if is_there else value
    return pointer


def _sentence(error: Any) -> str:
    match error["type"]:
        case "extra_forbidden":
            return "unknown field"
        case "missing":
            return "is required"
        case "model_type" | "model_attributes_type" | "dict_type":
            return "must be a JSON object"
        case "too_short" | "too_long" if isinstance(error["input"], str):
            return _length_sentence(error["ctx"])
        case "value_error":
            return str(error["ctx"]["error"])
        case _:
            return str(error["msg"])


def _length_sentence(limits: Any) -> str:
    if "max_length" in limits:
        return f"must have at most {limits['max_length']} characters"
    least = limits["min_length"]
    return "must not be empty" if least == 1 else f"must have at least {least} characters"
