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


_MOMENT = r"^(|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}[+-][01][0-9][0-5][0-9])$"
"""The pattern of dates as Camunda writes them; others are read, too."""
_LINE = Annotated[str, Field(max_length=255, pattern=LINE)]
_Texts = str | float | bool
"""Camunda's mapper takes numbers and truth values as their text."""
_Line = _LINE | float | bool
_Flag = bool | int | Annotated[str, Field(pattern=TRUTH)]


class CamundaVariable(_Lenient):
    """A typed variable."""

    value: Any = Field(None, description="The value, in the form that its type has in JSON.")
    type: _Texts | None = Field(None, description="If left out, it is inferred from the value.", examples=["Integer"])
    value_info: dict[str, Any] | None = Field(
        None, description="What else is known of the value, such as the class of an `Object`."
    )


class CamundaSignal(_Lenient):
    """A throw, as Camunda 7 reads it."""

    model_config = ConfigDict(
        json_schema_extra=any_of(missing("executionId"), all_of(missing("tenantId"), _NOT_WITHOUT))
    )

    name: _Line = Field(examples=["policy_conditions_changed"], description="The signal's name.")
    execution_id: _Line | None = Field(None, description="For this execution only.")
    variables: dict[str, CamundaVariable] | None = Field(None, description="The variables that are delivered with it.")
    tenant_id: _Line | None = Field(None, description="For this tenant only.")
    without_tenant_id: _Flag | None = Field(None, description="For subscriptions without a tenant only.")
    business_key: _Line | None = Field(None, description="Delivered with the signal; Camunda 7 ignores it.")


class CamundaMessage(_Lenient):
    """A message, as Camunda 7 reads it."""

    message_name: _Line = Field(description="The name that subscriptions wait for.", examples=["order_paid"])
    business_key: _Line | None = Field(None, description="The `businessKey` of the subscription that it is for.")
    correlation_keys: dict[str, CamundaVariable] | None = Field(
        None, description="What the subscription has among its `correlationKeys`."
    )
    local_correlation_keys: dict[str, CamundaVariable] | None = Field(None, description="The same.")
    process_instance_id: _Line | None = Field(None, description="The execution that it is for.")
    process_variables: dict[str, CamundaVariable] | None = Field(None, description="The variables.")
    process_variables_local: dict[str, CamundaVariable] | None = Field(None, description="Further variables.")
    process_variables_to_triggered_scope: dict[str, CamundaVariable] | None = Field(
        None, description="Further variables."
    )
    tenant_id: _Line | None = Field(None, description="For this tenant only.")
    without_tenant_id: _Flag | None = Field(None, description="For subscriptions without a tenant only.")
    all: _Flag | None = Field(None, description="For all that wait, rather than for exactly one.")
    result_enabled: _Flag | None = Field(None, description="Whether the answer says what it was correlated with.")
    variables_in_result_enabled: _Flag | None = Field(None, description="Whether that has the message's variables.")


class EventSubscription(_Lenient):
    """A subscription, in the form of an event subscription of Camunda 7."""

    id: str = Field(description="The id.")
    event_type: Literal["signal"] = Field(description="The kind of event.")
    event_name: str = Field(description="The name of the signal, or the pattern.")
    execution_id: str | None = Field(description="The execution that waits for the signal; null: none.")
    process_instance_id: str | None = Field(description="The same as `executionId`.")
    activity_id: None = Field(description="Always null: there are no activities.")
    created_date: str = Field(examples=["2026-11-22T01:12:02.226+0000"], description="When it was created.")
    tenant_id: str | None = Field(description="The tenant it belongs to; null: none.")


class EventSubscriptions(RootModel[list[EventSubscription]]):
    """Subscriptions."""


class EventSubscriptionCount(_Lenient):
    """How many subscriptions there are."""

    count: int = Field(description="Their number.")


class Execution(_Lenient):
    """An execution that waits for a signal; it is its own process instance."""

    id: str = Field(description="The id.")
    process_instance_id: str = Field(description="The same as `id`.")
    ended: bool = Field(description="Whether it has ended: it has not, as long as it waits.")
    tenant_id: str | None = Field(description="The tenant it belongs to; null: none.")


class ExecutionCount(_Lenient):
    """How many executions there are."""

    count: int = Field(description="Their number.")


class Executions(RootModel[list[Execution]]):
    """Executions that wait for a signal."""


