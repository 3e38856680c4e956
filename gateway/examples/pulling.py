"""Examples of what callers of pull targets, and workers of Camunda 7's external tasks, send and get."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.examples.native import EXAMPLES as NATIVE

_LEASE_TOKEN = "lease_Zm9yIGV4YW1wbGU"  # noqa: S105  (nobody's)
_LEASES = {"leaseTokens": [_LEASE_TOKEN]}
_LEASED = {
    "deliveryId": "4711-3",
    "leaseToken": _LEASE_TOKEN,
    "attempt": 1,
    "leasedUntil": "2026-11-22T10:00:30.125Z",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "rojo=00f067aa0ba902b7",
    "signal": NATIVE["SignalSchema"][0],
}
_FAILED = {"leaseToken": _LEASE_TOKEN, "ok": False, "error": "there is no such lease, or it ended long ago"}

_VARIABLES = {"policy": {"value": 42, "type": "Integer", "valueInfo": {}}}
_WORKER = {"workerId": "worker-1"}
_TOPIC = {"topicName": "order.paid", "lockDuration": 10_000}
_TASK = {
    "id": "4711-3",
    "topicName": "order.paid",
    "workerId": "worker-1",
    "lockExpirationTime": "2026-11-22T10:00:10.125+0000",
    "createTime": "2026-11-22T10:00:00.125+0000",
    "retries": 9,
    "variables": _VARIABLES,
    "businessKey": "order-7",
    "executionId": "waiting-7",
    "processInstanceId": "waiting-7",
    "tenantId": "acme",
    "priority": 0,
    "suspended": False,
    "extensionProperties": {},
    "activityId": None,
    "activityInstanceId": None,
    "processDefinitionId": None,
    "processDefinitionKey": None,
    "processDefinitionVersionTag": None,
    "errorMessage": None,
    "errorDetails": None,
}
_LISTED = {
    name: value for name, value in _TASK.items() if name not in {"variables", "extensionProperties", "errorDetails"}
}
_MOMENT = "2026-11-22T10:00:10.125+0000"

EXAMPLES: Mapping[str, tuple[Any, ...]] = {
    "BpmnError": ({**_WORKER, "errorCode": "no-stock", "errorMessage": "nothing is left", "variables": _VARIABLES},),
    "CompletedExternalTask": ({**_WORKER, "variables": _VARIABLES, "localVariables": _VARIABLES},),
    "ExtendedLock": ({**_WORKER, "newDuration": 10_000},),
    "ExtensionRequest": ({**_LEASES, "leaseSeconds": 60},),
    "ExternalTask": (
        _LISTED,
        {**_LISTED, "workerId": None, "lockExpirationTime": None, "retries": 0, "errorMessage": "not done in time"},
    ),
    "ExternalTaskCount": ({"count": 1},),
    "ExternalTaskQuery": (
        {
            "externalTaskId": "4711-3",
            "externalTaskIdIn": ["4711-3"],
            "topicName": "order.paid",
            "workerId": "worker-1",
            "locked": True,
            "notLocked": False,
            "lockExpirationBefore": _MOMENT,
            "lockExpirationAfter": _MOMENT,
            "withRetriesLeft": True,
            "noRetriesLeft": False,
            "active": True,
            "suspended": False,
            "executionId": "waiting-7",
            "processInstanceId": "waiting-7",
            "processInstanceIdIn": ["waiting-7"],
            "tenantIdIn": ["acme"],
            "priorityHigherThanOrEquals": 0,
            "priorityLowerThanOrEquals": 0,
            "sorting": [{"sortBy": "id", "sortOrder": "desc"}],
        },
    ),
    "ExternalTasks": ([_LISTED],),
    "FailRequest": (
        {**_LEASES, "retryAfterSeconds": 60, "error": "the warehouse does not answer"},
        {**_LEASES, "giveUp": True},
        {**_LEASES, "outcome": "timed_out", "error": "not done within 30 s"},
    ),
    "FailedExternalTask": (
        {
            **_WORKER,
            "errorMessage": "the warehouse does not answer",
            "errorDetails": "a trace",
            "retries": 2,
            "retryTimeout": 60_000,
        },
    ),
    "FetchExternalTasks": ({**_WORKER, "maxTasks": 10, "asyncResponseTimeout": 100, "topics": [_TOPIC]},),
    "FetchTopic": (
        {**_TOPIC, "variables": ["policy"], "tenantIdIn": ["acme"]},
        {**_TOPIC, "withoutTenantId": True},
    ),
    "LeaseAnswer": ({"deliveries": [_LEASED]},),
    "LeaseRequest": ({"max": 10, "waitSeconds": 0.1, "leaseSeconds": 30, "worker": "worker-1"},),
    "LeaseResult": (_FAILED, {"leaseToken": _LEASE_TOKEN, "ok": True, "error": None}),
    "LeaseResults": ({"results": [_FAILED]},),
    "LeasedDelivery": (_LEASED,),
    "LeasesRequest": (_LEASES,),
    "LockedExternalTask": (_TASK, {**_TASK, "retries": None}),
    "LockedExternalTasks": ([_TASK],),
    "TaskOrder": ({"sortBy": "id", "sortOrder": "desc"},),
    "PullTargetSchema": ({"kind": "pull"},),
}
