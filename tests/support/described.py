"""The API as `/openapi.json` describes it, to compare answers with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator

EVERYWHERE = {
    *("cache-control", "connection", "content-length", "content-type", "date", "server", "transfer-encoding"),
    "x-content-type-options",
}
"""Headers of all answers, which are described for none."""


class Described:
    """Reads the OpenAPI *document*."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self._paths = {path: re.compile(re.sub(r"\{\w+\}", "[^/]+", path)) for path in document["paths"]}

    def operations(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Yield (method, path, operation) of each operation."""
        for path, methods in self.document["paths"].items():
            for method, operation in methods.items():
                yield method.upper(), path, operation

    def names_of_headers(self) -> set[str]:
        """Return the names of all headers of answers."""
        operations = (operation for _, _, operation in self.operations())
        answers = (answer for operation in operations for answer in operation["responses"].values())
        return {name for answer in answers for name in self.resolved(answer).get("headers", {})}

    def resolved(self, part: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what *part* refers to, or *part* itself."""
        if set(part) != {"$ref"}:
            return part
        found: Any = self.document
        for name in part["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        return found

    def validate(self, schema: Mapping[str, Any], document: object) -> None:
        """Check that *document* is valid by *schema*."""
        whole = {**schema, "components": self.document["components"]}
        Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(document)

    def examples(self, operation: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Yield the content type and each example of the bodies that *operation* takes."""
        for content_type, content in operation.get("requestBody", {"content": {}})["content"].items():
            if content["schema"]:
                for document in self.resolved(content["schema"])["examples"]:
                    yield content_type, document

    def check(self, method: str, path: str, status: int, headers: Mapping[str, str], body: Any) -> None:
        """Check that an answer is described: its *status* for the operation that the path fits best, and all of it."""
        content = self._response(method, path, status).get("content", {})
        self.check_headers(method, path, status, headers)
        assert (body != b"") == bool(content), (method, path, status, body)
        if content:
            [(media, described)] = content.items()
            assert headers["Content-Type"].partition(";")[0] == media, (method, path, status)
            if "schema" in described:
                self.validate(described["schema"], body)

    def check_headers(self, method: str, path: str, status: int, headers: Mapping[str, str]) -> None:
        """Check that *headers* has only what is described for such an answer, and all that is always there."""
        response, where = self._response(method, path, status), (method, path, status)
        described = {name.lower(): self.resolved(header) for name, header in response.get("headers", {}).items()}
        seen = {name.lower(): value for name, value in headers.items()}
        assert seen.keys() - EVERYWHERE <= described.keys(), (where, seen)
        assert {name for name, header in described.items() if header["required"]} <= seen.keys(), (where, seen)
        for name, header in described.items():
            if name in seen:
                is_whole = header["schema"].get("type") == "integer"
                self.validate(header["schema"], int(seen[name]) if is_whole else seen[name])

    def _response(self, method: str, path: str, status: int) -> Mapping[str, Any]:
        known = path.partition("?")[0]
        route = known if known in self._paths else next(r for r, regex in self._paths.items() if regex.fullmatch(known))
        responses = self.document["paths"][route][method.lower()]["responses"]
        assert str(status) in responses, (method, path, status)
        return self.resolved(responses[str(status)])
