"""``GET /engine-rest/execution``: the executions that wait for a signal, as Camunda 7 lists executions."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from broker.access import Principal
from broker.store.subscriptions.waiting import SubscriptionFilter, WaitingStore
from gateway.camunda.dialect import IN_PATH, json_answer, spellings
from gateway.camunda.event_subscriptions import BOOLEAN, INTEGER, NO_CACHE, camundas, check_request, sees
from gateway.camunda.queries import read_filter, read_page
from gateway.camunda.schemas import ExecutionCount, Executions
from gateway.routes import Parameter, Route, SecuredRoute

_NAMES = ("signalEventSubscriptionName", "messageEventSubscriptionName")
"""A subscription waits for a name; it is the sender who says whether that is a signal's or a message's."""
_FILTERS = {
    "signalEventSubscriptionName": "eventName",
    "messageEventSubscriptionName": "eventName",
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
        "processDefinitionId",
        "processDefinitionKey",
        "processVariables",
        "suspended",
        "variables",
    }
)
"""Parameters about what no execution has here: none is found, rather than more than were asked for."""


_PARAMETERS = (
    Parameter("signalEventSubscriptionName", "Only executions that wait for exactly this signal."),
    Parameter("messageEventSubscriptionName", "Only executions that wait for exactly this message: the same."),
    Parameter("processInstanceId", "Only this execution."),
    Parameter("tenantIdIn", "Only executions of these tenants, separated by commas."),
    Parameter("withoutTenantId", "Only executions without a tenant.", BOOLEAN),
)
_PAGE = (
    Parameter("firstResult", "How many executions to skip.", INTEGER),
    Parameter("maxResults", "Most items of the page.", INTEGER),
)


class ExecutionsApi:
    """Lists executions for Camunda's clients, which look for the one to throw a signal to."""

    def __init__(self, waiting: WaitingStore) -> None:
        self._waiting = waiting

    @property
    def routes(self) -> list[Route]:
        """The routes that list and count executions."""
        return [*self._routes("/engine-rest", ""), *self._routes("/engine-rest/engine/{engine}", " of an engine")]

    def _routes(self, base: str, where: str) -> list[Route]:
        path = f"{base}/execution"
        engine = (IN_PATH,) if IN_PATH.name in base else ()
        return [
            SecuredRoute(
                "GET",
                path,
                self.list,
                f"List the executions{where} that wait as in Camunda 7",
                {200: Executions},
                parameters=engine + _PARAMETERS + _PAGE,
                aliases=spellings(path),
                refusals=(404, 406),
            ),
            SecuredRoute(
                "GET",
                f"{path}/count",
                self.count,
                f"Count the executions{where} that wait as in Camunda 7",
                {200: ExecutionCount},
                parameters=engine + _PARAMETERS,
                aliases=spellings(f"{path}/count"),
                refusals=(406,),
            ),
        ]

    async def list(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer the executions that the caller sees and that wait for a signal (Camunda 7 REST, Get Executions)."""
        check_request(request)
        query = request.query
        wanted = _read_filter(query)
        page = read_page({name: query[name] for name in ("firstResult", "maxResults") if name in query})
        found: list[tuple[str, str | None]] = []
        if sees(principal) and wanted is not None and not page.is_empty:
            found = await self._waiting.executions(wanted, by=camundas(principal), offset=page.first, limit=page.most)
        documents = [
            {"id": execution, "processInstanceId": execution, "ended": False, "tenantId": tenant}
            for execution, tenant in found
        ]
        return json_answer(documents, headers=NO_CACHE)

    async def count(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer how many executions the list has on all its pages."""
        check_request(request)
        wanted, count = _read_filter(request.query), 0
        if sees(principal) and wanted is not None:
            count = await self._waiting.count_executions(wanted, by=camundas(principal))
        return json_answer({"count": count}, headers=NO_CACHE)


def _read_filter(query: Mapping[str, str]) -> SubscriptionFilter | None:
    """Return which executions are asked for by their subscriptions; None if none can match.

    Raises:
        CamundaError: A flag is not a truth value.
    """
    names = {query[name] for name in _NAMES if name in query}
    if len(names) > 1 or _FOREIGN & query.keys():
        return None
    return read_filter({ours: query[theirs] for theirs, ours in _FILTERS.items() if theirs in query})