class CorrelationResult(_Lenient):
    """What a message was correlated with: an execution, or what waited in none."""

    result_type: Literal["Execution", "ProcessDefinition"] = Field(description="Which of the two it was.")
    execution: Execution | None = Field(description="The execution; null if it waited in none.")
    process_instance: dict[str, Any] | None = Field(description="Its `id` is the delivery's.")
    variables: dict[str, CamundaVariable] | None = Field(None, description="The message's variables, if asked for.")


class CorrelationResults(RootModel[list[CorrelationResult]]):
    """What a message was correlated with."""


class RestVersion(_Lenient):
    """The version of Camunda 7 whose REST API this is."""

    version: str = Field(description="The version.")


class Engine(_Lenient):
    """A process engine."""

    name: str = Field(description="Its name.")


class Engines(RootModel[list[Engine]]):
    """The process engines: only `default`."""


class FetchTopic(_Lenient):
    """A topic: the signal name of subscriptions with a pull target, or the id of one."""

    topic_name: _Line = Field(description="The signal name or the id.", examples=["order.paid"])
    lock_duration: int = Field(
        gt=0,
        le=43_200_000,
        description="How long tasks are locked, in milliseconds; at least a second.",
        examples=[10000],
    )
    variables: list[str] | None = Field(None, description="The variables that are answered; all, if left out.")
    tenant_id_in: list[str] | None = Field(None, description="Only tasks of these tenants.")
    without_tenant_id: bool | None = Field(None, description="Only tasks without a tenant.")


class FetchExternalTasks(_Lenient):
    """A worker's request for external tasks."""

    worker_id: _Line = Field(description="The worker.", examples=["worker-1"])
    max_tasks: int = Field(ge=0, description="How many tasks at most; no more than 100 are answered.", examples=[10])
    async_response_timeout: int | None = Field(
        None, le=1_800_000, description="How long to wait for the first task, in milliseconds."
    )
    topics: Annotated[list[FetchTopic], Field(max_length=100)] | None = Field(None, description="The topics.")


class _ExternalTask(_Lenient):
    """What external tasks have in common, however they are answered."""

    create_time: str = Field(description="When the signal was recorded.", examples=["2026-11-22T01:12:02.226+0000"])
    business_key: str | None = Field(description="The signal's business key.")
    execution_id: str | None = Field(description="The execution that the signal was thrown to.")
    process_instance_id: str | None = Field(description="The same as `executionId`.")
    tenant_id: str | None = Field(description="The subscription's tenant.")
    priority: int = Field(description="Always 0.")
    activity_id: None = Field(description="There is no process.")
    activity_instance_id: None = Field(description="There is no process.")
    process_definition_id: None = Field(description="There is no process.")
    process_definition_key: None = Field(description="There is no process.")
    process_definition_version_tag: None = Field(description="There is no process.")
    error_message: str | None = Field(
        description="What the last attempt failed of: the first line.", examples=["the warehouse does not answer"]
    )


class LockedExternalTask(_ExternalTask):
    """A delivery to a pull target, in the form of an external task of Camunda 7."""

    id: str = Field(description="The delivery's id, the same at every attempt.", examples=["34-7"])
    topic_name: str = Field(description="The topic as the worker named it.")
    worker_id: str = Field(description="The worker.")
    lock_expiration_time: str = Field(description="When the lock ends.", examples=["2026-11-22T01:12:02.226+0000"])
    retries: int | None = Field(description="How many attempts the schedule has left; null at the first one.")
    variables: dict[str, CamundaVariable] = Field(description="The signal's variables.")
    suspended: bool = Field(description="Always false.")
    extension_properties: dict[str, str] = Field(description="Always empty.")
    error_details: str | None = Field(
        description="What the last attempt failed of: the other lines.", examples=["a trace"]
    )


class LockedExternalTasks(RootModel[list[LockedExternalTask]]):
    """External tasks that were locked."""


class ExternalTask(_ExternalTask):
    """A delivery to a pull target that is owed or dead, in the form of an external task of Camunda 7."""

    id: str = Field(description="The delivery's id.", examples=["34-7"])
    topic_name: str = Field(description="The name of the subscription.")
    worker_id: str | None = Field(description="The worker that has locked it; null: none.")
    lock_expiration_time: str | None = Field(description="When the lock ends; null: it is not locked.")
    retries: int | None = Field(
        description="How many attempts the schedule has left; null before the first failure, 0 if the delivery is dead."
    )
    suspended: bool = Field(description="Whether the subscription is paused or disabled.")


