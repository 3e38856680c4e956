"""Camunda 7's error envelope, and every error this dialect answers with (facts: Camunda 7 REST, Throw a Signal)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any

from broker.access import Permission
from broker.errors import InvalidField, UnconvertibleVariable, UnknownType
from gateway.http_errors import HttpError

_JAX_RS = {
    400: "BadRequestException",
    404: "NotFoundException",
    405: "NotAllowedException",
    406: "NotAcceptableException",
    415: "NotSupportedException",
    503: "ServiceUnavailableException",
}


class CamundaError(HttpError):
    """Raised when a request is answered with Camunda's error envelope.

    Args:
        status: The HTTP status.
        type_: Simple name of the Java exception class that callers know.
        message: What went wrong; empty where Camunda says nothing (malformed bodies).
        code: Camunda's error code, None where the engine did not raise the error.
        extra: Further keys of the body.
    """

    def __init__(
        self, status: int, type_: str, message: str, *, code: int | None = None, extra: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.status = HTTPStatus(status)
        self.type = type_
        self.message = message
        self.code = code
        self.extra = extra or {}

    @property
    def body(self) -> dict[str, Any]:
        """The JSON body."""
        return {"type": self.type, "message": self.message, "code": self.code, **self.extra}


@dataclass(frozen=True, slots=True)
class MissingAuthorization:
    """One permission that would have been enough; the fields are named as in the answer's body."""

    permissionName: str  # noqa: N815
    resourceName: str  # noqa: N815
    resourceId: str | None = None  # noqa: N815

    def __str__(self) -> str:
        if self.resourceId is None:
            return f"'{self.permissionName}' permission on resource '{self.resourceName}'"
        return f"'{self.permissionName}' permission on resource '{self.resourceId}' of type '{self.resourceName}'"


def http_error(status: int) -> CamundaError:
    """An error of the HTTP layer (400, 404, 405, 406, 413, 415, 503), with the text JAX-RS gives it."""
    type_ = _JAX_RS.get(status, "ClientErrorException")
    return CamundaError(status, type_, f"HTTP {status} {HTTPStatus(status).phrase}")


def malformed() -> CamundaError:
    """The body is not JSON, or does not have the shape of a signal; Camunda does not say which."""
    return invalid_request("")


def invalid_request(message: str) -> CamundaError:
    """The request is invalid."""
    return CamundaError(400, "InvalidRequestException", message)


def invalid_field(error: InvalidField) -> CamundaError:
    """A limit of this product, which Camunda does not have, is exceeded."""
    return invalid_request(f"{error.pointer.removeprefix('/').replace('/', '.')}: {error.detail}")


def unconvertible(error: UnconvertibleVariable) -> CamundaError:
    """A variable's type does not exist, or its value is not of that type."""
    kind = "RestException" if isinstance(error, UnknownType) else "InvalidRequestException"
    return CamundaError(400, kind, str(error))


def unknown_engine() -> CamundaError:
    """The path names another engine than ``default``."""
    return invalid_request("No process engine available")


def engine_not_available(engine: str) -> CamundaError:
    """The path names another engine than ``default``, as Camunda's filter for Basic credentials answers it."""
    return CamundaError(404, "InvalidRequestException", f"Process engine {engine} not available")


def unsettable(name: str, value: str, reason: str = "") -> CamundaError:
    """A query parameter cannot have that value."""
    return invalid_request(f"Cannot set query parameter '{name}' to value '{value}'{reason and ': '}{reason}")


def half_sorted() -> CamundaError:
    """Only one of ``sortBy`` and ``sortOrder`` is given."""
    return invalid_request("Only a single sorting parameter specified. sortBy and sortOrder required")


def tenant_with_execution() -> CamundaError:
    """An execution and a tenant (or ``withoutTenantId``) are given at once."""
    message = "ENGINE-13027 Cannot specify a tenant-id when deliver a signal to a single execution."
    return CamundaError(400, "BadUserRequestException", message, code=0)


def tenant_with_process_instance() -> CamundaError:
    """A message is for a process instance and for a tenant (or ``withoutTenantId``) at once."""
    message = "ENGINE-13028 Cannot specify a tenant-id when correlate a message to a single process instance."
    return CamundaError(400, "BadUserRequestException", message, code=0)


def cannot_deliver(error: CamundaError) -> CamundaError:
    """A message is invalid because of *error*."""
    return CamundaError(error.status, "InvalidRequestException", f"Cannot deliver message: {error.message}")


