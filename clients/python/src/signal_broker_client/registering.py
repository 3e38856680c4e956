"""Subscriptions of handlers: found again by the app's and the handler's name, or made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from .async_client import AsyncClient
from .calls import WrongHandler, argument_of
from .documents import Subscription
from .errors import Refused
from .requests import patch, post

_TARGET = {"kind": "pull"}


async def register(
    client: AsyncClient, app: str, name: str, fixed: Mapping[str, object], options: Mapping[str, object]
) -> int:
    """Return the id of the subscription of the handler *name* of *app*, with *options* as they are in the code.

    It is the pull subscription with the handler's *fixed* members and with its name as the description. Members are
    spelled as in the API. Processes that start at the same time get the same one. A server that does not answer is
    waited for.

    Raises:
        WrongHandler: The server refuses what the decorator asks for.
        Refused: The server refuses the token, or does not let it subscribe.
    """
    wanted = {**fixed, **options, "description": f"{app}/{name}", "target": _TARGET}
    try:
        asked = post("/v1/subscriptions?ifAbsent=true", wanted, persistent=True, members={"id": int})
        found = cast(Subscription, await client.send(asked))["id"]
        await client.send(patch(f"/v1/subscriptions/{found}", options, persistent=True))
    except Refused as refused:
        raise _wrong(name, refused) from refused
    return found


def _wrong(name: str, refused: Refused) -> Exception:
    """Return the error of the decorator, if it is the decorator's."""
    if refused.status != 400 or "errors" not in refused.problem:
        return refused
    first = refused.problem["errors"][0]
    return WrongHandler(f"handler {name}: {argument_of(*first['pointer'].split('/')[1:])}: {first['detail']}")
