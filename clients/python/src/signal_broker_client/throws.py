"""Throws: what is sent to throw a signal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypedDict

UNSET: Final[object] = object()
"""Stands for a payload that is not given; None is JSON's null."""
_LONGEST_KEY = 255


class ThrowOptions(TypedDict, total=False):
    """What a throw can say besides its name and its payload; see `Throw`."""

    variables: Mapping[str, object]
    tenant_id: str
    without_tenant_id: bool
    execution_id: str
    business_key: str
    ordering_key: str
    deliver_at: datetime
    expires_at: datetime
    idempotency_key: str


@dataclass(frozen=True, kw_only=True)
class Throw:
    """A signal to throw: a named fact for all subscriptions, for a tenant's, for those of none, or for one execution.

    Args:
        name: Its name.
        payload: Any value that JSON can represent; an empty object if it is not given.
        variables: Camunda's typed variables, in place of a payload.
        tenant_id: The tenant it is for.
        without_tenant_id: Whether it is for subscriptions without a tenant only.
        execution_id: The execution it is for.
        business_key: Passed on to the subscribers.
        ordering_key: What it is about: ordered subscriptions get signals with the same key one after the other.
        deliver_at: When it is delivered, if not at once; with an offset.
        expires_at: When it expires; with an offset.
        idempotency_key: The same key and content within a day is the same signal: 1 to 255 printable characters of
            ASCII. By default it is a random one.

    Raises:
        ValueError: A moment has no offset, or the key is none.
        TypeError: A moment is no datetime.
    """

    name: str
    payload: object = UNSET
    variables: Mapping[str, object] | None = None
    tenant_id: str | None = None
    without_tenant_id: bool = False
    execution_id: str | None = None
    business_key: str | None = None
    ordering_key: str | None = None
    deliver_at: datetime | None = None
    expires_at: datetime | None = None
    idempotency_key: str | None = None

    def __post_init__(self) -> None:
        for name in ("deliver_at", "expires_at"):
            moment = getattr(self, name)
            if moment is None:
                continue
            if not isinstance(moment, datetime):
                raise TypeError(f"{name} must be a datetime with an offset, as in datetime.now(UTC), not {moment!r}")
            if moment.utcoffset() is None:
                raise ValueError(f"{name} must have an offset, as in datetime.now(UTC)")
        key = self.idempotency_key
        if key is not None and not (1 <= len(key) <= _LONGEST_KEY and key.isascii() and key.isprintable()):
            raise ValueError("idempotency_key must be 1 to 255 printable characters of ASCII")

    @property
    def body(self) -> dict[str, object]:
        """The body of its request, without the idempotency key."""
        members = {
            "variables": self.variables,
            "tenantId": self.tenant_id,
            "withoutTenantId": self.without_tenant_id or None,
            "executionId": self.execution_id,
            "businessKey": self.business_key,
            "orderingKey": self.ordering_key,
            "deliverAt": None if self.deliver_at is None else self.deliver_at.isoformat(),
            "expiresAt": None if self.expires_at is None else self.expires_at.isoformat(),
        }
        body: dict[str, object] = {"name": self.name}
        if self.payload is not UNSET:
            body["payload"] = self.payload
        return body | {member: value for member, value in members.items() if value is not None}
