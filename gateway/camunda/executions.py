"""``GET /engine-rest/execution``: the executions that wait for a signal, as Camunda 7 lists executions."""

from __future__ import annotations

from aiohttp import web

from broker.access import Principal
from broker.store.subscriptions.subscriptions import SubscriptionStore
from gateway.camunda.dialect import json_answer, spellings
from gateway.camunda.event_subscriptions import BOOLEAN, INTEGER, NO_CACHE, camundas, check_request, sees
from gateway.camunda.queries import read_filter, read_page
from gateway.camunda.schemas import Executions
from gateway.routes import Parameter, Route, SecuredRoute

_PATH = "/engine-rest/execution"
_FILTERS = {
    "signalEventSubscriptionName": "eventName",
    "processInstanceId": "processInstanceId",
    "tenantIdIn": "tenantIdIn",
    "withoutTenantId": "withoutTenantId",
}
"""The parameters that are known here, and what they are called in a query for event subscriptions."""
_FOREIGN = frozenset(
    {
        "activityId",
        "businessKey",
        "incidentId",
        "incidentMessage",
        "incidentMessageLike",
        "incidentType",
        "messageEventSubscriptionName",
        "processDefinitionId",
        "processDefinitionKey",
        "processVariables",
        "suspended",
        "variables",
    }
)
"""Parameters about what no execution has here: none is found, rather than more than were asked for."""


class ExecutionsApi:
    """Lists executions for Camunda's clients, which look for the one to throw a signal to."""

    def __init__(self, subscriptions: SubscriptionStore) -> None:
        self._subscriptions = subscriptions

    @property
    def routes(self) -> list[Route]:
        """The route that lists executions."""
        return [
            SecuredRoute(
                "GET",
                _PATH,
                self.list,
                "List the executions that wait as in Camunda 7",
                {200: Executions},
                parameters=(
                    Parameter("signalEventSubscriptionName", "Only executions that wait for exactly this signal."),
                    Parameter("processInstanceId", "Only this execution."),
                    Parameter("tenantIdIn", "Only executions of these tenants, separated by commas."),
                    Parameter("withoutTenantId", "Only executions without a tenant.", BOOLEAN),
                    Parameter("firstResult", "How many executions to skip.", INTEGER),
                    Parameter("maxResults", "Most items of the page.", INTEGER),
                ),
                aliases=spellings(_PATH),
            )
        ]

    async def list(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer the executions that the caller sees and that wait for a signal (Camunda 7 REST, Get Executions)."""
        check_request(request)
        query = request.query
        wanted = read_filter({ours: query[theirs] for theirs, ours in _FILTERS.items() if theirs in query})
        page = read_page({name: query[name] for name in ("firstResult", "maxResults") if name in query})
        found: list[tuple[str, str | None]] = []
        if sees(principal) and wanted is not None and not page.is_empty and not _FOREIGN & query.keys():
            found = await self._subscriptions.executions(
                wanted, by=camundas(principal), offset=page.first, limit=page.most
            )
        documents = [
            {"id": execution, "processInstanceId": execution, "ended": False, "tenantId": tenant}
            for execution, tenant in found
        ]
        return json_answer(documents, headers=NO_CACHE)