def not_correlated(name: str) -> CamundaError:
    """Nothing waits for the message (Camunda's MismatchingMessageCorrelationException)."""
    message = f"Cannot correlate message '{name}': No process definition or execution matches the parameters"
    return CamundaError(400, "RestException", message, code=0)


def correlated_with_several(name: str, count: str, criteria: str, *, in_execution: bool) -> CamundaError:
    """Several subscriptions wait for the message (Camunda's MismatchingMessageCorrelationException)."""
    found = (
        f"ENGINE-13031 Cannot correlate a message with name '{name}' to a single execution."
        f" {count} executions match the correlation keys: {criteria}"
    )
    if not in_execution:
        found = (
            f"ENGINE-13030 Cannot correlate a message with name '{name}' to a single process definition."
            f" {count} process definitions match the correlations keys: {criteria}"
        )
    return CamundaError(400, "RestException", found, code=0)


def unknown_execution(execution_id: str) -> CamundaError:
    """No subscription of any name belongs to the execution."""
    message = f"Cannot find execution with id '{execution_id}': execution is null"
    return CamundaError(500, "NullValueException", message, code=0)


def not_subscribed(execution_id: str, name: str) -> CamundaError:
    """The execution is known, but does not wait for this signal (the odd end of the text is Camunda's)."""
    message = f"Execution '{execution_id}' has not subscribed to a signal event with name '{name}'. is empty"
    return CamundaError(500, "RestException", message, code=0)


def foreign_tenant(instance_id: str) -> CamundaError:
    """A receiver of the signal belongs to a tenant that the caller may not name.

    Args:
        instance_id: The receiver's execution or id, where Camunda names the process instance.
    """
    instance = f"the process instance '{instance_id}'"
    message = f"ENGINE-13034 Cannot update {instance} because it belongs to no authenticated tenant."
    return CamundaError(500, "ProcessEngineException", message, code=0)


def unauthorized(
    user_id: str, missing: Sequence[MissingAuthorization], *, needed: Sequence[Permission] = ()
) -> CamundaError:
    """The caller has none of the permissions in *missing* (at least one), each of which would do.

    *needed* are the permissions here that they stand for, all of which the message names as well.
    """
    if len(missing) == 1:
        only = missing[0]
        message = f"The user with id '{user_id}' does not have {only}."
        named = asdict(only)
    else:
        choices = " or ".join(map(str, missing))
        message = f"The user with id '{user_id}' does not have one of the following permissions: {choices}"
        named = {"permissionName": None, "resourceName": None, "resourceId": None}
    if needed:
        names = " and ".join(f"'{permission.value}'" for permission in needed)
        message = f"{message.removesuffix('.')}. In signal-broker these are {names}."
    extra = {"userId": user_id, **named, "missingAuthorizations": [asdict(one) for one in missing]}
    return CamundaError(403, "AuthorizationException", message, code=0, extra=extra)


def unknown_task(task_id: str) -> CamundaError:
    """There is no such external task, or none that was fetched of late."""
    return CamundaError(404, "RestException", f"External task with id {task_id} does not exist", code=0)


def task_of_another(cannot: str, worker: str, holder: str | None) -> CamundaError:
    """An external task is locked by another worker than the one that says so; *cannot*: what it cannot do.

    None has it who leased its delivery and did not say who.
    """
    other = "a caller that gave no worker" if holder is None else f"worker '{holder}'"
    return CamundaError(400, "RestException", f"{cannot} by worker '{worker}'. It is locked by {other}.", code=0)


def not_settled(task_id: str, worker: str, done: str, reason: str) -> CamundaError:
    """An external task cannot be completed, failed or extended any more; *reason* is a clause."""
    message = f"External Task {task_id} cannot be {done} by worker '{worker}': {reason}."
    return CamundaError(400, "RestException", message, code=0)


def no_bpmn_error(task_id: str) -> CamundaError:
    """A worker reports a BPMN error."""
    return invalid_request(
        f"External Task {task_id} cannot end with a BPMN error: it is the delivery of a signal, and there is no process"
        " that could catch the error. Report a failure; with retries 0 it is the last one."
    )


def unavailable(message: str) -> CamundaError:
    """The signal was not accepted, or this is unknown; the caller should throw it again later."""
    return CamundaError(503, "ServiceUnavailableException", message)
