"""The documents of the Camunda 8 dialect, as pydantic models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, WithJsonSchema

from broker.schematypes import LINE, Schema

DEFAULT_TENANT = "<default>"
"""Camunda 8's tenant id for things without a tenant: here they are untenanted."""


_TENANT = {"minLength": 1, "maxLength": 255, "pattern": LINE}


class SignalBroadcast(Schema):
    """A throw, as Camunda 8 reads it."""

    model_config = ConfigDict(json_schema_extra={"required": ["signalName"]})

    signal_name: Annotated[str | None, WithJsonSchema({"type": "string", "maxLength": 255, "pattern": LINE})] = Field(
        None, examples=["policy_conditions_changed"]
    )
    variables: dict[str, Any] | None = Field(None, description="Plain JSON; delivered byte for byte as it was sent.")
    tenant_id: Annotated[str, Field(json_schema_extra=_TENANT)] | None = Field(
        None,
        description=f"For this tenant only. If left out or `{DEFAULT_TENANT}`, for subscriptions without a tenant.",
    )


class SignalBroadcastResult(Schema):
    """A signal that is safe."""

    signal_key: str = Field(description="The signal's id.")
    tenant_id: str


class Partition(Schema):
    """A partition of a broker."""

    partition_id: int
    role: Literal["leader"]
    health: Literal["healthy", "unhealthy"]
    state: Literal["active"]


class BrokerInfo(Schema):
    """A broker of the cluster."""

    node_id: int
    broker_id: str
    host: str
    port: int
    partitions: list[Partition]
    version: str


class Topology(Schema):
    """The cluster as Camunda 8's clients see it: this server is its only broker, with one partition."""

    brokers: list[BrokerInfo]
    cluster_id: str | None
    cluster_size: int
    partitions_count: int
    replication_factor: int
    gateway_version: str
    last_completed_change_id: str


class ProblemDetail(Schema):
    """An error, as Camunda 8 answers it (RFC 9457)."""

    type: str
    title: str = Field(examples=["INVALID_ARGUMENT", "Bad Request"])
    status: int
    detail: str
    instance: str | None = None
