"""The documents of the Camunda 8 dialect, as pydantic models."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from broker.schematypes import Schema

DEFAULT_TENANT = "<default>"
"""Camunda 8's tenant id for things without a tenant: here they are untenanted."""


class SignalBroadcast(Schema):
    """A throw, as Camunda 8 reads it."""

    signal_name: str | None = Field(None, description="Required.", examples=["policy_conditions_changed"])
    variables: dict[str, Any] | None = Field(None, description="Plain JSON; delivered byte for byte as it was sent.")
    tenant_id: str | None = Field(
        None,
        description=f"For this tenant only. If left out or `{DEFAULT_TENANT}`, for subscriptions without a tenant.",
    )


class SignalBroadcastResult(Schema):
    """A signal that is safe."""

    signal_key: str = Field(description="The signal's id.")
    tenant_id: str


class ProblemDetail(Schema):
    """An error, as Camunda 8 answers it (RFC 9457)."""

    type: str
    title: str = Field(examples=["INVALID_ARGUMENT", "Bad Request"])
    status: int
    detail: str
    instance: str | None = None
