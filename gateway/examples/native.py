"""Examples of the native API's documents; the documents of one request or answer fit together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ACCEPTED, _RECORDED, _LATER = "2026-11-22T10:00:00.123Z", "2026-11-22T10:00:00.125Z", "2026-12-22T10:00:00.000Z"
_STEP = "2026-11-22T10:00:00.000Z"
_URL = "https://billing.example.com/hooks/signals"
_TYPED = {"value": 42, "type": "Integer", "valueInfo": {}}

_LIMITS = {"names": ["policy.#"], "tenants": ["acme"], "queues": ["acme.#"], "untenanted": True}
_WEBHOOK = {
    "kind": "webhook",
    "url": _URL,
    "method": "POST",
    "headers": {"X-Team": "billing"},
    "bodyTemplate": '{"policy": {{payload.policy}}}',
    "signatures": ["v1"],
    "format": "standard",
}
_QUEUE = {"kind": "queue", "queue": "billing", "format": "standard"}
_HANDLER = {"kind": "handler", "app": "billing", "handler": "charge"}
_FILTER = {"premium": {"operator": "NUM_GT", "value": "90"}}
_RETRY = {"schedule": [5, 60, 3600], "maxAttempts": 4}

_SIGNAL = {
    "id": 4711,
    "name": "policy.changed",
    "scope": "tenant",
    "tenantId": "acme",
    "executionId": None,
    "payload": {"policy": 42},
    "variables": {"policy": _TYPED},
    "businessKey": "order-7",
    "createdAt": _ACCEPTED,
    "source": "native",
    "sourceId": None,
    "orderingKey": "policy-42",
    "deliverAt": _ACCEPTED,
    "expiresAt": _LATER,
    "hops": 0,
    "state": "recorded",
}
_PLAIN = {"name": "policy.changed", "payload": {"policy": 42}}
_THROW = {
    **_PLAIN,
    "tenantId": "acme",
    "withoutTenantId": False,
    "businessKey": "order-7",
    "orderingKey": "policy-42",
    "deliverAt": "2026-11-22T10:00:00.000Z",
}
_THROW_TO_EXECUTION = {"name": "policy.changed", "variables": {"policy": _TYPED}, "executionId": "waiting-7"}
_REQUEST = {"url": _URL, "headers": {"webhook-id": "4711-3", "content-type": "application/json"}}
_CONNECTION = {"address": "203.0.113.7:443", "tls": "TLSv1.3", "reused": True, "resent": None}
_TRY = {
    "startedAt": _RECORDED,
    "duration": 0.042,
    "outcome": "throttled",
    "status": 429,
    "error": "HTTP 429 Too Many Requests",
    "response": "slow down",
    "request": _REQUEST,
    "answer": {"location": None, "retryAfter": "5"},
    "connection": _CONNECTION,
    "phases": {"dns": 0.001, "connect": 0.004, "tls": 0.011, "firstByte": 0.02, "total": 0.042},
}
_LISTED = {
    "id": "4711-3",
    "signalId": 4711,
    "signalName": "policy.changed",
    "subscriptionId": 3,
    "tenantId": "acme",
    "target": _WEBHOOK,
    "state": "parked",
    "attemptCount": 1,
    "lastOutcome": "throttled",
    "lastStatus": 429,
    "lastError": "HTTP 429 Too Many Requests",
    "dueAt": "2026-11-22T10:00:05.125Z",
    "reason": "retry",
    "createdAt": _RECORDED,
    "finishedAt": None,
}
_DELIVERED = {
    "state": "delivered",
    "dueAt": None,
    "reason": None,
    "finishedAt": "2026-11-22T10:00:05.200Z",
}
_ATTEMPT = {"number": 1, **_TRY, "worker": None, "steps": None}
_STATES = {"pending": 1, "parked": 2, "delivered": 90, "dead": 3, "cancelled": 4}
_BULK = {
    "name": "policy.#",
    "since": "2026-11-22T00:00:00.000Z",
    "until": "2026-11-23T00:00:00.000Z",
    "dryRun": True,
    "perSecond": 50,
}
_OPTIONS = {
    "target": _QUEUE,
    "filter": _FILTER,
    "retry": _RETRY,
    "timeoutSeconds": 10,
    "maxInFlight": 20,
    "maxPerSecond": 50,
    "description": "Invoices",
}
_STEPS = [{"target": _WEBHOOK, "description": "Bill it"}, {"target": _QUEUE, "description": "Then archive it"}]
_SUBSCRIPTION = {
    "id": 3,
    "name": "policy.#",
    "target": _WEBHOOK,
    "steps": None,
    "executionId": None,
    "tenantId": "acme",
    "businessKey": None,
    "correlationKeys": None,
    "once": False,
    "consumedBy": None,
    "state": "active",
    "pausedAt": None,
    "disabledBecause": None,
    "filter": _FILTER,
    "ordered": True,
    "headOfLine": "block",
    "retry": _RETRY,
    "timeoutSeconds": 10.0,
    "maxInFlight": 20,
    "maxPerSecond": 50.0,
    "description": "Invoices",
    "createdAt": _ACCEPTED,
    "createdBy": "admin",
    "secret": None,
    "backlog": {"parked": 2, "leasable": 0, "leased": 0, "oldest": _RECORDED},
    "circuit": "closed",
    "successRate": {"hour": 0.99, "day": 0.998},
}
_KEYS = {"businessKey": "order-7", "correlationKeys": {"customer": 42}}
_WAITING = {"id": 4, "name": "invoice.paid", "executionId": "waiting-7", **_KEYS, "once": True, "ordered": False}
_DISABLED = {
    "target": None,
    "steps": _STEPS,
    "consumedBy": 4711,
    "state": "disabled",
    "pausedAt": _ACCEPTED,
    "disabledBecause": "the receiver answered 410 Gone",
    "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
}
_LIMITED = {
    "names": ["policy.#"],
    "tenants": ["acme"],
    "queues": ["acme.#"],
    "untenanted": True,
    "createdAt": _ACCEPTED,
    "createdBy": "admin",
}
_TOKEN = {
    "id": 5,
    "name": "billing",
    "permissions": ["signals:throw"],
    **_LIMITED,
    "expiresAt": _LATER,
    "expired": False,
    "lastUsedAt": _RECORDED,
    "token": None,
}
_USER = {"id": 6, "name": "demo", "permissions": ["signals:throw"], **_LIMITED, "groups": ["accounting"]}
_QUOTA = {"throwsPerSecond": 100, "subscriptions": 50, "deliveriesPerThrow": 1000, "payloadBytesPerDay": 1_000_000_000}
_AUDIT = {
    "id": 8,
    "type": "signal-endpoint-updated",
    "subjectId": 2,
    "principal": "demo",
    "userId": 6,
    "tokenId": None,
    "before": {"name": "alerts", "enabled": True},
    "after": {"name": "alerts", "enabled": False},
    "createdAt": _ACCEPTED,
}
_EVENT = {
    "id": 9,
    "type": "$broker.subscription.disabled",
    "since": _ACCEPTED,
    "at": _RECORDED,
    "count": 1,
    "subscriptionId": 3,
    "subscriptionName": "policy.#",
    "tenantId": "acme",
    "details": {"because": "the receiver answered 410 Gone"},
    "signalId": 4712,
}
_HAPPENED = {
    "at": _STEP,
    "accepted": 120,
    "recorded": 120,
    "delivered": 118,
    "dead": 1,
    "retried": 3,
    "latencyMs": {"p50": 8.0, "p95": 25.0, "p99": 60.0},
}
_BY_TENANT = {**_HAPPENED, "tenantId": "acme", "other": False}
_FIELD_PROBLEM = {"pointer": "/name", "detail": "must have 1 to 255 characters"}
_PROBLEM = {
    "type": "about:blank",
    "title": "Bad Request",
    "status": 400,
    "detail": "name must have 1 to 255 characters",
    "errors": [_FIELD_PROBLEM],
}
_KEY = {"id": 1, "publicKey": "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", "createdAt": _ACCEPTED}

EXAMPLES: Mapping[str, tuple[Any, ...]] = {
    "AnswerSchema": ({"location": "https://billing.example.com/new", "retryAfter": "5"},),
    "AttemptSchema": (
        _ATTEMPT,
        {**_ATTEMPT, "steps": [{"step": 1, **_TRY}]},
        {**_ATTEMPT, "worker": "worker-1"},
    ),
    "AuditPage": ({"items": [_AUDIT], "next": "8"},),
    "AuditSchema": (_AUDIT, {**_AUDIT, "userId": None, "tokenId": 5}),
    "BacklogSchema": ({"parked": 2, "leasable": 0, "leased": 0, "oldest": _RECORDED},),
    "BatchItem": (
        {**_THROW, "idempotencyKey": "order-7"},
        {**_THROW_TO_EXECUTION, "idempotencyKey": "order-8"},
    ),
    "BatchRequest": ({"signals": [_PLAIN]}, {"signals": [{**_PLAIN, "idempotencyKey": "order-9"}]}),
    "BatchResult": ({"status": 202, "id": 4711}, {"status": 400, "problem": _PROBLEM}),
    "BatchSchema": ({"results": [{"status": 202, "id": 4711}]},),
    "BulkResult": ({"count": 12, "next": "4711-3"},),
    "ConditionSchema": (
        {"operator": "STR_CONTAINS", "values": ["gold"], "inverted": False, "caseInsensitive": True},
        {"operator": "NUM_GT", "value": "90"},
    ),
    "ConnectionSchema": (_CONNECTION, {**_CONNECTION, "resent": "the kept connection was closed"}),
    "DeliveryPage": ({"items": [_LISTED], "next": "4711-3"},),
    "DeliverySchema": (
        {**_LISTED, "attempts": [_ATTEMPT]},
        {**_LISTED, **_DELIVERED, "attempts": None},
    ),
    "EventPage": ({"items": [_EVENT], "next": "9"},),
    "EventSchema": (_EVENT,),
    "Explanation": ({"subscriptionId": 3, "matches": False, "because": "the filter does not hold: premium"},),
    "ExplanationPage": ({"matches": [{"subscriptionId": 3, "matches": True, "because": "it matches"}], "next": "3"},),
    "FieldProblem": (_FIELD_PROBLEM,),
    "FilterSchema": ({**_FILTER, "anyOf": [{"tier": {"operator": "IN", "values": ["gold"]}}]},),
    "HandlerTargetSchema": (_HANDLER,),
    "LatencySchema": ({"p50": 8.0, "p95": 25.0, "p99": 60.0},),
    "LedgerSchema": (
        {
            "recorded": 50,
            "awaitingRecord": 0,
            "bufferedMessages": 0,
            "poison": {"signals.record.dead": 0},
            "poisonedSignals": 0,
            "lost": 0,
            "matched": 100,
            "deliveries": _STATES,
            "unaccounted": 0,
            "transportError": None,
        },
    ),
    "ListedDelivery": (_LISTED, {**_LISTED, **_DELIVERED}),
    "Problem": (_PROBLEM,),
    "QueueTargetSchema": (_QUEUE,),
    "QuotaPage": ({"items": [{**_QUOTA, "kind": "tenants", "id": "acme"}], "next": None},),
    "QuotaRequest": (_QUOTA,),
    "QuotaSchema": ({**_QUOTA, "kind": "tenants", "id": "acme"},),
    "CancelRequest": (
        {
            **{member: value for member, value in _BULK.items() if member != "perSecond"},
            "after": "4711-3",
            "subscriptionId": 3,
            "state": "dead",
            "subscriptionDeleted": True,
            "outcome": "timed_out",
            "status": 503,
        },
    ),
    "RedriveRequest": (
        {"state": "dead", "dryRun": True},
        {
            **_BULK,
            "after": "4711-3",
            "subscriptionId": 3,
            "state": "dead",
            "outcome": "timed_out",
            "status": 503,
        },
    ),
    "ReplayRequest": ({"since": _BULK["since"], "dryRun": True}, {**_BULK, "after": "4711"}),
    "RequestSchema": (_REQUEST,),
    "ResumptionRequest": ({"perSecond": 50},),
    "RetrySchema": (_RETRY,),
    "RotationRequest": ({"graceSeconds": 86_400},),
    "SampleAnswer": (
        {
            "outcome": "refused",
            "status": 500,
            "durationMs": 42.0,
            "response": "not today",
            "error": "HTTP 500 Internal Server Error",
            "request": {**_REQUEST, "body": '{"policy": 42}'},
            "step": None,
        },
    ),
    "SampleRequest": ({"payload": {"policy": 42}},),
    "SentSchema": ({**_REQUEST, "body": '{"policy": 42}'},),
    "SessionRequest": ({"user": "demo", "password": "correct horse"}, {"token": "sb_Zm9yIGV4YW1wbGU"}),
    "SessionSchema": (
        {
            "principal": "demo",
            "permissions": ["signals:read"],
            "names": ["policy.#"],
            "tenants": ["acme"],
            "untenanted": True,
            "expiresAt": _LATER,
            "csrfToken": "Zm9yIGV4YW1wbGU",
        },
    ),
    "SignalPage": ({"items": [_SIGNAL], "next": "4711"},),
    "SignalRequest": (_PLAIN, _THROW, _THROW_TO_EXECUTION),
    "SignalSchema": (_SIGNAL, {**_SIGNAL, "scope": "execution", "tenantId": None, "executionId": "waiting-7"}),
    "States": (_STATES,),
    "StatisticsSchema": (
        {"since": _STEP, "until": "2026-11-22T10:01:00.000Z", "step": 60, "by": "tenant", "steps": [_BY_TENANT]},
    ),
    "StatisticsStepSchema": (
        _BY_TENANT,
        {**_HAPPENED, "subscriptionId": 3},
        {**_HAPPENED, "name": "policy.changed", "other": False},
    ),
    "StepOutcomeSchema": ({"step": 1, **_TRY},),
    "StepSchema": (_STEPS[0],),
    "SubscriptionChanges": ({"description": "Invoices"}, _OPTIONS, {"steps": _STEPS, "headOfLine": "skip"}),
    "SubscriptionPage": ({"items": [_SUBSCRIPTION], "next": "3"},),
    "SubscriptionRequest": (
        {"name": "policy.changed", "target": {"kind": "pull"}},
        {**_OPTIONS, "name": "policy.#", "tenantId": "acme", "ordered": True, "once": False, "headOfLine": "block"},
        {"name": "invoice.paid", "executionId": "waiting-7", **_KEYS, "once": True, "steps": _STEPS},
    ),
    "SubscriptionSchema": (_SUBSCRIPTION, {**_SUBSCRIPTION, **_WAITING, **_DISABLED}),
    "SuccessRateSchema": ({"hour": 0.99, "day": 0.998},),
    "TokenPage": ({"items": [_TOKEN], "next": None},),
    "TokenRequest": (
        {"name": "billing", "permissions": ["signals:throw"], "names": ["policy.#"]},
        {**_LIMITS, "name": "billing", "permissions": ["signals:throw"], "expiresAt": "2099-12-22T10:00:00.000Z"},
    ),
    "TokenRotation": ({"overlapSeconds": 86_400},),
    "TokenSchema": (_TOKEN, {**_TOKEN, "token": "sb_Zm9yIGV4YW1wbGU"}),
    "TypedVariable": (_TYPED,),
    "UserChanges": (
        {"groups": ["accounting"]},
        {**_LIMITS, "password": "correct horse", "permissions": ["signals:read"], "groups": ["sales"]},
    ),
    "UserPage": ({"items": [_USER], "next": None},),
    "UserRequest": (
        {"name": "demo", "password": "correct horse", "permissions": []},
        {
            **_LIMITS,
            "name": "ada",
            "password": "correct horse",
            "permissions": ["signals:throw"],
            "groups": ["accounting"],
        },
    ),
    "UserSchema": (_USER,),
    "WantedStepSchema": (_STEPS[0],),
    "WebhookKeyList": ({"items": [{**_KEY, "validUntil": None}]},),
    "WebhookKeySchema": ({**_KEY, "validUntil": None}, {**_KEY, "validUntil": _LATER}),
    "WebhookTargetSchema": (_WEBHOOK,),
}
