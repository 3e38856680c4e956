"""Queues as targets: RabbitMQ queues of the subscriber's, which signals are published to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from broker.egress import Guard
from broker.errors import InvalidField
from broker.names import check_name
from broker.schematypes import VISIBLE, Name, Schema
from broker.targets.target import Format, FormatName, Kind, Target
from broker.topology import RESERVED, is_reserved


class QueueTargetSchema(Schema):
    """Deliver by publishing to a queue of the subscriber's."""

    kind: Literal["queue"] = Field(description="The kind of target.")
    queue: Annotated[Name, Field(json_schema_extra={"pattern": VISIBLE, "not": {"pattern": RESERVED}})] = Field(
        description="The queue's name."
    )
    format: FormatName = Field("standard", description="How a signal is written.")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueTarget(Target):
    """A queue.

    Args:
        queue: Its name.
        format: How signals are written.
    """

    kind: ClassVar[Kind] = Kind.QUEUE

    queue: str
    format: Format = Format.STANDARD

    @classmethod
    def read(cls, wanted: QueueTargetSchema, pointer: str, *, guard: Guard, before: Target | None) -> Self:  # noqa: ARG003
        """Return the queue, unless its name is reserved."""
        if is_reserved(wanted.queue):
            raise InvalidField(
                f"{pointer}/queue", "is reserved for the product and RabbitMQ; name a queue of the subscriber's"
            )
        return cls(queue=check_name(wanted.queue, f"{pointer}/queue"), format=Format(wanted.format))

    def render(self) -> QueueTargetSchema:
        """Return its schema."""
        return QueueTargetSchema(kind="queue", queue=self.queue, format=self.format.value)

    @property
    def address(self) -> str:
        """The queue's name."""
        return self.queue

    @property
    def columns(self) -> dict[str, object]:
        """The columns of `subscriptions` that hold it, as JSON."""
        return {**super(QueueTarget, self).columns, "format": self.format.value}

    @classmethod
    def load(cls, columns: Mapping[str, Any], *, description: str | None) -> Self:
        """Return the queue in *columns*."""
        written = Format(columns.get("format", Format.STANDARD))  # steps of earlier versions have none
        return cls(queue=columns["address"], format=written, description=description)
