"""Pull targets: deliveries wait until a caller leases them over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from broker.egress import Guard
from broker.schematypes import Schema
from broker.targets.target import Kind, Target
from broker.topology import ATTEMPT, LEASED

_QUEUE = f"{ATTEMPT}.pull"
"""What it is stored as: a queue that no subscription can have, because its name is reserved. Processes of the version
before know no such kind (see docs/decisions/0046-pull-targets.md)."""


class PullTargetSchema(Schema):
    """Keep deliveries until a caller leases them: `POST /v1/subscriptions/{id}/lease`."""

    kind: Literal["pull"] = Field(description="The kind of target.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PullTarget(Target):
    """A pull target."""

    kind: ClassVar[Kind] = Kind.PULL

    @classmethod
    def read(cls, wanted: PullTargetSchema, pointer: str, *, guard: Guard, before: Target | None) -> Self:  # noqa: ARG003
        """Return it: there is nothing to say about it."""
        return cls()

    def render(self) -> PullTargetSchema:
        """Return its schema."""
        return PullTargetSchema(kind="pull")

    @property
    def address(self) -> str:
        """The queue that it is stored as."""
        return _QUEUE

    @property
    def app(self) -> str:
        """The app whose deliveries are leased."""
        return LEASED

    @property
    def stored_as(self) -> Kind:
        """That of the queue."""
        return Kind.QUEUE

    @classmethod
    def load(cls, columns: Mapping[str, Any], *, description: str | None) -> Self:  # noqa: ARG003
        """Return it, whatever *columns* hold besides."""
        return cls(description=description)

    @staticmethod
    def is_in(columns: Mapping[str, Any]) -> bool:
        """Return whether *columns* of `subscriptions` hold a pull target."""
        return (columns["kind"], columns["address"]) == (Kind.QUEUE.value, _QUEUE)
