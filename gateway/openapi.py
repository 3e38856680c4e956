"""The OpenAPI description, generated from the routes and their pydantic models."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from broker.integers import MAX_ID
from gateway.answer_headers import CHALLENGE, ENCODINGS, RETRY_AFTER, AnswerHeader
from gateway.definitions import define, portable
from gateway.dialects import Dialect, dialect_of
from gateway.routes import OpenRoute, Parameter, Route, SecuredRoute
from gateway.sessions import NAME

ENDPOINT_TOKEN = "endpointToken"  # noqa: S105  (the name of a scheme)
SESSION = "session"
TAGS = {
    "signals": "Throw signals, follow and find them.",
    "subscriptions": "Standing requests for signals, and where they deliver.",
    "deliveries": "What subscriptions are owed, and the attempts at it.",
    "leases": "Deliveries to pull targets: leased, and what is said of them afterwards.",
    "cloudevents": "Throw signals as CloudEvents.",
    "webhook-keys": "The public keys that webhooks are signed with.",
    "webhook-permissions": "The callback by which receivers permit webhooks.",
    "ledger": "The books: whether all that is owed is accounted for.",
    "stats": "What happened, step by step.",
    "events": "What operators are to know of.",
    "audit": "Who changed what.",
    "tokens": "API tokens.",
    "users": "Users, who sign in with a name and a password.",
    "quotas": "How much tenants and tokens may use.",
    "session": "Signing in with a browser.",
    "camunda": "Signals as in the REST API of Camunda 7.",
    "camunda8": "Signals as in the REST API of Camunda 8.",
    "unleash": "Signal endpoints as in Unleash.",
    "operations": "Probes, metrics, the console and descriptions of the API.",
}
"""The groups of operations, and what they are about."""
REFUSALS = {
    400: "The request itself is wrong.",
    401: "There are no valid credentials.",
    403: "The caller is known and may not do this.",
    404: "There is no such thing, or the caller may not see it.",
    406: "The caller takes no answer in the form that this path has.",
    408: "The request took too long to arrive.",
    409: "The request conflicts with the present state.",
    413: "The body is over its limit.",
    415: "The body is in a format that this path does not read.",
    417: "The header `Expect` asks for something else than `100-continue`.",
    429: "The caller has reached its rate limit, or used what it may.",
    500: "The server itself has failed, or (Camunda 7) the engine refuses the values.",
    503: "This cannot be answered now; no request answered with 2xx is affected.",
    508: "The throw seems to be one of a loop of throws without end.",
}
"""The statuses of errors, and what they mean."""
_ALWAYS = {400, 500, 503}
_TO_CALLERS = {401, 403, 429}
_TO_BODIES = {408, 413, 415, 417}
_TO_THROWS = {409, 429, 508}
_HEADERS = {401: (CHALLENGE,), 415: (ENCODINGS,), 429: (RETRY_AFTER,), 503: (RETRY_AFTER,)}
"""The headers of errors, by their status."""
_HERE = "/"

_IN_PATH = re.compile(r"\{(\w+)\}")
_ID = {"type": "integer", "minimum": 0, "maximum": MAX_ID}
_OF_PATHS = {
    "id": Parameter("id", "The id.", _ID, "path"),
    "token": Parameter("token", "The token's id.", _ID, "path"),
}


def describe(routes: Sequence[Route], dialects: Sequence[Dialect], *, version: str, server: str = "") -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of *routes*, each with the error form of its dialect.

    *server* is the URL that their paths are below, if it is known.
    """
    models = {dialect.error for dialect in dialects} | {model for route in routes for model in _models(route)}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, dialect_of(route.path, dialects))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "signal-broker",
            "version": version,
            "summary": "Throw a signal once; every subscriber gets it.",
            "description": "A signal is a named fact. Subscriptions deliver it to webhooks, queues and handlers, and to"
            " workers that pull it. Every answer has `Cache-Control`, `Server` and `X-Content-Type-Options`, and the"
            " headers of CORS if the settings name origins; the other headers are described with each answer.",
            "license": {"name": "Apache 2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "servers": [{"url": server or _HERE, "description": "This server."}],
        "tags": [{"name": name, "description": about} for name, about in TAGS.items()],
        "paths": portable(paths),
        "components": {
            "schemas": portable(define(models, "#/components/schemas/{model}")),
            "responses": {
                _refusal_name(status, dialect): _refusal(status, dialect)
                for dialect in dialects
                for status in sorted(_shared_refusals(routes, dialects)[dialect.name])
            },
            "headers": {header.component: _header(header) for header in _used_headers(routes, dialects)},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API token, or one of the issuer (OpenID Connect) in the settings.",
                },
                "user": {"type": "http", "scheme": "basic", "description": "A user's name and password."},
                ENDPOINT_TOKEN: {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "A signal endpoint's token, with or without `Bearer` before it.",
                },
                SESSION: {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": NAME,
                    "description": "The session of a browser, for every path below `/v1`. Over https the name begins"
                    " with `__Host-` or `__Secure-`. Requests that may change something also need `X-CSRF-Token`.",
                },
            },
        },
    }


