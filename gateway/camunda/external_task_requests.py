"""Requests about external tasks, read as Camunda 7 reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from broker.names import check_id, check_name
from gateway.camunda.errors import invalid_request, malformed
from gateway.camunda.external_task_errors import join_error
from gateway.camunda.requests import convert_entries, read_document, read_entries, read_flag, read_text

MOST_TASKS = 100
"""The most tasks that are locked at once; a request for more gets these."""
_MOST_TOPICS = 100
_LONGEST_WAIT = timedelta(minutes=30)
"""Camunda's limit."""
_SHORTEST_LOCK, _LONGEST_LOCK = timedelta(seconds=1), timedelta(hours=12)
_LONGEST_PAUSE = timedelta(days=365)
_LONGEST_ERROR = 2000
_UNKNOWN_FILTERS = (
    "businessKey",
    "processDefinitionId",
    "processDefinitionIdIn",
    "processDefinitionKey",
    "processDefinitionKeyIn",
    "processDefinitionVersionTag",
    "processVariables",
)
"""What chooses among the tasks of a topic in Camunda."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A topic whose tasks a worker takes.

    Args:
        name: Its name.
        duration: How long a task is locked.
        variables: The names of the variables that the worker wants; None: all.
        tenants: Only tasks of these tenants; None: of any.
        without_tenant: Only tasks without a tenant.
    """

    name: str
    duration: timedelta
    variables: frozenset[str] | None
    tenants: frozenset[str] | None
    without_tenant: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRequest:
    """A worker's request for tasks.

    Args:
        worker: The worker.
        most: The most tasks.
        wait: How long to wait for the first of them.
        topics: The topics, in the order of the request.
    """

    worker: str
    most: int
    wait: timedelta
    topics: tuple[Topic, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How a task failed.

    Args:
        worker: The worker.
        error: What went wrong.
        give_up: Whether there is no further attempt.
        retry_after: How long to wait at least before the next one.
    """

    worker: str
    error: str | None
    give_up: bool
    retry_after: timedelta


def parse_fetch(body: bytes, charset: str | None) -> FetchRequest:
    """Read a worker's request for tasks.

    Raises:
        CamundaError, InvalidField: It is invalid.
    """
    document = read_document(body, charset=charset)
    worker = _worker(document)
    most = _number(document.get("maxTasks"))
    if most is None or most < 0:
        raise invalid_request("maxResults is not greater than or equal to 0")
    wait = _milliseconds(document.get("asyncResponseTimeout")) or timedelta()
    if wait > _LONGEST_WAIT:
        limit = round(_LONGEST_WAIT / timedelta(milliseconds=1))
        raise invalid_request(
            f"The asynchronous response timeout cannot be set to a value greater than {limit} milliseconds"
        )
    topics = document.get("topics")
    if topics is not None and not isinstance(topics, list):
        raise malformed()
    if topics and len(topics) > _MOST_TOPICS:
        raise invalid_request(f"topics: at most {_MOST_TOPICS} are fetched at once, and these are {len(topics)}")
    return FetchRequest(
        worker=worker,
        most=min(most, MOST_TASKS),
        wait=max(wait, timedelta()),
        topics=tuple(_topic(topic, index) for index, topic in enumerate(topics or ())),
    )


def parse_completion(body: bytes, charset: str | None) -> str:
    """Return the worker that completes a task; its variables are checked, and nothing here keeps them.

    Raises:
        CamundaError, InvalidField: The request is invalid.
    """
    document = read_document(body, charset=charset)
    _check_variables(document)
    return _worker(document)


def parse_failure(body: bytes, charset: str | None) -> Failure:
    """Read how a task failed. Without a number of retries there are none, as in Camunda.

    Raises:
        CamundaError, InvalidField: The request is invalid.
    """
    document = read_document(body, charset=charset)
    _check_variables(document)
    retries = _number(document.get("retries")) or 0
    if retries < 0:
        raise invalid_request("retries is not greater than or equal to 0")
    retry_after = _milliseconds(document.get("retryTimeout")) or timedelta()
    if retry_after < timedelta():
        raise invalid_request("retryDuration is not greater than or equal to 0")
    if retry_after > _LONGEST_PAUSE:
        raise invalid_request(
            f"retryTimeout: must be at most {round(_LONGEST_PAUSE / timedelta(milliseconds=1))} milliseconds"
        )
    message, details = (read_text(document.get(name)) for name in ("errorMessage", "errorDetails"))
    return Failure(
        worker=_worker(document),
        error=join_error(message, details, most=_LONGEST_ERROR),
        give_up=retries == 0,
        retry_after=retry_after,
    )


def parse_extension(body: bytes, charset: str | None) -> tuple[str, timedelta]:
    """Return the worker that extends its lock of a task, and how long the lock is to last from now on.

    Raises:
        CamundaError, InvalidField: The request is invalid.
    """
    document = read_document(body, charset=charset)
    return _worker(document), _lock_duration(document.get("newDuration"), "newDuration")


def _topic(topic: Any, index: int) -> Topic:
    if not isinstance(topic, dict):
        raise malformed()
    name = read_text(topic.get("topicName"))
    if name is None:
        raise invalid_request("topicName is null")
    check_name(name, f"/topics[{index}]/topicName")
    for given in _UNKNOWN_FILTERS:
        if topic.get(given):
            raise invalid_request(
                f"topics[{index}].{given}: the tasks of a topic are deliveries of signals, which have no such thing to"
                " be chosen by; the filter of a subscription chooses among signals"
            )
    tenants = _texts(topic.get("tenantIdIn"))
    for tenant in sorted(tenants or ()):
        check_id(tenant, f"/topics[{index}]/tenantIdIn")
    return Topic(
        name=name,
        duration=_lock_duration(topic.get("lockDuration"), f"topics[{index}].lockDuration"),
        variables=_texts(topic.get("variables")),
        tenants=tenants,
        without_tenant=read_flag(topic.get("withoutTenantId")),
    )


def _worker(document: Mapping[str, Any]) -> str:
    worker = read_text(document.get("workerId"))
    if worker is None:
        raise invalid_request("workerId is null")
    return check_id(worker, "/workerId")


def _check_variables(document: Mapping[str, Any]) -> None:
    for name in ("variables", "localVariables"):
        convert_entries(read_entries(document.get(name)))


def _lock_duration(value: Any, name: str) -> timedelta:
    duration = _milliseconds(value) or timedelta()
    if duration <= timedelta():
        raise invalid_request("lockTime is not greater than 0")
    if duration > _LONGEST_LOCK:
        raise invalid_request(
            f"{name}: must be at most {round(_LONGEST_LOCK / timedelta(milliseconds=1))} milliseconds"
        )
    return max(duration, _SHORTEST_LOCK)


def _milliseconds(value: Any) -> timedelta | None:
    number = _number(value)
    return None if number is None else timedelta(milliseconds=max(-1, min(number, 1 << 40)))


def _number(value: Any) -> int | None:
    """Whole numbers, and texts of them; what follows a decimal point is dropped, as Jackson does."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if isinstance(value, float) and abs(value) < 1 << 63:
        return int(value)
    if isinstance(value, str):
        try:
            return int(value[:20])
        except ValueError:
            raise malformed() from None
    raise malformed()


def _texts(value: Any) -> frozenset[str] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise malformed()
    return frozenset(filter(None, map(read_text, value)))
