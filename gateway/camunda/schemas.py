"""The documents of the Camunda 7 dialect, for the documentation; `requests` reads them as leniently as Camunda."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel
from pydantic.alias_generators import to_camel

from broker.schemas.rules import all_of, any_of, missing
from broker.schematypes import LINE

TRUTH = r"^[\x00- ]*(|null|true|True|TRUE|false|False|FALSE)[\x00- ]*$"
"""The pattern of a text that Camunda takes as a truth value."""
_FALSE = r"^[\x00- ]*(|null|false|False|FALSE)[\x00- ]*$"
_NOT_WITHOUT = {
    "properties": {"withoutTenantId": any_of({"enum": [None, False, 0]}, {"type": "string", "pattern": _FALSE})}
}


class _Lenient(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="allow")


_LINE = Annotated[str, Field(max_length=255, pattern=LINE)]
_Texts = str | float | bool
"""Camunda's mapper takes numbers and truth values as their text."""
_Line = _LINE | float | bool


class CamundaVariable(_Lenient):
    """A typed variable."""

    value: Any = None
    type: _Texts | None = Field(None, description="If left out, it is inferred from the value.", examples=["Integer"])
    value_info: dict[str, Any] | None = None


class CamundaSignal(_Lenient):
    """A throw, as Camunda 7 reads it."""

    model_config = ConfigDict(
        json_schema_extra=any_of(missing("executionId"), all_of(missing("tenantId"), _NOT_WITHOUT))
    )

    name: _Line = Field(examples=["policy_conditions_changed"])
    execution_id: _Line | None = Field(None, description="For this execution only.")
    variables: dict[str, CamundaVariable] | None = None
    tenant_id: _Line | None = Field(None, description="For this tenant only.")
    without_tenant_id: bool | int | Annotated[str, Field(pattern=TRUTH)] | None = Field(
        None, description="For subscriptions without a tenant only."
    )
    business_key: _Line | None = Field(None, description="Delivered with the signal; Camunda 7 ignores it.")


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
