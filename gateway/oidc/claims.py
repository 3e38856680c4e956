"""What the claims of a token make its caller: its name, its permissions and its limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker.access import Permission, Principal
from broker.errors import InvalidField
from broker.names import check_id
from broker.settings import Settings

Claims = Mapping[str, Any]

NAME = "jwt:"
"""What the names of these principals begin with, and so their keys: no user's name has a colon."""
EVERYTHING = "*"
"""The value of the claim of tenants that is no limit."""


def read_principal(claims: Claims, settings: Settings) -> Principal | None:
    """Return the principal that *claims* describe; None if its subject cannot name one.

    A limit whose claim is configured leaves nothing unless the claim is there.
    """
    try:
        subject = check_id(claims["sub"], "/sub")
    except InvalidField:
        return None
    permissions = _read_texts(claims, settings.oidc_permissions_claim, split=True)
    tenants = _read_limit(claims, settings.oidc_tenants_claim)
    untenanted = settings.oidc_untenanted_claim
    return Principal(
        name=NAME + subject,
        permissions=frozenset(permission for permission in Permission if permission.value in permissions),
        names=_read_limit(claims, settings.oidc_names_claim),
        tenants=None if tenants is not None and EVERYTHING in tenants else tenants,
        queues=_read_limit(claims, settings.oidc_queues_claim),
        untenanted=bool(untenanted) and find_claim(claims, untenanted) is True,
    )


def find_claim(claims: Claims, name: str) -> object:
    """Return the claim of that *name*, or the one that its dots lead to (``realm_access.roles``); None without it."""
    if name in claims:
        return claims[name]
    found: object = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _read_limit(claims: Claims, name: str) -> tuple[str, ...] | None:
    return _read_texts(claims, name) if name else None


def _read_texts(claims: Claims, name: str, *, split: bool = False) -> tuple[str, ...]:
    """Return the texts of a claim: a list of them, a single one, or words of one if it is to be *split*."""
    value = find_claim(claims, name)
    if isinstance(value, str):
        return tuple(value.split()) if split else (value,)
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()
