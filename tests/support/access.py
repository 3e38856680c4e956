"""The access table of docs/access.md, and objects of everybody that it is tried on."""

from __future__ import annotations

import asyncio
import itertools
import re
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from broker.moments import show_moment
from tests.support.eventually import eventually
from tests.support.product import Client
from tests.support.throwing import NOWHERE, delivery, fresh_id, recorded, subscribe, throw, token

GUIDE = Path(__file__).parents[2] / "docs" / "access.md"
CASES = ("own", "other name", "other tenant", "no tenant", "no tenant, with untenanted")
LATER = {"deliverAt": show_moment(datetime.now(UTC) + timedelta(days=100))}
PASSWORD = "correct horse"
EVERY = ("signals:throw", "signals:read", "subscriptions:manage", "deliveries:manage", "endpoints:manage")

_ROW = re.compile(r"^\| `((?:GET|POST|PUT|PATCH|DELETE) [^`]+)` \| (.+) \|$", re.MULTILINE)


@dataclass(frozen=True)
class Row:
    """A row of the table: which permissions an operation needs, or one of which, and how it ends in each of `CASES`."""

    operation: str
    permissions: tuple[str, ...]
    needs_one: bool
    outcomes: Mapping[str, str]

    @property
    def method(self) -> str:
        """Its HTTP method."""
        return self.operation.split()[0]

    @property
    def path(self) -> str:
        """Its path, with parameters in braces."""
        return self.operation.split()[1]


def read_table() -> dict[str, Row]:
    """Return the rows of the table by their operations."""
    rows = {}
    for operation, cells in _ROW.findall(GUIDE.read_text(encoding="utf-8")):
        permissions, *outcomes = (cell.strip() for cell in re.split(r" \| | / ", cells))
        assert len(outcomes) == len(CASES), operation
        rows[operation] = Row(
            operation,
            tuple(re.findall("`(.+?)`", permissions)),
            " or " in permissions,
            dict(zip(CASES, outcomes, strict=True)),
        )
    return rows


def open_operations() -> set[str]:
    """Return the operations that the guide calls open to all."""
    text = GUIDE.read_text(encoding="utf-8").partition("Open to all, without credentials:")[2].partition("\n\n")[0]
    return set(re.findall("`([^`]+)`", text))


