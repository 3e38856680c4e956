"""The request of ``POST /engine-rest/message``, read as Camunda's JSON mapper reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from broker.conversions import java_text
from broker.variables import Types, write_payload
from gateway.camunda.dialect import ENGINE
from gateway.camunda.errors import (
    CamundaError,
    cannot_deliver,
    invalid_request,
    tenant_with_process_instance,
    unknown_engine,
)
from gateway.camunda.requests import convert_entries, read_document, read_entries, read_flag, read_text

_SHOWN = 1000
"""How many characters of what a message names an error shows."""
_KEYS = ("correlationKeys", "localCorrelationKeys")
_VARIABLES = ("processVariables", "processVariablesLocal", "processVariablesToTriggeredScope")


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRequest:
    """A message as the caller sent it; tenants, ids and permissions are not checked yet.

    Args:
        name: The message's name.
        execution_id: The process instance that it is for; then neither of the next two is set.
        tenant_id: For this tenant only.
        without_tenant_id: For subscriptions without a tenant only.
        business_key: The business key of what it is for.
        keys: The correlation keys of what it is for, as plain values.
        payload: Each variable's plain value, as JSON text.
        types: What the payload does not say about its variables.
        everywhere: Whether it is for all that wait.
        shows_result: Whether the answer says what it was correlated with.
        shows_variables: Whether that has the variables.
        criteria: What it names, as errors show it.
    """

    name: str
    execution_id: str | None
    tenant_id: str | None
    without_tenant_id: bool
    business_key: str | None
    keys: dict[str, Any]
    payload: bytes
    types: Types
    everywhere: bool
    shows_result: bool
    shows_variables: bool
    criteria: str


def parse_message(body: bytes, *, engine: str = ENGINE, charset: str | None = None) -> MessageRequest:
    """Read the body of a message, with the checks in Camunda's order.

    Args:
        body: The body as received.
        engine: The engine named in the path; there is only ``default``.
        charset: That of the content type, if it has one.

    Raises:
        CamundaError: The request is invalid, whatever subscriptions there are.
    """
    document = read_document(body, charset=charset)
    texts = ("messageName", "businessKey", "tenantId", "processInstanceId")
    name, business_key, tenant_id, execution_id = (read_text(document.get(member)) for member in texts)
    flags = ("withoutTenantId", "all", "resultEnabled", "variablesInResultEnabled")
    without_tenant_id, everywhere, shows_result, shows_variables = (read_flag(document.get(one)) for one in flags)
    sent = {member: read_entries(document.get(member)) for member in (*_KEYS, *_VARIABLES)}
    if name is None:
        raise invalid_request("No message name supplied")
    if tenant_id is not None and without_tenant_id:
        raise invalid_request("Parameter 'tenantId' cannot be used together with parameter 'withoutTenantId'.")
    if shows_variables and not shows_result:
        raise invalid_request(
            "Parameter 'variablesInResultEnabled' cannot be used without 'resultEnabled' set to true."
        )
    try:
        if engine != ENGINE:
            raise unknown_engine()
        read = {member: convert_entries(entries) for member, entries in sent.items()}
    except CamundaError as error:
        raise cannot_deliver(error) from error
    values: dict[str, Any] = {}
    types: Types = {}
    for member in _VARIABLES:
        for variable in read[member][0]:
            types.pop(variable, None)
        values |= read[member][0]
        types |= read[member][1]
        if (unstorable := read[member][2]) is not None:
            raise unstorable
    if execution_id is not None and (tenant_id is not None or without_tenant_id):
        raise tenant_with_process_instance()
    keys, local_keys = (read[member][0] for member in _KEYS)
    shown = {
        "businessKey": business_key,
        "processInstanceId": execution_id,
        "processDefinitionId": None,
        "correlationKeys": keys or None,
        "localCorrelationKeys": local_keys or None,
        "tenantId": tenant_id,
        "isTenantIdSet": tenant_id is not None or without_tenant_id,
        "isExecutionsOnly": False,
    }
    text = ", ".join(f"{member}={java_text(value)}" for member, value in shown.items())
    return MessageRequest(
        name=name,
        execution_id=execution_id,
        tenant_id=tenant_id,
        without_tenant_id=without_tenant_id,
        business_key=business_key,
        keys=_together(keys, local_keys),
        payload=write_payload(values),
        types=types,
        everywhere=everywhere,
        shows_result=shows_result,
        shows_variables=shows_variables,
        criteria=f"CorrelationSet [{text if len(text) <= _SHOWN else text[:_SHOWN] + '...'}]",
    )


def _together(keys: dict[str, Any], local_keys: dict[str, Any]) -> dict[str, Any]:
    """Return both kinds of keys. No execution matches those that contradict each other: it has one value of a name."""
    contradictions = {
        name: [keys[name], local_keys[name]]
        for name in keys.keys() & local_keys.keys()
        if keys[name] != local_keys[name]
    }
    return keys | local_keys | contradictions
