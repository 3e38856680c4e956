"""The documents of the Camunda 8 dialect, as pydantic models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, WithJsonSchema

from broker.schematypes import LINE, WHOLE, Schema

DEFAULT_TENANT = "<default>"
"""Camunda 8's tenant id for things without a tenant: here they are untenanted."""


LONGEST_TIME_TO_LIVE = 30 * 24 * 60 * 60 * 1000
"""Milliseconds for which a message is buffered at most."""
_TENANT = {"minLength": 1, "maxLength": 255, "pattern": LINE}


class SignalBroadcast(Schema):
    """A throw, as Camunda 8 reads it."""

    model_config = ConfigDict(json_schema_extra={"required": ["signalName"]})

    signal_name: Annotated[str | None, WithJsonSchema({"type": "string", "maxLength": 255, "pattern": LINE})] = Field(
        None, examples=["policy_conditions_changed"], description="The signal's name."
    )
    variables: dict[str, Any] | None = Field(None, description="Plain JSON; delivered byte for byte as it was sent.")
    tenant_id: Annotated[str, Field(json_schema_extra=_TENANT)] | None = Field(
        None,
        description=f"For this tenant only. If left out or `{DEFAULT_TENANT}`, for subscriptions without a tenant.",
    )


class SignalBroadcastResult(Schema):
    """A signal that is safe."""

    signal_key: str = Field(description="The signal's id.")
    tenant_id: str = Field(description="The tenant that it is for; `<default>`: none.")


class MessageCorrelation(Schema):
    """A message that something waits for, as Camunda 8 reads it."""

    model_config = ConfigDict(json_schema_extra={"required": ["name"]})

    name: Annotated[str | None, WithJsonSchema({"type": "string", "maxLength": 255, "pattern": LINE})] = Field(
        None, description="The name that subscriptions wait for.", examples=["order_paid"]
    )
    correlation_key: Annotated[str, Field(json_schema_extra={"maxLength": 255, "pattern": LINE})] | None = Field(
        None, description="The `businessKey` of the subscription that it is for; empty: one outside of executions."
    )
    variables: dict[str, Any] | None = Field(None, description="Plain JSON; delivered byte for byte as it was sent.")
    tenant_id: Annotated[str, Field(json_schema_extra=_TENANT)] | None = Field(
        None,
        description=f"For this tenant only. If left out or `{DEFAULT_TENANT}`, for subscriptions without a tenant.",
    )


class MessageCorrelationResult(Schema):
    """A message that is recorded, and what it was correlated with."""

    message_key: str = Field(description="The signal's id.")
    tenant_id: str = Field(description="The tenant that the message is for.")
    process_instance_key: str = Field(description="The id of the subscription.")


class MessagePublication(MessageCorrelation):
    """A message that something may wait for, as Camunda 8 reads it."""

    time_to_live: (
        Annotated[int, Field(ge=0, lt=1 << 63, json_schema_extra={"maximum": LONGEST_TIME_TO_LIVE}), WHOLE] | None
    ) = Field(
        None,
        description="Milliseconds for which the message is buffered if nothing waits for it, up to 30 days. Without it,"
        " or with 0, such a message is owed to no subscription.",
    )
    message_id: Annotated[str, Field(json_schema_extra={"maxLength": 255, "pattern": LINE})] | None = Field(
        None,
        description="Another message with the same id, name, correlation key and tenant is refused until the time to"
        " live is over.",
    )


class MessagePublicationResult(Schema):
    """A message that is recorded, or buffered."""

    message_key: str = Field(description="The id of the signal that it is, or will be.")
    tenant_id: str = Field(description="The tenant that the message is for.")


class Partition(Schema):
    """A partition of a broker."""

    partition_id: int = Field(description="Its number.")
    role: Literal["leader"] = Field(description="The broker's role in it.")
    health: Literal["healthy", "unhealthy"] = Field(description="Whether the product can work.")
    state: Literal["active"] = Field(description="Its state.")


class BrokerInfo(Schema):
    """A broker of the cluster."""

    node_id: int = Field(description="Its number.")
    broker_id: str = Field(description="Its id.")
    host: str = Field(description="The host that the caller has called.")
    port: int = Field(description="The port that the caller has called.")
    partitions: list[Partition] = Field(description="Its partitions.")
    version: str = Field(description="The version of Camunda 8 whose REST API this is.")


class Topology(Schema):
    """The cluster as Camunda 8's clients see it: this server is its only broker, with one partition."""

    brokers: list[BrokerInfo] = Field(description="The brokers: only this server.")
    cluster_id: str | None = Field(description="The id of the cluster.")
    cluster_size: int = Field(description="The number of brokers.")
    partitions_count: int = Field(description="The number of partitions.")
    replication_factor: int = Field(description="How often each partition is kept.")
    gateway_version: str = Field(description="The version of Camunda 8 whose REST API this is.")
    last_completed_change_id: str = Field(description="The id of the last change of the cluster.")


class ProblemDetail(Schema):
    """An error, as Camunda 8 answers it (RFC 9457)."""

    type: str = Field(description="The kind of problem: the title says it.")
    title: str = Field(
        examples=["INVALID_ARGUMENT", "Bad Request"],
        description="The name of a gRPC status, or the phrase of the HTTP status.",
    )
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What is wrong, and what is allowed.")
    instance: str | None = Field(None, description="The path that was called.")
