"""The ways in which a webhook fails without an answer that counts."""

from __future__ import annotations

from broker.deliveries import Outcome


class Failure(Exception):
    """Raised when a request has no answer.

    Args:
        text: One sentence for the operator, without the URL.
        outcome: How the attempt ended.
    """

    def __init__(self, text: str, outcome: Outcome = Outcome.UNREACHABLE) -> None:
        super().__init__(text)
        self.outcome = outcome


class Stale(Failure):
    """Raised when a connection gave nothing that is an answer to this request, but another connection may."""