def _models(route: Route) -> Iterator[type[BaseModel]]:
    if route.request is not None:
        yield route.request
    yield from filter(None, route.bodies.values())
    for answer in route.answers.values():
        if answer is not None and not isinstance(answer, str):
            yield answer


def _operation(route: Route, dialect: Dialect) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.operation_id,
        "summary": route.summary,
        "description": _description(route),
        "tags": [_group(route.path, dialect)],
        "parameters": [_parameter(parameter) for parameter in _parameters(route)],
        "responses": {
            str(status): _answer(answer, (*route.headers.get(status, ()), *route.further_headers))
            for status, answer in route.answers.items()
        },
    }
    operation["security"] = _security(route)
    for status in sorted(_refusals(route, dialect) - set(route.answers)):
        shared = {"$ref": f"#/components/responses/{_refusal_name(status, dialect)}"}
        own = _refusal(status, dialect, route.further_headers) if route.further_headers else shared
        operation["responses"][str(status)] = own
    operation["responses"]["default"] = {
        "description": "What the server answers before it knows the path, such as 431.",
        "content": _content(dialect.error, dialect.error_type),
    }
    if bodies := _bodies(route):
        operation["requestBody"] = {"required": not route.may_be_bare, "content": bodies}
    return operation


def _refusals(route: Route, dialect: Dialect) -> set[int]:
    """Return the statuses of the errors that *route* is answered with; any other one comes before it is known."""
    if not dialect.owns(route.path):
        return set(route.refusals)
    found = {*_ALWAYS, *route.refusals}
    if _security(route):
        found |= _TO_CALLERS
    if _IN_PATH.search(route.path):
        found.add(404)
    if route.request is not None or route.bodies:
        found |= _TO_BODIES | ({406} if dialect.checks_accept else set())
    return found | _TO_THROWS if route.throws else found


def _shared_refusals(routes: Sequence[Route], dialects: Sequence[Dialect]) -> dict[str, set[int]]:
    """Return the statuses of the errors that routes of each dialect share the description of."""
    shared: dict[str, set[int]] = {dialect.name: set() for dialect in dialects}
    for route in routes:
        if not route.further_headers:
            dialect = dialect_of(route.path, dialects)
            shared[dialect.name] |= _refusals(route, dialect) - set(route.answers)
    return shared


def _used_headers(routes: Sequence[Route], dialects: Sequence[Dialect]) -> list[AnswerHeader]:
    """Return the headers of all answers, each once, by their names."""
    found = {header.name: header for route in routes for header in route.further_headers}
    for route in routes:
        refusals = _refusals(route, dialect_of(route.path, dialects)) - set(route.answers)
        answers = [*route.headers.values(), *(_HEADERS.get(status, ()) for status in refusals)]
        found |= {header.name: header for headers in answers for header in headers}
    return [found[name] for name in sorted(found)]


