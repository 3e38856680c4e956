"""Typed variables in the native dialect: the same types and conversions as Camunda's, with pointers in the errors."""

from __future__ import annotations

from collections.abc import Mapping

from broker.errors import InvalidField
from broker.jsontext import encode
from broker.variables import Types, split
from gateway.camunda.conversions import convert
from gateway.camunda.errors import CamundaError
from gateway.schemas.signals import TypedVariable


def read_variables(variables: Mapping[str, TypedVariable]) -> tuple[bytes, Types]:
    """Return payload (JSON text) and types of *variables*.

    Raises:
        InvalidField: A variable's value is not of its type.
    """
    converted = {}
    for name, variable in variables.items():
        try:
            converted[name] = convert(variable.value, variable.type, variable.value_info)
        except CamundaError as error:
            pointer = f"/variables/{name.replace('~', '~0').replace('/', '~1')}"
            raise InvalidField(pointer, error.message or "is not a variable") from error
    payload, types = split(converted)
    return encode(payload), types
