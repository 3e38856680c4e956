"""Quotas of tenants and tokens."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from broker.integers import MAX_ID
from broker.schematypes import WHOLE, PerSecond, Schema

_Number = Annotated[int, Field(ge=0, le=2**31 - 1), WHOLE]


class QuotaRequest(Schema):
    """How much a tenant or a token may use; what is null or left out has no limit."""

    throws_per_second: PerSecond | None = Field(None, description="Throws a second, over all gateways.")
    subscriptions: _Number | None = Field(
        None, description="Subscriptions that there may be, of the tenant or made by the token."
    )
    deliveries_per_throw: _Number | None = Field(
        None, description="Subscriptions that a signal may be for, by its name and scope, whatever their filters are."
    )
    payload_bytes_per_day: Annotated[int, Field(ge=0, le=MAX_ID), WHOLE] | None = Field(
        None, description="Bytes of all payloads of a day (UTC)."
    )


class QuotaSchema(QuotaRequest):
    """The quota of a tenant or a token."""

    kind: Literal["tenants", "tokens"] = Field(description="Whose quota it is.")
    id: str = Field(description="The tenant, or the token's number.")


class QuotaPage(Schema):
    """A page of quotas; `next` is the `after` of the next page."""

    items: list[QuotaSchema] = Field(description="The items of the page, in the order that was asked for.")
    next: str | None = Field(description="`afterId` of the next page; null if there is none.")
