"""What every kind of target has in common."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from broker.egress import Guard
from broker.schematypes import Schema
from broker.secrets import SecretBox


class Kind(enum.StrEnum):
    """The kinds of target."""

    WEBHOOK = "webhook"
    QUEUE = "queue"
    HANDLER = "handler"
    PULL = "pull"


class Format(enum.StrEnum):
    """How a signal is written for a target."""

    STANDARD = "standard"
    """In the product's own form."""
    STRUCTURED = "cloudevents-structured"
    """As a CloudEvent, attributes and data together in JSON."""
    BINARY = "cloudevents-binary"
    """As a CloudEvent, with its attributes in headers and the payload as it was sent."""


FormatName = Annotated[
    Literal["standard", "cloudevents-structured", "cloudevents-binary"],
    Field(description="How a signal is written: in the product's own form, or as a CloudEvent 1.0."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target(ABC):
    """Where a subscription delivers. Each kind is a subclass in a module of its own, which `broker.targets` lists.

    A worker's `Courier` for the kind makes the attempts; those at pull targets are leases.

    Args:
        description: What it is there for as a step; for people.
    """

    kind: ClassVar[Kind]
    is_signed: ClassVar[bool] = False
    """Whether what it receives is signed, so that the subscription needs a signing secret."""

    description: str | None = None

    @classmethod
    @abstractmethod
    def read(cls, wanted: Any, pointer: str, *, guard: Guard, before: Target | None) -> Self:
        """Return the target that a caller asks for with the schema *wanted*, found at *pointer*.

        Args:
            wanted: The kind's schema.
            pointer: Where it stands, for errors.
            guard: Knows which addresses webhooks may reach.
            before: The target that it replaces, if it does.

        Raises:
            InvalidField: It cannot be a target.
        """

    @abstractmethod
    def render(self) -> Schema:
        """Return the kind's schema of it, without credentials."""

    @property
    @abstractmethod
    def address(self) -> str:
        """Its one line: what the column `subscriptions.address` holds."""

    @property
    def app(self) -> str:
        """The app whose workers deliver to it; empty where any deliverer can."""
        return ""

    @property
    def circuit(self) -> str | None:
        """What a subscription's failures at it are counted by, at the same host; None for a kind without circuits."""
        return None

    @property
    def sealed(self) -> str | None:
        """Its credentials, sealed; None if it has none, or holds them in clear."""
        return None

    @property
    def holds_credentials(self) -> bool:
        """Whether it holds credentials in clear."""
        return False

    def seal(self, _box: SecretBox) -> Self:
        """Return it as it is stored: with its credentials sealed."""
        return self

    def unseal(self, _box: SecretBox) -> Self:
        """Return it as it is used: with its credentials in clear.

        Raises:
            SecretUnreadable: No key opens them.
        """
        return self

    def hide(self) -> Self:
        """Return it as it is shown to those who may not change it: without what may be a credential."""
        return self

    @property
    def stored_as(self) -> Kind:
        """The kind in the column `subscriptions.kind`."""
        return self.kind

    @property
    def columns(self) -> dict[str, object]:
        """The columns of `subscriptions` that hold it, as JSON."""
        return {
            "kind": self.stored_as.value,
            "address": self.address,
            "method": "POST",
            "headers": {},
            "body_template": None,
            "signatures": ["v1"],
            "sealed": self.sealed,
            "format": Format.STANDARD.value,
            "request_origin": None,
        }

    @classmethod
    @abstractmethod
    def load(cls, columns: Mapping[str, Any], *, description: str | None) -> Self:
        """Return the target that *columns* hold."""
