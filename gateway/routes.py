"""What the gateway answers, as data: the application's routes and the OpenAPI description are both made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from gateway.dialects import Handler


@dataclass(frozen=True, slots=True)
class Route:
    """One operation.

    Args:
        method: HTTP method.
        path: With ``{parameters}``.
        handler: Answers it.
        summary: A few words, for the documentation.
        answers: The documented answers: status to model, or to None for an answer without a body.
        request: The model of the body, where there is one.
        parameters: Query parameters, name to description.
        secured: Whether credentials are needed.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    answers: Mapping[int, type[BaseModel] | None]
    request: type[BaseModel] | None = None
    parameters: Mapping[str, str] | None = None
    secured: bool = True

    @property
    def operation_id(self) -> str:
        """A stable id of the operation, for generated clients."""
        first, *words = self.summary.replace("'s", "").split()
        return first.lower() + "".join(word.capitalize() for word in words)
