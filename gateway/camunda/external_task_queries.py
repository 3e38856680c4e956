"""Queries for external tasks, by parameters or by a document, as Camunda 7 reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from broker.conversions import boolean
from broker.integers import MAX_ID
from broker.java_dates import normalize
from broker.store.deliveries.pull_listing import STANDINGS, PullFilter
from gateway.camunda.errors import half_sorted, invalid_request, malformed, unsettable

MOST_VALUES = 1000
"""How many values a list in a query has at most."""
_TASK = re.compile(r"([1-9][0-9]{0,17})-([1-9][0-9]{0,17})")
_FOREIGN = (
    "activityId",
    "activityIdIn",
    "processDefinitionId",
    "processDefinitionKey",
    "processDefinitionKeyIn",
    "processDefinitionName",
    "processDefinitionNameLike",
    "processVariables",
    "variableNamesIgnoreCase",
    "variableValuesIgnoreCase",
)
"""What Camunda's external tasks have besides: a query by it would have an answer that is wrong."""
_LISTS = ("externalTaskIdIn", "processInstanceIdIn", "tenantIdIn")
_UNKNOWN = re.compile("[\0\ud800-\udfff]")
"""What no name and no id has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskQuery:
    """Which external tasks are asked for; None: it does not matter.

    Args:
        deliveries: Which deliveries.
        topic: The topic.
        tenants: Tasks of these tenants.
        suspended: Whether their subscriptions give out tasks.
        descending: Whether the order of their ids is reversed.
    """

    deliveries: PullFilter
    topic: str | None = None
    tenants: frozenset[str] | None = None
    suspended: bool | None = None
    descending: bool = False


def read_parameters(query: Mapping[str, str]) -> TaskQuery | None:
    """Return what the parameters *query* ask for; see `read_task_query`.

    Raises:
        CamundaError: As there.
    """
    document: dict[str, Any] = {name: query[name] for name in query}
    for name in _LISTS:
        if name in document:
            document[name] = document[name].split(",")
    ordered = [document.pop(name, None) for name in ("sortBy", "sortOrder")]
    if any(ordered):
        document["sorting"] = [{"sortBy": ordered[0], "sortOrder": ordered[1]}]
    return read_task_query(document)


def read_task_query(document: Mapping[str, Any]) -> TaskQuery | None:
    """Return what *document* asks for; None if no task can match.

    Raises:
        CamundaError: A member is invalid, or is about what tasks do not have here.
    """
    for name in _FOREIGN:
        if document.get(name) not in (None, False, [], ""):
            raise invalid_request(
                f"{name}: must be left out, because tasks are deliveries of signals, which have no such thing"
            )
    descending = _read_order(document.get("sorting"))
    ids, executions = _values(document, "externalTaskIdIn"), _values(document, "processInstanceIdIn")
    for name in ("executionId", "processInstanceId"):
        executions = _both(executions, _text(document, name))
    ids = _both(ids, _text(document, "externalTaskId"))
    suspended = _either(_flag(document, "suspended"), _flag(document, "active"))
    worker = _text(document, "workerId")
    since = _date(document, "lockExpirationAfter", timedelta(milliseconds=1))
    until = _date(document, "lockExpirationBefore", -timedelta(microseconds=1))
    standings = set(STANDINGS)
    if _flag(document, "locked") or worker is not None or since is not None or until is not None:
        standings &= {"leased"}
    if _flag(document, "notLocked"):
        standings -= {"leased"}
    if _flag(document, "withRetriesLeft"):
        standings -= {"dead"}
    if _flag(document, "noRetriesLeft"):
        standings &= {"dead"}
    lowest, highest = _number(document, "priorityHigherThanOrEquals"), _number(document, "priorityLowerThanOrEquals")
    topic, tenants = _text(document, "topicName"), _values(document, "tenantIdIn")
    texts = [worker or "", topic or "", *(executions or ()), *(tenants or ())]
    if not standings or lowest > 0 or highest < 0 or suspended == "both" or any(map(_UNKNOWN.search, texts)):
        return None
    return TaskQuery(
        deliveries=PullFilter(
            standings=standings,
            keys=None if ids is None else [key for key in map(parse_task_id, ids) if key is not None],
            execution_ids=executions,
            worker=worker,
            since=since,
            until=until,
        ),
        topic=topic,
        tenants=tenants,
        suspended=None if suspended is None else suspended == "first",
        descending=descending,
    )


def parse_task_id(text: str) -> tuple[int, int] | None:
    """Return the ids of the signal and the subscription of a task; None if there can be no such task."""
    parts = _TASK.fullmatch(text)
    if parts is None or max(map(int, parts.groups())) > MAX_ID:
        return None
    signal_id, subscription_id = map(int, parts.groups())
    return signal_id, subscription_id


def _read_order(sorting: Any) -> bool:
    """Return whether tasks are asked for in the reverse order.

    Raises:
        CamundaError: They are asked for in an order that there is not.
    """
    if sorting in (None, []):
        return False
    if not isinstance(sorting, list) or not all(isinstance(one, dict) for one in sorting):
        raise malformed()
    for one in sorting:
        by, order = one.get("sortBy"), one.get("sortOrder")
        if by is not None and by != "id":
            raise unsettable("sortBy", str(by)[:255], "tasks are sorted by 'id', which ascends with the time")
        if order not in (None, "asc", "desc"):
            raise unsettable("sortOrder", str(order)[:255])
        if (by is None) != (order is None):
            raise half_sorted()
    return bool(sorting[0].get("sortOrder") == "desc")


def _both(values: frozenset[str] | None, value: str | None) -> frozenset[str] | None:
    """Return what is among *values* and is *value*, as far as these are given."""
    if value is None:
        return values
    return frozenset({value}) if values is None or value in values else frozenset()


def _either(first: bool, second: bool) -> str | None:  # noqa: FBT001  (two flags that exclude each other)
    return "both" if first and second else "first" if first else "second" if second else None


def _text(document: Mapping[str, Any], name: str) -> str | None:
    value = document.get(name)
    if value is None or isinstance(value, str):
        return value or None
    raise unsettable(name, str(value)[:255], "it must be a text")


def _values(document: Mapping[str, Any], name: str) -> frozenset[str] | None:
    values = document.get(name)
    if values is None:
        return None
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        raise unsettable(name, str(values)[:255], "it must be a list of texts")
    if len(values) > MOST_VALUES:
        raise invalid_request(f"{name}: must have at most {MOST_VALUES} values, and has {len(values)}")
    return frozenset(filter(None, values)) or None


def _flag(document: Mapping[str, Any], name: str) -> bool:
    value = document.get(name)
    if value is None or isinstance(value, bool):
        return bool(value)
    try:
        return bool(boolean(value)) if isinstance(value, str) else bool(int(value))
    except (ValueError, TypeError):
        text = str(value)[:255]
        raise unsettable(name, text, f"Cannot convert value {text} to java type java.lang.Boolean") from None


def _number(document: Mapping[str, Any], name: str) -> int:
    """Return a bound of the priority, which all tasks have as 0."""
    value = document.get(name)
    if value is None or isinstance(value, int):
        return value or 0
    try:
        return int(str(value)[:20] or 0)
    except ValueError:
        text = str(value)[:255]
        raise unsettable(name, text, f"Cannot convert value {text} to java type java.lang.Long") from None


def _date(document: Mapping[str, Any], name: str, later: timedelta) -> datetime | None:
    """Return the moment *later* than that date."""
    value = document.get(name)
    if value is None or value == "":
        return None
    try:
        return datetime.fromisoformat(normalize(str(value))) + later
    except (ValueError, OverflowError):
        text = str(value)[:255]
        raise unsettable(name, text, "it must be a date like 2026-11-22T01:12:02.226+0000") from None