class World:
    """Makes objects of a caller that is limited to a tenant and to names, and of others.

    Args:
        client: May do everything.
        name: A name that no other test uses.
    """

    def __init__(self, client: Client, name: str) -> None:
        self.client = client
        self.name = name
        self.word = name.rpartition(".")[2]
        self.tenants = {"mine": fresh_id("tenant"), "theirs": fresh_id("tenant")}
        self._numbers = itertools.count()
        self._endpoints = itertools.count()
        self._shared: dict[tuple[str, str], asyncio.Task[Any]] = {}
        self.sole = asyncio.Lock()
        """For what there is only one of."""

    async def open(self) -> None:
        """Make the callers: the limited one without and with `untenanted`, and makers of what belongs to others."""
        limits = {"names": self.names, "tenants": [self.tenants["mine"]]}
        self.limited = await self._caller("admin", **limits)
        self.further = await self._caller("admin", untenanted=True, **limits)
        self._makers = {
            "own": self.limited,
            "other name": await self._caller("admin", tenants=[self.tenants["mine"]]),
            "other tenant": await self._caller("admin", tenants=[self.tenants["theirs"]]),
            "no tenant": self.client,
        }

    @property
    def names(self) -> list[str]:
        """The limits of the limited caller's names."""
        return [f"{self.name}.mine.#", "$broker.#", *(self._endpoint_name(number, "mine") for number in range(90))]

    def caller(self, case: str) -> Client:
        """Return the limited caller of a case."""
        return self.further if case.endswith("untenanted") else self.limited

    def made(self, kind: str, case: str) -> Awaitable[Any]:
        """Return the object of that *kind* that requests of that *case* share; a new one if the kind ends with !."""
        variant = case.partition(",")[0]
        make: Callable[[str], Awaitable[Any]] = getattr(self, f"_{kind.rstrip('!')}")
        if kind.endswith("!"):
            return make(variant)
        if (kind, variant) not in self._shared:
            self._shared[kind, variant] = asyncio.ensure_future(make(variant))
        return self._shared[kind, variant]

    def signal_name(self, variant: str) -> str:
        """Return a new name of a signal."""
        return f"{self.name}.{'other' if variant == 'other name' else 'mine'}.{next(self._numbers)}"

    def tenant(self, variant: str) -> str | None:
        """Return the tenant of what is made."""
        return {"no tenant": None, "other tenant": self.tenants["theirs"]}.get(variant, self.tenants["mine"])

    def scope(self, variant: str) -> dict[str, Any]:
        """Return the scope of a throw."""
        tenant = self.tenant(variant)
        return {"withoutTenantId": True} if tenant is None else {"tenantId": tenant}

    def limits(self, variant: str) -> dict[str, Any]:
        """Return the limits of a token or a user."""
        tenant = self.tenant(variant)
        return {"names": [self.signal_name(variant)], "tenants": None if tenant is None else [tenant]}

    def endpoint_name(self, variant: str) -> str:
        """Return a new name of a signal endpoint."""
        return self._endpoint_name(next(self._endpoints), "other" if variant == "other name" else "mine")

    def _endpoint_name(self, number: int, whose: str) -> str:
        return f"{self.word}-{whose}-{number}"

    async def _caller(self, *permissions: str, **limits: Any) -> Client:
        return self.client.caller(await token(self.client, *permissions, **limits))

    async def _signal(self, variant: str) -> dict[str, Any]:
        signal = await throw(self.client, self.signal_name(variant), **self.scope(variant))
        return await recorded(self.client, signal["id"])  # type: ignore[no-any-return]

    async def _scheduled(self, variant: str) -> dict[str, Any]:
        signal = await throw(self.client, self.signal_name(variant), **LATER, **self.scope(variant))
        return await recorded(self.client, signal["id"])  # type: ignore[no-any-return]

    async def _subscription(self, variant: str) -> dict[str, Any]:
        more = {"tenantId": self.tenant(variant), "retry": {"maxAttempts": 1}}
        return await subscribe(self.client, self.signal_name(variant), **more)  # type: ignore[no-any-return]

    async def _pull(self, variant: str) -> dict[str, Any]:
        document = {"name": self.signal_name(variant), "tenantId": self.tenant(variant), "target": {"kind": "pull"}}
        return await self.client.post("/v1/subscriptions", document, expect=201)  # type: ignore[no-any-return]

    async def _owed(self, variant: str) -> dict[str, Any]:
        made = await self._pull(variant)
        await recorded(self.client, (await throw(self.client, made["name"], **self.scope(variant)))["id"])
        return made

    async def _lease(self, variant: str) -> dict[str, Any]:
        made = await self._pull(variant)
        await throw(self.client, made["name"], **self.scope(variant))
        leased = await self.client.post(f"/v1/subscriptions/{made['id']}/lease", {"waitSeconds": 30, "worker": "w"})
        return leased["deliveries"][0]  # type: ignore[no-any-return]

    async def _execution(self, variant: str) -> dict[str, Any]:
        more = {"tenantId": self.tenant(variant), "executionId": fresh_id("execution")}
        return await subscribe(self.client, self.signal_name(variant), **more)  # type: ignore[no-any-return]

    async def _delivery(self, variant: str) -> dict[str, Any]:
        subscription = await self._subscription(variant)
        signal = await throw(self.client, subscription["name"], **self.scope(variant))
        return await delivery(self.client, signal, subscription, "dead")  # type: ignore[no-any-return]

    async def _death(self, variant: str) -> dict[str, Any]:
        made = await self._delivery(variant)

        async def get() -> Any:
            page = await self.client.get(
                f"/v1/events?subscriptionId={made['subscriptionId']}&type=$broker.delivery.dead"
            )
            return next(iter(page["items"]), None)

        return await eventually(get)  # type: ignore[no-any-return]

    async def _token(self, variant: str) -> dict[str, Any]:
        document = {"name": fresh_id("token"), "permissions": ["signals:read"], **self.limits(variant)}
        return await self._makers[variant].post("/v1/tokens", document, expect=201)  # type: ignore[no-any-return]

    async def _quota(self, variant: str) -> dict[str, Any]:
        made = await self._token(variant)
        _, _, quota = await self.client.request("PUT", f"/v1/quotas/tokens/{made['id']}", json={})
        return quota  # type: ignore[no-any-return]

    async def _user(self, variant: str) -> dict[str, Any]:
        document = {"name": fresh_id("user"), "password": PASSWORD, **self.limits(variant)}
        return await self._makers[variant].post("/v1/users", document, expect=201)  # type: ignore[no-any-return]

    async def _event(self, variant: str) -> dict[str, Any]:
        made = await self._token(variant)
        page = await self.client.get("/v1/audit?type=api-token-created&limit=1000")
        return next(event for event in page["items"] if event["subjectId"] == made["id"])

    async def _endpoint(self, variant: str) -> dict[str, Any]:
        path, document = "/api/admin/signal-endpoints", {"name": self.endpoint_name(variant)}
        made = await self._makers[variant].post(path, document, expect=201)
        opener = await self._makers[variant].post(f"{path}/{made['id']}/tokens", {"name": "t"}, expect=201)
        return {**made, "token": opener["id"], "value": opener["token"]}

    async def _call(self, variant: str) -> dict[str, Any]:
        made = await self._endpoint(variant)
        called = await self.client.caller(made["value"]).post(f"/api/signal-endpoint/{made['name']}", {}, expect=200)
        signal = await recorded(self.client, called["signals"][0]["id"])
        return {**made, "signal": signal["id"]}


def basic(user: str) -> dict[str, str]:
    """Return the header with which a user signs in."""
    return {"Authorization": "Basic " + b64encode(f"{user}:{PASSWORD}".encode()).decode()}


def webhook() -> dict[str, Any]:
    """Return a target."""
    return {"kind": "webhook", "url": NOWHERE}