def _refusal_name(status: int, dialect: Dialect) -> str:
    return dialect.name.capitalize() + "".join(filter(str.isalpha, HTTPStatus(status).phrase.title()))


def _refusal(status: int, dialect: Dialect, further: tuple[AnswerHeader, ...] = ()) -> dict[str, Any]:
    headers = _headers((*_HEADERS.get(status, ()), *further))
    if status == HTTPStatus.UNAUTHORIZED and dialect.bare_401:
        return {"description": f"{REFUSALS[status]} No body.", **headers}
    return {"description": REFUSALS[status], **headers, "content": _content(dialect.error, dialect.error_type)}


def _bodies(route: Route) -> dict[str, Any]:
    """Return the bodies that *route* takes, by content type."""
    content = {} if route.request is None else _content(route.request)
    for content_type, model in route.bodies.items():
        content |= {content_type: {"schema": {}}} if model is None else _content(model, content_type)
    return content


def _parameters(route: Route) -> list[Parameter]:
    """Return the parameters of *route*, those in its path first."""
    own = {parameter.name: parameter for parameter in route.parameters if parameter.location == "path"}
    in_path = [own.get(name) or _OF_PATHS[name] for name in _IN_PATH.findall(route.path)]
    return in_path + [parameter for parameter in route.parameters if parameter.location != "path"]


def _description(route: Route) -> str:
    text = inspect.cleandoc(route.handler.__doc__ or "")
    if isinstance(route, SecuredRoute) and (route.permissions or route.alternatives):
        needed = [f"`{permission.value}`" for permission in route.permissions]
        if route.alternatives:
            needed.append(" or ".join(f"`{permission.value}`" for permission in route.alternatives))
        text += f"\n\nPermission needed: {' and '.join(needed)}."
    return text


def _security(route: Route) -> list[dict[str, list[str]]]:
    """Return what opens *route*; beside each scheme, as OpenAPI 3.1 has it, the permissions that are needed."""
    if isinstance(route, SecuredRoute):
        needed = [permission.value for permission in route.permissions]
        ways = [[*needed, one.value] for one in route.alternatives] or [needed]
        return [{scheme: permissions} for permissions in ways for scheme in ("token", "user")]
    return [{route.credentials: []}] if isinstance(route, OpenRoute) and route.credentials else []


def _group(path: str, dialect: Dialect) -> str:
    if not dialect.owns(path):
        return "operations"
    if path.endswith("/lease"):
        return "leases"
    return path.split("/")[2] if path.startswith("/v1/") else dialect.name


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.location,
        "required": parameter.location == "path",
        "description": parameter.meaning,
        **(_family(parameter) if parameter.is_family else {"schema": dict(parameter.schema)}),
    }


def _family(parameter: Parameter) -> dict[str, Any]:
    """Return how a family is described: as an object whose members are parameters of the query, each of its own."""
    named = {"pattern": f"^{re.escape(parameter.name.removesuffix('*'))}"}
    schema = {"type": "object", "propertyNames": named, "additionalProperties": dict(parameter.schema)}
    return {"style": "form", "explode": True, "schema": schema}


def _answer(answer: type[BaseModel] | str | None, headers: tuple[AnswerHeader, ...]) -> dict[str, Any]:
    described = _headers(headers)
    if answer is None:
        return {"description": "No body.", **described}
    if isinstance(answer, str):
        return {"description": "The body, in this content type.", **described, "content": {answer: {}}}
    return {"description": (answer.__doc__ or "").strip(), **described, "content": _content(answer)}


def _headers(headers: tuple[AnswerHeader, ...]) -> dict[str, Any]:
    described = {header.name: {"$ref": f"#/components/headers/{header.component}"} for header in headers}
    return {"headers": described} if described else {}


def _header(header: AnswerHeader) -> dict[str, Any]:
    return {
        "description": header.meaning,
        "required": header.is_certain,
        "schema": {**header.schema, "examples": [header.example]},
    }


def _content(model: type[BaseModel], content_type: str = "application/json") -> dict[str, Any]:
    return {content_type: {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}
