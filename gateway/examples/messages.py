"""Examples of CloudEvents, and of the messages of Camunda 7 and 8."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_VARIABLES = {"policy": {"value": 42, "type": "Integer", "valueInfo": {}}}
_EXECUTION = {"id": "waiting-8", "processInstanceId": "waiting-8", "ended": False, "tenantId": None}
_CORRELATED = {
    "resultType": "Execution",
    "execution": _EXECUTION,
    "processInstance": None,
    "variables": _VARIABLES,
}
_STARTED = {**_CORRELATED, "resultType": "ProcessDefinition", "execution": None, "processInstance": {"id": "4711-3"}}
_MESSAGE = {"name": "order.paid", "correlationKey": "order-7", "variables": {"policy": 42}, "tenantId": "<default>"}
_EVENT = {
    "specversion": "1.0",
    "id": "b-1",
    "source": "/billing",
    "type": "policy.changed",
    "time": "2026-11-22T10:00:00Z",
    "datacontenttype": "application/json",
    "data": {"policy": 42},
}

EXAMPLES: Mapping[str, tuple[Any, ...]] = {
    "CamundaMessage": (
        {"messageName": "order.paid", "businessKey": "order-7", "processVariables": _VARIABLES},
        {
            "messageName": "order.paid",
            "businessKey": "order-7",
            "correlationKeys": {"customer": {"value": 42, "type": "Integer"}},
            "localCorrelationKeys": {"customer": {"value": 42, "type": "Integer"}},
            "processVariables": _VARIABLES,
            "processVariablesLocal": _VARIABLES,
            "processVariablesToTriggeredScope": _VARIABLES,
            "withoutTenantId": True,
            "all": False,
            "resultEnabled": True,
            "variablesInResultEnabled": True,
        },
        {"messageName": "order.paid", "processInstanceId": "waiting-8"},
        {"messageName": "order.shipped", "businessKey": "order-7", "tenantId": "acme"},
    ),
    "CloudEventBatch": ([{**_EVENT, "id": "b-2"}],),
    "CloudEventSchema": (
        _EVENT,
        {**_EVENT, "id": "b-4", "tenantid": "acme", "partitionkey": "policy-42"},
        {
            "specversion": "1.0",
            "id": "b-3",
            "source": "/billing",
            "type": "policy.changed",
            "datacontenttype": "application/octet-stream",
            "data_base64": "aGVsbG8=",
            "executionid": "waiting-7",
        },
    ),
    "CorrelationResult": (_CORRELATED, _STARTED),
    "CorrelationResults": ([_CORRELATED],),
    "ExecutionCount": ({"count": 1},),
    "HealthCheck": ({"health": "GOOD"},),
    "MessageCorrelation": (_MESSAGE,),
    "MessageCorrelationResult": ({"messageKey": "4711", "tenantId": "<default>", "processInstanceKey": "4"},),
    "MessagePublication": (
        _MESSAGE,
        {**_MESSAGE, "timeToLive": 60_000, "messageId": "paid-7"},
    ),
    "MessagePublicationResult": ({"messageKey": "4711", "tenantId": "<default>"},),
}
