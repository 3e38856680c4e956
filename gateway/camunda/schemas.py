"""The documents of the Camunda 7 dialect, for the documentation; `requests` reads them as leniently as Camunda."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel
from pydantic.alias_generators import to_camel


class _Lenient(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="allow")


class CamundaVariable(_Lenient):
    """A typed variable."""

    value: Any = None
    type: str | None = Field(None, description="If left out, it is inferred from the value.", examples=["Integer"])
    value_info: dict[str, Any] | None = None


class CamundaSignal(_Lenient):
    """A throw, as Camunda 7 reads it."""

    name: str = Field(examples=["policy_conditions_changed"])
    execution_id: str | None = Field(None, description="For this execution only.")
    variables: dict[str, CamundaVariable] | None = None
    tenant_id: str | None = Field(None, description="For this tenant only.")
    without_tenant_id: bool | None = Field(None, description="For subscriptions without a tenant only.")
    business_key: str | None = Field(None, description="Delivered with the signal; Camunda 7 ignores it.")


class EventSubscription(_Lenient):
    """A subscription, in the form of an event subscription of Camunda 7."""

    id: str
    event_type: Literal["signal"]
    event_name: str
    execution_id: str | None
    process_instance_id: str | None = Field(description="The same as `executionId`.")
    activity_id: None
    created_date: str = Field(examples=["2026-11-22T01:12:02.226+0000"])
    tenant_id: str | None


class EventSubscriptions(RootModel[list[EventSubscription]]):
    """Subscriptions."""


class EventSubscriptionCount(_Lenient):
    """How many subscriptions there are."""

    count: int


class Execution(_Lenient):
    """An execution that waits for a signal; it is its own process instance."""

    id: str
    process_instance_id: str
    ended: bool
    tenant_id: str | None


class Executions(RootModel[list[Execution]]):
    """Executions that wait for a signal."""


class RestVersion(_Lenient):
    """The version of Camunda 7 whose REST API this is."""

    version: str


class Engine(_Lenient):
    """A process engine."""

    name: str


class Engines(RootModel[list[Engine]]):
    """The process engines: only `default`."""


class CamundaException(_Lenient):
    """An error, as Camunda 7 answers it."""

    type: str = Field(examples=["InvalidRequestException"])
    message: str | None
    code: int | None
