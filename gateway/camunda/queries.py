"""The query of ``GET /engine-rest/event-subscription``: filters, sorting and paging, as Camunda reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from broker.conversions import boolean
from broker.store.subscriptions.waiting import SubscriptionFilter
from gateway.camunda.errors import half_sorted, http_error, unsettable

_INTEGER = re.compile(r"[+-]?[0-9]+")
_ID = re.compile(r"[1-9][0-9]{0,17}")
_ORDERS = ("created", "tenantId")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The page that is asked for, and its order.

    Args:
        order: ``created`` or ``tenantId``; None is any order.
        descending: Whether the order is reversed.
        first: How many to skip.
        most: How many at most; None is no limit.
    """

    order: str | None
    descending: bool
    first: int
    most: int | None

    @property
    def is_empty(self) -> bool:
        """Whether it has no items whatever matches: a negative number is not an error in Camunda."""
        return self.first < 0 or (self.most is not None and self.most <= 0)


def read_filter(query: Mapping[str, str]) -> SubscriptionFilter | None:
    """Return which subscriptions are asked for; None if none can match.

    Raises:
        CamundaError: A flag is not a truth value.
    """
    without = _flag(query, "withoutTenantId")
    including = _flag(query, "includeEventSubscriptionsWithoutTenantId")
    if query.get("eventType", "signal") != "signal" or "activityId" in query:
        return None
    executions = {query[key] for key in ("executionId", "processInstanceId") if key in query}
    texts = [*executions, query.get("eventName", ""), query.get("tenantIdIn", "")]
    given_id = query.get("eventSubscriptionId")
    if len(executions) > 1 or any("\0" in text for text in texts) or (given_id and _ID.fullmatch(given_id) is None):
        return None
    return SubscriptionFilter(
        id=int(given_id) if given_id else None,
        name=query.get("eventName"),
        execution_id=executions.pop() if executions else None,
        tenants=() if without else tuple(filter(None, query.get("tenantIdIn", "").split(","))) or None,
        untenanted=without or including,
    )


def read_page(query: Mapping[str, str]) -> Page:
    """Return which page is asked for.

    Raises:
        CamundaError: 400 for an order that does not exist or is only half given, 404 for a number that is not one.
    """
    order, direction = query.get("sortBy"), query.get("sortOrder")
    for name, value, allowed in (("sortBy", order, _ORDERS), ("sortOrder", direction, ("asc", "desc"))):
        if value is not None and value not in allowed:
            raise unsettable(name, value)
    if (order is None) != (direction is None):
        raise half_sorted()
    return Page(
        order=order,
        descending=direction == "desc",
        first=_integer(query, "firstResult") or 0,
        most=_integer(query, "maxResults"),
    )


def _flag(query: Mapping[str, str], name: str) -> bool:
    value = query.get(name, "")
    try:
        return bool(boolean(value))
    except ValueError:
        raise unsettable(name, value, f"Cannot convert value {value} to java type java.lang.Boolean") from None


def _integer(query: Mapping[str, str], name: str) -> int | None:
    """JAX-RS answers a parameter that is not a Java int as if the path did not exist."""
    text = query.get(name, "")
    if not text:
        return None
    if _INTEGER.fullmatch(text) is None or not -(1 << 31) <= int(text) < 1 << 31:
        raise http_error(404)
    return int(text)
