"""External tasks: deliveries to pull targets, as Camunda 7's workers fetch and lock, complete and fail them.

A topic is the signal name of subscriptions with a pull target, or the id of one (`gateway.camunda.topics`). A lock is a
lease, and a task is a delivery: its id is the same at every attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from aiohttp import hdrs, web

from broker.access import Principal
from broker.deliveries import Outcome
from broker.jsontext import encode, read
from broker.operations.leases import Leasing, Sought
from broker.settings import Settings
from broker.store.deliveries.leasable import LeasableStore
from broker.store.deliveries.leases import UNKNOWN, Lease, Settled
from broker.store.deliveries.pull_listing import PullListing
from broker.store.subscriptions.subscriptions import SubscriptionStore
from broker.variables import infer, typed
from gateway.answers import answer
from gateway.auth import Authenticator
from gateway.bodies import read_body
from gateway.camunda.dialect import ENGINE, IN_PATH, show_date, spellings
from gateway.camunda.errors import (
    MissingAuthorization,
    no_bpmn_error,
    not_settled,
    task_of_another,
    unauthorized,
    unknown_engine,
    unknown_task,
)
from gateway.camunda.event_subscriptions import check_request
from gateway.camunda.external_task_errors import error_details, error_message
from gateway.camunda.external_task_queries import parse_task_id
from gateway.camunda.external_task_requests import (
    Topic,
    parse_completion,
    parse_extension,
    parse_failure,
    parse_fetch,
)
from gateway.camunda.requests import check_headers
from gateway.camunda.schemas import (
    BpmnError,
    CompletedExternalTask,
    ExtendedLock,
    FailedExternalTask,
    FetchExternalTasks,
    LockedExternalTasks,
)
from gateway.camunda.topics import NEEDED, Topics, may_lease
from gateway.fields import read_list
from gateway.long_polls import check_room, may_go_on
from gateway.offloading import offload
from gateway.routes import Parameter, Route, SecuredRoute

_IN_PATH = Parameter("id", "The id of the external task: of the delivery.", {"type": "string"}, "path")
_UPDATING = (
    MissingAuthorization("UPDATE", "ProcessInstance"),
    MissingAuthorization("UPDATE_INSTANCE", "ProcessDefinition"),
)
D = TypeVar("D")


class ExternalTasksApi:
    """Lets workers fetch, complete and fail external tasks."""

    def __init__(
        self,
        subscriptions: SubscriptionStore,
        listing: PullListing,
        leasable: LeasableStore,
        leasing: Leasing,
        *,
        auth: Authenticator,
        settings: Settings,
    ) -> None:
        self._subscriptions = subscriptions
        self._listing = listing
        self._leasable = leasable
        self._auth = auth
        self._leasing = leasing
        self._max_body_bytes = settings.max_body_bytes

    @property
    def routes(self) -> list[Route]:
        """The routes of external tasks."""
        return [*self._routes("/engine-rest", ""), *self._routes("/engine-rest/engine/{engine}", " of an engine")]

    def _routes(self, base: str, where: str) -> list[Route]:
        engine = (IN_PATH,) if IN_PATH.name in base else ()

        def route(path: str, handler: Any, summary: str, answer: Any, request: Any, *parameters: Parameter) -> Route:
            return SecuredRoute(
                "POST",
                f"{base}/external-task/{path}",
                handler,
                f"{summary}{where} as in Camunda 7",
                answer,
                request,
                (*engine, *parameters),
                aliases=spellings(f"{base}/external-task/{path}"),
                permissions=NEEDED,
                refusals=(406,),
            )

        return [
            route("fetchAndLock", self.fetch, "Fetch external tasks", {200: LockedExternalTasks}, FetchExternalTasks),
            route(
                "{id}/complete",
                self.complete,
                "Complete an external task",
                {204: None},
                CompletedExternalTask,
                _IN_PATH,
            ),
            route("{id}/failure", self.fail, "Fail an external task", {204: None}, FailedExternalTask, _IN_PATH),
            route(
                "{id}/extendLock",
                self.extend,
                "Extend the lock of an external task",
                {204: None},
                ExtendedLock,
                _IN_PATH,
            ),
            route("{id}/unlock", self.unlock, "Unlock an external task", {204: None}, None, _IN_PATH),
            route("{id}/bpmnError", self.refuse, "Refuse a BPMN error", {}, BpmnError, _IN_PATH),
        ]

    async def fetch(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer the tasks that were locked (Camunda 7 REST, Fetch and Lock)."""
        wanted = await self._read(request, principal, parse_fetch)
        topics = Topics(wanted.topics, principal, self._leasable)
        check_room(self._leasing, wanted.wait, principal)
        leases: Sequence[Lease] = ()
        if wanted.most:
            leases = await self._leasing.lease(
                Sought(topics.keys, topics.find),
                most=wanted.most,
                wait=wanted.wait,
                worker=wanted.worker,
                caller=principal.key,
                may_go_on=partial(may_go_on, request, principal, self._auth.principal),
            )
        errors = await self._listing.errors([_last_attempt(lease) for lease in leases if lease.claimed.due.attempt > 1])
        size = sum(len(lease.claimed.signal.throw.payload) for lease in leases)
        body = await offload(request, partial(_render, leases, topics.found, errors, wanted.worker), size=size)
        return answer(body)

    async def complete(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer 204 once the delivery is delivered (Camunda 7 REST, Complete)."""
        worker = await self._read(request, principal, parse_completion)
        digest = await self._held(request, principal, worker, "External Task {id} cannot be completed")
        return _settled(request, await self._leasing.acknowledge([digest], by=principal), worker, "completed")

    async def fail(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer 204 once the attempt has failed (Camunda 7 REST, Handle Failure)."""
        failure = await self._read(request, principal, parse_failure)
        digest = await self._held(
            request, principal, failure.worker, "Failure of External Task {id} cannot be reported"
        )
        settled = await self._leasing.fail(
            [digest],
            Outcome.GIVEN_UP if failure.give_up else Outcome.REFUSED,
            retry_after=None if failure.give_up else failure.retry_after,
            error=failure.error,
            by=principal,
        )
        return _settled(request, settled, failure.worker, "failed")

    async def extend(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer 204 once the lock lasts longer (Camunda 7 REST, Extend Lock)."""
        worker, duration = await self._read(request, principal, parse_extension)
        digest = await self._held(request, principal, worker, "The lock of the External Task {id} cannot be extended")
        return _settled(request, await self._leasing.extend([digest], duration, by=principal), worker, "extended")

    async def unlock(self, request: web.Request, principal: Principal) -> web.Response:
        """Answer 204 once no worker has a lock of the task (Camunda 7 REST, Unlock); any caller may break one."""
        _require(principal)
        check_request(request)
        task_id = request.match_info["id"]
        key = parse_task_id(task_id)
        task = None if key is None else await self._listing.get(key, by=principal)
        if key is None or task is None or not may_lease(task.subscription, principal):
            raise unknown_task(task_id)
        held = await self._leasing.newest(*key)
        if held is not None and task.leased_until is not None:
            await self._leasing.return_unused([held.digest], by=principal)
        return web.Response(status=204)

    async def refuse(self, request: web.Request, principal: Principal) -> web.Response:
        """Refuse a BPMN error: no process could catch it.

        Raises:
            CamundaError: Always.
        """
        worker = await self._read(request, principal, parse_completion)
        await self._held(request, principal, worker, "A BPMN error of External Task {id} cannot be reported")
        raise no_bpmn_error(request.match_info["id"])

    async def _read(self, request: web.Request, principal: Principal, parse: Callable[[bytes, str | None], D]) -> D:
        _require(principal)
        check_headers(request.headers.get(hdrs.CONTENT_TYPE), read_list(request, hdrs.ACCEPT))
        body = await read_body(request, self._max_body_bytes)
        if request.match_info.get("engine", ENGINE) != ENGINE:
            raise unknown_engine()
        return await offload(request, partial(parse, body, request.charset), size=len(body))

    async def _held(self, request: web.Request, principal: Principal, worker: str, cannot: str) -> bytes:
        """Return the digest of the lease that *worker* has of the task in the path.

        Raises:
            CamundaError: There is no such task, or another worker has it.
        """
        task_id = request.match_info["id"]
        key = parse_task_id(task_id)
        if key is None:
            raise unknown_task(task_id)
        signal_id, subscription_id = key
        subscription = await self._subscriptions.get(subscription_id, deleted=True)
        if subscription is None or not may_lease(subscription, principal):
            raise unknown_task(task_id)
        held = await self._leasing.newest(signal_id, subscription_id)
        if held is None:
            raise unknown_task(task_id)
        if held.worker != worker:
            raise task_of_another(cannot.format(id=task_id), worker, held.worker)
        return held.digest


def _require(principal: Principal) -> None:
    if not all(map(principal.may, NEEDED)):
        raise unauthorized(principal.name, _UPDATING, needed=NEEDED)


def _settled(request: web.Request, settled: Settled, worker: str, done: str) -> web.Response:
    """Return the answer to what was done about one task.

    Raises:
        CamundaError: Nothing was done.
    """
    (error,) = settled.errors.values()
    task_id = request.match_info["id"]
    if error == UNKNOWN:
        raise unknown_task(task_id)
    if error is not None:
        raise not_settled(task_id, worker, done, error)
    return web.Response(status=204)


def _last_attempt(lease: Lease) -> tuple[int, int, int]:
    due = lease.claimed.due
    return (due.signal_id, due.subscription_id, due.attempt - 1)


def _render(
    leases: Sequence[Lease], topics: Mapping[int, Topic], errors: Mapping[tuple[int, int], str], worker: str
) -> bytes:
    return encode(
        [
            _document(lease, topics[lease.claimed.subscription.id], errors.get(_last_attempt(lease)[:2]), worker)
            for lease in leases
        ]
    )


def _document(lease: Lease, topic: Topic, error: str | None, worker: str) -> dict[str, Any]:
    claimed = lease.claimed
    throw = claimed.signal.throw
    failures = claimed.due.attempt - 1 - claimed.uncounted
    return {
        "activityId": None,
        "activityInstanceId": None,
        "businessKey": throw.business_key,
        "createTime": show_date(claimed.owed_at),
        "errorDetails": error_details(error),
        "errorMessage": error_message(error),
        "executionId": throw.execution_id,
        "extensionProperties": {},
        "id": claimed.due.delivery_id,
        "lockExpirationTime": show_date(lease.until),
        "priority": 0,
        "processDefinitionId": None,
        "processDefinitionKey": None,
        "processDefinitionVersionTag": None,
        "processInstanceId": throw.execution_id,
        "retries": len(claimed.subscription.spec.schedule) + 1 - failures if failures > 0 else None,
        "suspended": False,
        "tenantId": claimed.subscription.spec.tenant_id,
        "topicName": topic.name,
        "variables": _variables(lease, topic),
        "workerId": worker,
    }


def _variables(lease: Lease, topic: Topic) -> dict[str, Any]:
    """Return the variables of a signal; a payload that is no object is one of the name ``payload``."""
    throw = lease.claimed.signal.throw
    payload = read(throw.payload.decode())
    variables = {"payload": infer(payload)}
    if isinstance(payload, dict):
        variables = typed(payload, throw.types, throw.payload)
    return {
        name: variable for name, variable in variables.items() if topic.variables is None or name in topic.variables
    }
