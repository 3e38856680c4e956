"""Examples of the documents of the dialects of Camunda 7, Camunda 8 and Unleash."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ACCEPTED, _RECORDED, _LATER = "2026-11-22T10:00:00.123Z", "2026-11-22T10:00:00.125Z", "2026-12-22T10:00:00.000Z"
_TYPED = {"value": 42, "type": "Integer", "valueInfo": {}}
_OBJECT = {
    "value": '{"name":"Ada"}',
    "type": "Object",
    "valueInfo": {"objectTypeName": "example.Customer", "serializationDataFormat": "application/json"},
}
_ENDPOINT_TOKEN = {
    "id": 1,
    "name": "grafana",
    "signalEndpointId": 2,
    "createdAt": _ACCEPTED,
    "createdByUserId": 6,
    "expiresAt": _LATER,
    "lastUsedAt": _RECORDED,
}
_CALL_URL = "https://signals.example/api/signal-endpoint/alerts"
_ENDPOINT = {
    "id": 2,
    "name": "alerts",
    "enabled": True,
    "description": "From Grafana",
    "createdAt": _ACCEPTED,
    "createdByUserId": 6,
    "url": _CALL_URL,
    "tokens": [_ENDPOINT_TOKEN],
}
_CALL = {"id": 4711, "source": "signal-endpoint", "sourceId": 2, "createdAt": _ACCEPTED, "payload": {"cpu": 95}}
_FROM_ENDPOINT = {**_CALL, "tokenName": "grafana"}
_FOUND = {**_FROM_ENDPOINT, "sourceName": "alerts", "sourceDescription": "From Grafana"}
_WRONG = {"message": "name must be there", "path": "name"}
_CAMUNDA_VARIABLES = {"policy": {"value": 42, "type": "Integer"}, "customer": _OBJECT}
_BROADCAST = {"signalName": "policy.changed", "variables": {"policy": 42}}
_EVENT_SUBSCRIPTION = {
    "id": "4",
    "eventType": "signal",
    "eventName": "invoice.paid",
    "executionId": "waiting-7",
    "processInstanceId": "waiting-7",
    "activityId": None,
    "createdDate": "2026-11-22T01:12:02.226+0000",
    "tenantId": "acme",
}
_EXECUTION = {"id": "waiting-7", "processInstanceId": "waiting-7", "ended": False, "tenantId": "acme"}
_PARTITION = {"partitionId": 1, "role": "leader", "health": "healthy", "state": "active"}
_BROKER = {
    "nodeId": 0,
    "brokerId": "0",
    "host": "signals.example",
    "port": 443,
    "partitions": [_PARTITION],
    "version": "8.8.0",
}


EXAMPLES: Mapping[str, tuple[Any, ...]] = {
    "BrokerInfo": (_BROKER,),
    "CalledSignal": ({**_CALL, "createdBySourceTokenId": 1},),
    "CalledSignals": ({"signals": [{**_CALL, "createdBySourceTokenId": 1}]},),
    "CamundaException": ({"type": "InvalidRequestException", "message": "No signal name given", "code": None},),
    "CamundaSignal": (
        {"name": "policy.changed", "variables": {"policy": {"value": 42, "type": "Integer"}}},
        {
            "name": "policy.changed",
            "variables": _CAMUNDA_VARIABLES,
            "tenantId": "acme",
            "withoutTenantId": False,
            "businessKey": "order-7",
        },
        {"name": "policy.changed", "executionId": "waiting-7"},
    ),
    "CamundaVariable": (_OBJECT, _TYPED),
    "EndpointPayload": ({"cpu": 95, "host": "web-1"},),
    "EndpointRequest": ({"name": "alerts", "enabled": True, "description": "From Grafana"},),
    "EndpointSchema": (_ENDPOINT,),
    "EndpointSignalSchema": (_FROM_ENDPOINT,),
    "EndpointSignals": ({"signalEndpointSignals": [_FROM_ENDPOINT]},),
    "EndpointTokenRequest": ({"name": "grafana"},),
    "EndpointTokenSchema": ({**_ENDPOINT_TOKEN, "token": "signal_5f1d3c"},),
    "EndpointTokens": ({"signalEndpointTokens": [_ENDPOINT_TOKEN]},),
    "Endpoints": ({"signalEndpoints": [_ENDPOINT]},),
    "Engine": ({"name": "default"},),
    "Engines": ([{"name": "default"}],),
    "ErrorDetail": (_WRONG,),
    "EventSubscription": (_EVENT_SUBSCRIPTION,),
    "EventSubscriptionCount": ({"count": 1},),
    "EventSubscriptions": ([_EVENT_SUBSCRIPTION],),
    "Execution": (_EXECUTION,),
    "Executions": ([_EXECUTION],),
    "FoundSignal": (_FOUND,),
    "FoundSignals": ({"signals": [_FOUND], "total": 1},),
    "NewEndpointToken": ({"name": "grafana", "expiresAt": "2099-12-22T10:00:00.000Z"},),
    "Partition": (_PARTITION,),
    "ProblemDetail": (
        {
            "type": "about:blank",
            "title": "INVALID_ARGUMENT",
            "status": 400,
            "detail": "signalName must be there",
            "instance": "/v2/signals/broadcast",
        },
    ),
    "RestVersion": ({"version": "7.24.0"},),
    "SignalBroadcast": (_BROADCAST, {**_BROADCAST, "tenantId": "acme"}),
    "SignalBroadcastResult": ({"signalKey": "4711", "tenantId": "acme"},),
    "Topology": (
        {
            "brokers": [_BROKER],
            "clusterId": "signal-broker",
            "clusterSize": 1,
            "partitionsCount": 1,
            "replicationFactor": 1,
            "gatewayVersion": "8.8.0",
            "lastCompletedChangeId": "-1",
        },
    ),
    "UnleashError": (
        {
            "id": "0d5bb0a5-5f2e-4a6c-9d0e-7e5b3f2a1c00",
            "name": "BadDataError",
            "message": "name must be there",
            "details": [_WRONG],
        },
    ),
}
