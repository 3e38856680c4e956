"""The OpenAPI description, generated from the routes and their pydantic models."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from broker.integers import MAX_ID
from gateway.dialects import Dialect, dialect_of
from gateway.routes import OpenRoute, Parameter, Route, SecuredRoute
from gateway.sessions import NAME

ENDPOINT_TOKEN = "endpointToken"  # noqa: S105  (the name of a scheme)
SESSION = "session"

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
    ordered = sorted(models, key=lambda model: model.__name__)
    _, definitions = models_json_schema(
        [(model, "validation") for model in ordered], ref_template="#/components/schemas/{model}"
    )
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, dialect_of(route.path, dialects))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "signal-broker",
            "version": version,
            "summary": "Throw a signal once; every subscriber gets it.",
        },
        **({"servers": [{"url": server}]} if server else {}),
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API token, or one of the issuer (OpenID Connect) in the settings.",
                },
                "user": {"type": "http", "scheme": "basic", "description": "A user's name and password."},
                ENDPOINT_TOKEN: {"type": "http", "scheme": "bearer", "description": "A signal endpoint's token."},
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
        "responses": {str(status): _answer(answer) for status, answer in route.answers.items()},
    }
    operation["security"] = _security(route)
    if operation["security"] or route.request is not None:
        if dialect.bare_401:
            operation["responses"]["401"] = {"description": "There are no valid credentials. No body."}
        operation["responses"]["default"] = {
            "description": (dialect.error.__doc__ or "").strip(),
            "content": _content(dialect.error, dialect.error_type),
        }
    if route.request is not None:
        operation["requestBody"] = {"required": not route.may_be_bare, "content": _content(route.request)}
    return operation


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


def _answer(answer: type[BaseModel] | str | None) -> dict[str, Any]:
    if answer is None:
        return {"description": "No body."}
    if isinstance(answer, str):
        return {"description": "The body, in this content type.", "content": {answer: {}}}
    return {"description": (answer.__doc__ or "").strip(), "content": _content(answer)}


def _content(model: type[BaseModel], content_type: str = "application/json") -> dict[str, Any]:
    return {content_type: {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}