class ExternalTasks(RootModel[list[ExternalTask]]):
    """External tasks."""


class ExternalTaskCount(_Lenient):
    """How many external tasks there are."""

    count: int = Field(description="Their number.")


class TaskOrder(_Lenient):
    """An order of external tasks."""

    sort_by: Literal["id"] = Field(description="What they are sorted by.")
    sort_order: Literal["asc", "desc"] = Field(description="In which direction.")


_Values = Annotated[list[str], Field(max_length=1000)]


class ExternalTaskQuery(_Lenient):
    """A query for external tasks; every member that is given narrows it."""

    external_task_id: str | None = Field(None, description="The task with this id.")
    external_task_id_in: _Values | None = Field(None, description="Tasks with these ids.")
    topic_name: str | None = Field(None, description="Tasks of this topic: a signal name, or a subscription's id.")
    worker_id: str | None = Field(None, description="Tasks that this worker has locked.")
    locked: bool | None = Field(None, description="Tasks that are locked.")
    not_locked: bool | None = Field(None, description="Tasks that are not.")
    lock_expiration_before: str | None = Field(
        None,
        description="Tasks whose locks end before this moment.",
        examples=["2026-11-22T01:12:02.226+0000"],
        pattern=_MOMENT,
    )
    lock_expiration_after: str | None = Field(
        None,
        description="Tasks whose locks end after this moment.",
        examples=["2026-11-22T01:12:02.226+0000"],
        pattern=_MOMENT,
    )
    with_retries_left: bool | None = Field(None, description="Tasks that are not dead.")
    no_retries_left: bool | None = Field(None, description="Tasks that are dead.")
    active: bool | None = Field(None, description="Tasks of subscriptions that give out tasks.")
    suspended: bool | None = Field(None, description="Tasks of subscriptions that are paused or disabled.")
    execution_id: str | None = Field(None, description="Tasks of signals to this execution.")
    process_instance_id: str | None = Field(None, description="The same.")
    process_instance_id_in: _Values | None = Field(None, description="Tasks of signals to these executions.")
    tenant_id_in: _Values | None = Field(None, description="Tasks of subscriptions of these tenants.")
    priority_higher_than_or_equals: int | None = Field(None, description="All priorities are 0.")
    priority_lower_than_or_equals: int | None = Field(None, description="All priorities are 0.")
    sorting: list[TaskOrder] | None = Field(None, description="The order of a list; the first one counts.")


class CompletedExternalTask(_Lenient):
    """The completion of an external task."""

    worker_id: _Line = Field(description="The worker that has locked it.")
    variables: dict[str, CamundaVariable] | None = Field(None, description="Checked; there is no process to keep them.")
    local_variables: dict[str, CamundaVariable] | None = Field(None, description="As `variables`.")


class FailedExternalTask(_Lenient):
    """The failure of an external task."""

    worker_id: _Line = Field(description="The worker that has locked it.")
    error_message: _Texts | None = Field(None, description="What went wrong, for people.")
    error_details: _Texts | None = Field(None, description="More of that.")
    retries: Annotated[int, Field(ge=0)] | None = Field(
        None, description="With 0, or without it, the delivery is dead; otherwise its schedule says whether it is."
    )
    retry_timeout: Annotated[int, Field(ge=0)] | None = Field(
        None, description="How long the next attempt waits at least, in milliseconds."
    )


class BpmnError(_Lenient):
    """A BPMN error of an external task, which is always refused: there is no process that could catch it."""

    worker_id: _Line = Field(description="The worker that has locked it.")
    error_code: _Texts | None = Field(None, description="What a process would catch it by.")
    error_message: _Texts | None = Field(None, description="What went wrong, for people.")
    variables: dict[str, CamundaVariable] | None = Field(None, description="What the process would be told.")


class ExtendedLock(_Lenient):
    """An extension of a lock."""

    worker_id: _Line = Field(description="The worker that has locked the task.")
    new_duration: int = Field(gt=0, le=43_200_000, description="How long the lock lasts from now on, in milliseconds.")


class CamundaException(_Lenient):
    """An error, as Camunda 7 answers it."""

    type: str = Field(examples=["InvalidRequestException"], description="The simple name of the Java exception.")
    message: str | None = Field(description="What is wrong; null where Camunda says nothing.")
    code: int | None = Field(description="Camunda's error code; null where the engine did not raise the error.")
