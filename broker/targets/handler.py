"""Handlers as targets: Python functions, called by the workers of their app."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from broker.egress import Guard
from broker.errors import InvalidField
from broker.schematypes import Schema
from broker.targets.target import Kind, Target


class HandlerTargetSchema(Schema):
    """Deliver by calling a Python function. In answers only: the worker that runs it creates the subscription."""

    kind: Literal["handler"] = Field(description="The kind of target.")
    app: str = Field(description="The name of the app that the handler is in.")
    handler: str = Field(description="The handler's name in the app.")


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerTarget(Target):
    """A handler.

    Args:
        app: Its app's name.
        handler: Its name in the app.
    """

    kind: ClassVar[Kind] = Kind.HANDLER

    app: str
    handler: str

    @classmethod
    def read(cls, wanted: HandlerTargetSchema, pointer: str, *, guard: Guard, before: Target | None) -> Self:  # noqa: ARG003
        """Refuse it: only the worker with the function can subscribe it."""
        raise InvalidField(
            f"{pointer}/kind",
            "cannot be `handler`: `signal-broker worker handlers` subscribes its Python functions when it starts",
        )

    def render(self) -> HandlerTargetSchema:
        """Return its schema."""
        return HandlerTargetSchema(kind="handler", app=self.app, handler=self.handler)

    @property
    def address(self) -> str:
        """The app's name and its own, ``app/name``."""
        return f"{self.app}/{self.handler}"

    @classmethod
    def load(cls, columns: Mapping[str, Any], *, description: str | None) -> Self:
        """Return the handler in *columns*."""
        app, _, handler = columns["address"].partition("/")
        return cls(app=app, handler=handler, description=description)
