"""Every error the client raises on purpose.

ClientError
+-- Refused          the server refused the request: repeating it changes nothing
+-- Unavailable      the server did not answer, or asked to come back, for as long as the client is patient
+-- Unreadable       the answer is none that a signal-broker gives
+-- InvalidWebhook   a request is no webhook of this subscription
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from .documents import FieldProblem, Problem


class ClientError(Exception):
    """The root of this tree."""


class Refused(ClientError):
    """Raised when the server refuses a request; the message names the field, what was wrong, and what is allowed.

    Args:
        status: The HTTP status.
        problem: The server's problem document (RFC 9457); members that do not have their type are left out.
    """

    def __init__(self, status: int, problem: Mapping[str, object]) -> None:
        problem = _readable(problem)
        wrong = [f"{one['pointer'] or 'the document'}: {one['detail']}" for one in problem.get("errors", [])]
        told = "; ".join(wrong) or problem.get("detail") or problem.get("title") or "the answer does not say why"
        super().__init__(f"{status}: {told}")
        self.status = status
        self.problem = problem


class Unavailable(ClientError):
    """Raised when no answer came in time. A throw may have been accepted; repeat it under the same key."""


class Unreadable(ClientError):
    """Raised when an answer is none that a signal-broker gives; what was asked for may have been done."""


class InvalidWebhook(ClientError):
    """Raised when a request has no valid signature, is too old, or is from the future."""


def _readable(document: Mapping[str, object]) -> Problem:
    """Return the members of *document* that a problem has, if they have their type."""
    kinds = {"type": str, "title": str, "status": int, "detail": str}
    problem = {name: document[name] for name, kind in kinds.items() if isinstance(document.get(name), kind)}
    errors = document.get("errors")
    if isinstance(errors, list) and (fields := [one for one in errors if _is_field_problem(one)]):
        problem["errors"] = cast(list[FieldProblem], fields)
    return cast(Problem, problem)


def _is_field_problem(one: object) -> bool:
    return isinstance(one, dict) and all(isinstance(one.get(name), str) for name in ("pointer", "detail"))
