"""The OpenAPI description, generated from the routes and their pydantic models, and a page to read it on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.documents import Problem
from gateway.routes import Route

_PARAMETER = re.compile(r"\{(\w+)\}")


def describe(routes: Sequence[Route], *, version: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of *routes*."""
    models = {model for route in routes for model in (route.request, *route.answers.values()) if model} | {Problem}
    ordered = sorted(models, key=lambda model: model.__name__)
    _, definitions = models_json_schema(
        [(model, "validation") for model in ordered], ref_template="#/components/schemas/{model}"
    )
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "signal-broker",
            "version": version,
            "summary": "Throw a signal once; every subscriber gets it.",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.operation_id,
        "summary": route.summary,
        "description": (route.handler.__doc__ or "").strip(),
        "tags": [route.path.split("/")[2] if route.path.startswith("/v1/") else route.path.split("/")[1]],
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in _PARAMETER.findall(route.path)
        ]
        + [
            {"name": name, "in": "query", "description": meaning, "schema": {"type": "string"}}
            for name, meaning in (route.parameters or {}).items()
        ],
        "responses": {str(status): _answer(model) for status, model in route.answers.items()},
    }
    if route.path.startswith("/v1/"):
        operation["responses"]["default"] = {
            "description": "An error",
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    if route.request is not None:
        operation["requestBody"] = {"required": True, "content": _content(route.request)}
    if not route.secured:
        operation["security"] = []
    return operation


def _answer(model: type[BaseModel] | None) -> dict[str, Any]:
    if model is None:
        return {"description": "No body"}
    return {"description": (model.__doc__ or "").strip(), "content": _content(model)}


def _content(model: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}
