"""The gateway's routes, as data: the application and the OpenAPI description are both made from them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web
from pydantic import BaseModel

from broker.access import Permission, Principal
from broker.signals import Source
from gateway.answer_headers import AnswerHeader

_ARTICLES = {"a", "an", "the"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PrincipalHandler = Callable[[web.Request, Principal], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """Something in a request besides its body. It is optional, unless it is in the path.

    Args:
        name: Its name.
        meaning: What it does, as a sentence.
        schema: Its JSON schema.
        location: Where in the request it is.
        is_family: Whether it stands for all whose names begin like its own, which ends in ``*``.
    """

    name: str
    meaning: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    location: Literal["query", "header", "path"] = "query"
    is_family: bool = False

    def stands_for(self, name: str) -> bool:
        """Return whether something of this *name* is the parameter, or one of its family."""
        return name.startswith(self.name.removesuffix("*")) if self.is_family else name == self.name


@dataclass(frozen=True, slots=True)
class Route:
    """One operation: a `SecuredRoute` or an `OpenRoute`.

    Args:
        method: HTTP method.
        path: With ``{parameters}``.
        handler: Answers it.
        summary: A few words, for the documentation.
        answers: The documented answers: status to model, to a content type, or to None for an answer without a body.
        request: The model of the body, if it has one.
        parameters: What it reads from query and headers; and from the path, if that is no id.
        throws: The source of the signals that it throws, if it does.
        aliases: Further paths that lead here; they are not described.
        may_be_bare: Whether the body may be left out.
        refusals: Statuses of errors that are not answered by all routes of its kind, such as 409.
        bodies: The bodies that it takes besides *request*, by content type; None is one without a model.
        headers: The headers of the documented answers, by status, without those that every answer of the gateway has.
        further_headers: Those that all of its answers may have, errors included.
    """

    method: str
    path: str
    handler: Callable[..., Awaitable[web.StreamResponse]]
    summary: str
    answers: Mapping[int, type[BaseModel] | str | None]
    request: type[BaseModel] | None = None
    parameters: tuple[Parameter, ...] = ()
    throws: Source | None = None
    aliases: tuple[str, ...] = ()
    may_be_bare: bool = field(default=False, kw_only=True)
    refusals: tuple[int, ...] = field(default=(), kw_only=True)
    bodies: Mapping[str, type[BaseModel] | None] = field(default_factory=dict, kw_only=True)
    headers: Mapping[int, tuple[AnswerHeader, ...]] = field(default_factory=dict, kw_only=True)
    further_headers: tuple[AnswerHeader, ...] = field(default=(), kw_only=True)

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path that leads here."""
        return (self.path, *self.aliases)

    @property
    def operation_id(self) -> str:
        """A stable id of the operation, for generated clients: its summary without articles, as a name."""
        first, *words = (word for word in self.summary.replace("'s", "").split() if word not in _ARTICLES)
        return first.lower() + "".join(word.capitalize() for word in words)


@dataclass(frozen=True, slots=True)
class SecuredRoute(Route):
    """An operation for principals: its handler is called once the caller is known and has the permissions.

    Args:
        permissions: All of them are needed. How and when they are checked is up to the path's dialect.
        alternatives: One of them is needed besides, if there are any.
        streams: Whether its answer has no end by itself, so that it takes no turn at reading.
    """

    handler: PrincipalHandler
    permissions: tuple[Permission, ...] = field(default=(), kw_only=True)
    alternatives: tuple[Permission, ...] = field(default=(), kw_only=True)
    streams: bool = field(default=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class OpenRoute(Route):
    """An operation that anyone may call, or that knows its callers by credentials of its own.

    Args:
        credentials: The security scheme of its own credentials, None if it needs none.
    """

    handler: Handler
    credentials: str | None = field(default=None, kw_only=True)
