"""Every error the client raises on purpose.

ClientError
+-- Refused          the server refused the request: repeating it changes nothing
+-- Unavailable      the server did not answer, or asked to come back, for as long as the client is patient
+-- InvalidWebhook   a request is no webhook of this subscription
"""

from __future__ import annotations

from .documents import Problem


class ClientError(Exception):
    """The root of this tree."""


class Refused(ClientError):
    """Raised when the server refuses a request; the message names the field, what was wrong, and what is allowed.

    Args:
        status: The HTTP status.
        problem: The server's problem document (RFC 9457).
    """

    def __init__(self, status: int, problem: Problem) -> None:
        wrong = [f"{one['pointer'] or 'the document'}: {one['detail']}" for one in problem.get("errors", [])]
        super().__init__(f"{status}: {'; '.join(wrong) or problem.get('detail') or problem.get('title', '')}")
        self.status = status
        self.problem = problem


class Unavailable(ClientError):
    """Raised when no answer came in time. A throw may have been accepted; repeat it under the same key."""


class InvalidWebhook(ClientError):
    """Raised when a request has no valid signature, is too old, or is from the future."""
