"""What the gateway answers, as data: the application's routes and the OpenAPI description are both made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

from broker.signals import Source
from gateway.dialects import Handler


@dataclass(frozen=True, slots=True)
class Parameter:
    """Something optional in a request besides its body.

    Args:
        name: Its name.
        meaning: What it does, as a sentence.
        schema: Its JSON schema.
        place: Where it stands.
    """

    name: str
    meaning: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    place: Literal["query", "header"] = "query"


@dataclass(frozen=True, slots=True)
class Route:
    """One operation.

    Args:
        method: HTTP method.
        path: With ``{parameters}``.
        handler: Answers it.
        summary: A few words, for the documentation.
        answers: The documented answers: status to model, to a content type, or to None for an answer without a body.
        request: The model of the body, where there is one.
        parameters: What it reads from query and headers.
        secured: Whether credentials are needed.
        throws: The source of the signals that it throws, if it does.
        aliases: Further paths that lead here; they are not described.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    answers: Mapping[int, type[BaseModel] | str | None]
    request: type[BaseModel] | None = None
    parameters: tuple[Parameter, ...] = ()
    secured: bool = True
    throws: Source | None = None
    aliases: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path that leads here."""
        return (self.path, *self.aliases)

    @property
    def operation_id(self) -> str:
        """A stable id of the operation, for generated clients."""
        first, *words = self.summary.replace("'s", "").split()
        return first.lower() + "".join(word.capitalize() for word in words)
