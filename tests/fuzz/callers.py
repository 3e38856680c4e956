"""A caller that looks at every answer: no failure, no wait, and what the OpenAPI document says."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from jsonschema import Draft202012Validator

LONGEST = 1.0
"""The most seconds for an answer; one that takes longer does so whenever it is asked for, or the machine was busy."""
_TRIES = 4


class Answer(NamedTuple):
    """An answer: its JSON, if it has any, and its bytes."""

    status: int
    headers: Mapping[str, str]
    document: Any
    body: bytes


class Caller:
    """Calls one gateway on one connection. A context manager: leaving it closes the connection.

    Args:
        url: Where the gateway is.
        token: What it calls with.
    """

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        self.address = (parts.hostname or "", parts.port or 80)
        self.token = token
        self.count = 0
        self._connection = HTTPConnection(*self.address, timeout=30)
        self._api = self.send("GET", "/openapi.json").document
        self._paths = {path: re.compile(re.sub(r"\{\w+\}", "[^/]+", path)) for path in self._api["paths"]}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def send(self, method: str, path: str, document: object = None, **headers: str) -> Answer:
        """Send a request, with *document* as JSON, and return its answer, which took no longer than `LONGEST`."""
        body = None if document is None else json.dumps(document).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.send_bytes(method, path, body, {"Content-Type": "application/json", **named})

    def send_bytes(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        """Send a request with any *body*."""
        for _ in range(_TRIES):
            started = time.monotonic()
            answer = self._send(method, path, body, {"Authorization": f"Bearer {self.token}", **headers})
            took = time.monotonic() - started
            if took < LONGEST or (method == "DELETE" and path.startswith("/v1/signals/")):  # it waits for the record
                break
        else:
            raise AssertionError(f"{method} {path} took {took:.1f} s, {_TRIES} times")
        self.count += 1
        return answer

    def check(self, method: str, path: str, answer: Answer) -> Answer:
        """Return *answer*, which is no failure, and is described for that operation."""
        assert answer.status < 500, (method, path, answer)
        route = next((one for one, regex in self._paths.items() if regex.fullmatch(path.partition("?")[0])), None)
        operation = self._api["paths"].get(route, {}).get(method.lower())
        if operation is not None:
            answers = operation["responses"]
            described = answers.get(str(answer.status)) or answers["default"]
            if "$ref" in described:
                described = self._api["components"]["responses"][described["$ref"].rpartition("/")[2]]
            assert bool(answer.body) == ("content" in described), (method, path, answer)
            for media in described.get("content", {}).values():
                schema = {**media["schema"], "components": self._api["components"]}
                Draft202012Validator(schema).validate(answer.document)
        return answer

    def do(self, method: str, path: str, document: object = None, **headers: str) -> Answer:
        """Send a request and check its answer."""
        return self.check(method, path, self.send(method, path, document, **headers))

    def _send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        for is_last in (False, True):
            try:
                self._connection.request(method, path, body, dict(headers))
                response = self._connection.getresponse()
                content = response.read()
            except (HTTPException, ConnectionError, TimeoutError):  # a kept connection may be closed at any moment
                self._connection.close()
                if is_last:
                    raise
            else:
                break
        is_json = (response.getheader("Content-Type") or "").partition(";")[0].endswith("json")
        return Answer(response.status, response.headers, json.loads(content) if is_json and content else None, content)
