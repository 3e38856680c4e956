"""Lists of external tasks: deliveries to pull targets that are owed or dead, as Camunda 7 lists its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from aiohttp import hdrs, web

from broker.access import Permission, Principal
from broker.settings import Settings
from broker.store.deliveries.pull_listing import MOST_OF_EXECUTIONS, PullDelivery, PullListing, TooMany
from broker.subscriptions import Subscription
from gateway.bodies import read_body
from gateway.camunda.dialect import ENGINE, IN_PATH, json_answer, show_date, spellings
from gateway.camunda.errors import MissingAuthorization, invalid_request, unauthorized, unknown_engine, unknown_task
from gateway.camunda.event_subscriptions import BOOLEAN, INTEGER, NO_CACHE, check_request
from gateway.camunda.external_task_errors import error_details, error_message
from gateway.camunda.external_task_queries import TaskQuery, parse_task_id, read_parameters, read_task_query
from gateway.camunda.queries import Page, read_page
from gateway.camunda.requests import check_headers, read_document
from gateway.camunda.schemas import ExternalTask, ExternalTaskCount, ExternalTaskQuery, ExternalTasks
from gateway.camunda.topics import is_id
from gateway.fields import read_list
from gateway.offloading import offload
from gateway.routes import Parameter, Route, SecuredRoute

_MOST_SUBSCRIPTIONS = 1000
"""Of how many subscriptions tasks are listed at once."""
_MOST_TASKS = 1000
"""How many tasks a page has at most."""
_READING = (
    MissingAuthorization("READ", "ProcessInstance"),
    MissingAuthorization("READ_INSTANCE", "ProcessDefinition"),
)
_ID = Parameter("id", "The id of the external task: of the delivery.", {"type": "string"}, "path")
_DATE = {"type": "string", "examples": ["2026-11-22T01:12:02.226+0000"]}
_FILTERS = (
    Parameter("externalTaskId", "Only the task with this id."),
    Parameter("externalTaskIdIn", "Only tasks with these ids, separated by commas."),
    Parameter("topicName", "Only tasks of this topic: a signal name, or the id of a subscription."),
    Parameter("workerId", "Only tasks that this worker has locked."),
    Parameter("locked", "Only tasks that are locked.", BOOLEAN),
    Parameter("notLocked", "Only tasks that are not.", BOOLEAN),
    Parameter("lockExpirationBefore", "Only tasks whose locks end before this moment.", _DATE),
    Parameter("lockExpirationAfter", "Only tasks whose locks end after this moment.", _DATE),
    Parameter("withRetriesLeft", "Only tasks that are not dead.", BOOLEAN),
    Parameter("noRetriesLeft", "Only tasks that are dead.", BOOLEAN),
    Parameter("active", "Only tasks of subscriptions that give out tasks.", BOOLEAN),
    Parameter("suspended", "Only tasks of subscriptions that are paused or disabled.", BOOLEAN),
    Parameter("executionId", "Only tasks of signals to this execution."),
    Parameter("processInstanceId", "The same."),
    Parameter("processInstanceIdIn", "Only tasks of signals to these executions, separated by commas."),
    Parameter("tenantIdIn", "Only tasks of subscriptions of these tenants, separated by commas."),
    Parameter("priorityHigherThanOrEquals", "All priorities are 0.", INTEGER),
    Parameter("priorityLowerThanOrEquals", "All priorities are 0.", INTEGER),
)
_ORDER = (
    Parameter("sortBy", "With sortOrder.", {"type": "string", "enum": ["id"]}),
    Parameter("sortOrder", "With sortBy.", {"type": "string", "enum": ["asc", "desc"]}),
)
_PAGE = (
    Parameter("firstResult", "How many tasks to skip.", INTEGER),
    Parameter("maxResults", "Most items of the page, which has no more than 1000.", INTEGER),
)


class ExternalTaskListsApi:
    """Lists, counts and shows external tasks."""

    def __init__(self, listing: PullListing, settings: Settings) -> None:
        self._listing = listing
        self._max_body_bytes = settings.max_body_bytes

    @property
    def routes(self) -> list[Route]:
        """The routes that read external tasks."""
        return [*self._routes("/engine-rest", ""), *self._routes("/engine-rest/engine/{engine}", " of an engine")]

    def _routes(self, base: str, where: str) -> list[Route]:
        path = f"{base}/external-task"
        engine = (IN_PATH,) if IN_PATH.name in base else ()
        route = partial(SecuredRoute, permissions=(Permission.READ,))
        return [
            route(
                "GET",
                path,
                self.list,
                f"List the external tasks{where} as in Camunda 7",
                {200: ExternalTasks},
                parameters=engine + _FILTERS + _ORDER + _PAGE,
                aliases=spellings(path),
                refusals=(404, 406),
            ),
            route(
                "POST",
                path,
                self.list_by_document,
                f"Query the external tasks{where} as in Camunda 7",
                {200: ExternalTasks},
                ExternalTaskQuery,
                engine + _PAGE,
                aliases=spellings(path),
                refusals=(404,),
            ),
            route(
                "GET",
                f"{path}/count",
                self.count,
                f"Count the external tasks{where} as in Camunda 7",
                {200: ExternalTaskCount},
                parameters=engine + _FILTERS,
                aliases=spellings(f"{path}/count"),
                refusals=(406,),
            ),
            route(
                "POST",
                f"{path}/count",
                self.count_by_document,
                f"Count by a query the external tasks{where} as in Camunda 7",
                {200: ExternalTaskCount},
                ExternalTaskQuery,
                engine,
                aliases=spellings(f"{path}/count"),
            ),
            route(
                "GET",
                f"{path}/{{id}}",
                self.show,
                f"Show an external task{where} as in Camunda 7",
                {200: ExternalTask},
                parameters=(*engine, _ID),
                aliases=spellings(f"{path}/{{id}}"),
                refusals=(404, 406),
            ),
            route(
                "GET",
                f"{path}/{{id}}/errorDetails",
                self.show_error,
                f"Show what an external task{where} failed of as in Camunda 7",
                {200: "text/plain", 204: None},
                parameters=(*engine, _ID),
                aliases=spellings(f"{path}/{{id}}/errorDetails"),
                refusals=(404,),
            ),
        ]

    async def list(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer a page of the tasks that the caller sees (Camunda 7 REST, Get External Tasks)."""
        _require_reading(principal)
        check_request(request)
        return await self._answer_page(request, read_parameters(request.query), principal)

    async def list_by_document(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer the same (Camunda 7 REST, Get External Tasks, POST)."""
        return await self._answer_page(request, await self._read(request, principal), principal)

    async def count(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer how many tasks the list has on all its pages."""
        _require_reading(principal)
        check_request(request)
        return await self._answer_count(read_parameters(request.query), principal)

    async def count_by_document(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer the same."""
        return await self._answer_count(await self._read(request, principal), principal)

    async def show(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer one task (Camunda 7 REST, Get External Task)."""
        _require_reading(principal)
        check_request(request)
        return json_answer(_document(await self._get(request.match_info["id"], principal)), headers=NO_CACHE)

    async def show_error(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer the details of the last failure, or 204 if there are none (Camunda 7 REST, Get Error Details)."""
        _require_reading(principal)
        if request.match_info.get("engine", ENGINE) != ENGINE:
            raise unknown_engine()
        details = error_details((await self._get(request.match_info["id"], principal)).error)
        if details is None:
            return web.Response(status=204, headers=NO_CACHE)
        return web.Response(text=details, headers=NO_CACHE)

    async def _get(self, task_id: str, principal: Principal) -> PullDelivery:
        """Return a task.

        Raises:
            CamundaError: There is none with that id, or *principal* may not see it.
        """
        key = parse_task_id(task_id)
        task = None if key is None else await self._listing.get(key, by=principal)
        if task is None:
            raise unknown_task(task_id)
        return task

    async def _read(self, request: web.Request, principal: Principal) -> TaskQuery | None:
        _require_reading(principal)
        check_headers(request.headers.get(hdrs.CONTENT_TYPE), read_list(request, hdrs.ACCEPT))
        body = await read_body(request, self._max_body_bytes)
        check_request(request)
        document = await offload(request, partial(read_document, body, charset=request.charset), size=len(body))
        return read_task_query(document)

    async def _answer_page(self, request: web.Request, query: TaskQuery | None, principal: Principal) -> web.Response:
        page = _page(request)
        found: Sequence[PullDelivery] = ()
        if query is not None and not page.is_empty:
            of = await self._find_subscriptions(query, principal)
            most = _MOST_TASKS if page.most is None else min(page.most, _MOST_TASKS)
            with _refusing_too_many():
                found = await self._listing.find(
                    of, query.deliveries, first=page.first, most=most, descending=query.descending
                )
        return json_answer([_document(one) for one in found], headers=NO_CACHE)

    async def _answer_count(self, query: TaskQuery | None, principal: Principal) -> web.Response:
        count = 0
        if query is not None:
            of = await self._find_subscriptions(query, principal)
            with _refusing_too_many():
                count = await self._listing.count(of, query.deliveries)
        return json_answer({"count": count}, headers=NO_CACHE)

    async def _find_subscriptions(self, query: TaskQuery, principal: Principal) -> Sequence[Subscription]:
        """Return the subscriptions whose tasks are asked for.

        Raises:
            CamundaError: They are too many.
        """
        topic, find = query.topic, partial(self._listing.subscriptions, by=principal, limit=_MOST_SUBSCRIPTIONS + 1)
        found = await find() if topic is None else await find(name=topic)
        if topic is not None and is_id(topic):
            found = [*found, *(one for one in await find(subscription_id=int(topic)) if one.spec.name != topic)]
        if len(found) > _MOST_SUBSCRIPTIONS:
            raise invalid_request(
                f"topicName: must be the id of a subscription, because more than {_MOST_SUBSCRIPTIONS} subscriptions"
                " have such tasks"
            )
        return [one for one in found if _is_asked_for(one, query)]


@contextmanager
def _refusing_too_many() -> Iterator[None]:
    try:
        yield
    except TooMany:
        raise invalid_request(
            f"executionId: more than {MOST_OF_EXECUTIONS} tasks are of signals to what is named, and of the topic"
        ) from None


def _page(request: web.Request) -> Page:
    return read_page({name: request.query[name] for name in ("firstResult", "maxResults") if name in request.query})


def _require_reading(principal: Principal) -> None:
    if not principal.may(Permission.READ):
        raise unauthorized(principal.name, _READING, needed=[Permission.READ])


def _is_suspended(subscription: Subscription) -> bool:
    return subscription.paused_at is not None or subscription.disabled_because is not None


def _is_asked_for(subscription: Subscription, query: TaskQuery) -> bool:
    return (query.tenants is None or subscription.spec.tenant_id in query.tenants) and (
        query.suspended is None or _is_suspended(subscription) == query.suspended
    )


def _document(task: PullDelivery) -> dict[str, Any]:
    spec, failures = task.subscription.spec, task.failures
    retries = None if failures <= 0 else max(0, len(spec.schedule) + 1 - failures)
    return {
        "activityId": None,
        "activityInstanceId": None,
        "businessKey": task.business_key,
        "createTime": show_date(task.created_at),
        "errorMessage": error_message(task.error),
        "executionId": task.execution_id,
        "id": task.id,
        "lockExpirationTime": None if task.leased_until is None else show_date(task.leased_until),
        "priority": 0,
        "processDefinitionId": None,
        "processDefinitionKey": None,
        "processDefinitionVersionTag": None,
        "processInstanceId": task.execution_id,
        "retries": 0 if task.standing == "dead" else retries,
        "suspended": _is_suspended(task.subscription),
        "tenantId": spec.tenant_id,
        "topicName": spec.name,
        "workerId": task.worker,
    }
