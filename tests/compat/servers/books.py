"""The record of deliveries against what their receiver counted, request by request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from broker.deliveries import Attempt, DeliveryState, Outcome


@dataclass(frozen=True, kw_only=True)
class Books:
    """What the record and the receiver say, once all is settled.

    Args:
        owed: The ids of all deliveries that there must be.
        states: Each delivery's state, by its id.
        attempts: Each delivery's attempts in order, by its id.
        requests: How often the receiver got each ``webhook-id`` with each attempt.
    """

    owed: Sequence[str]
    states: Mapping[str, DeliveryState]
    attempts: Mapping[str, Sequence[Attempt]]
    requests: Counter[tuple[str, int]]

    @property
    def counted(self) -> int:
        """How many requests the receiver got."""
        return self.requests.total()

    @property
    def outcomes(self) -> Counter[str]:
        """How many attempts did not succeed, by their outcomes."""
        return Counter(
            attempt.result.outcome.value
            for attempts in self.attempts.values()
            for attempt in attempts
            if attempt.result.outcome is not Outcome.SUCCEEDED
        )

    @property
    def resent(self) -> int:
        """In how many attempts the request went out twice, as the record says."""
        return sum(_resent(attempt) for attempts in self.attempts.values() for attempt in attempts)

    @property
    def lost(self) -> list[str]:
        """What was not delivered, or is delivered and no request of its came, as sentences."""
        return list(self._find_lost())

    @property
    def unexplained(self) -> list[str]:
        """Which requests the record does not explain, as sentences."""
        return list(self._find_unexplained())

    def _find_lost(self) -> Iterator[str]:
        for webhook_id in self.owed:
            state = self.states.get(webhook_id)
            if state is not DeliveryState.DELIVERED:
                yield f"{webhook_id} is {state.value if state else 'missing'}"
            elif not any(
                self.requests[webhook_id, attempt.number]
                for attempt in self.attempts[webhook_id]
                if attempt.result.outcome is Outcome.SUCCEEDED
            ):
                yield f"{webhook_id} is delivered, but the receiver got no request of the attempt that succeeded"

    def _find_unexplained(self) -> Iterator[str]:
        attempts = {(key, attempt.number): attempt for key, made in self.attempts.items() for attempt in made}
        for (webhook_id, number), times in self.requests.items():
            attempt = attempts.get((webhook_id, number))
            if attempt is None:
                yield f"{webhook_id}: the receiver got an attempt {number} that is not in the record"
            elif times > 1 + _resent(attempt):
                yield f"{webhook_id}: the receiver got attempt {number} {times} times"
            elif not _is_connected(attempt):
                yield f"{webhook_id}: the receiver got attempt {number}, for which there was no connection"
        for webhook_id, made in self.attempts.items():
            if any(attempt.result.outcome is Outcome.SUCCEEDED for attempt in made[:-1]):
                yield f"{webhook_id} was attempted again after it had been delivered"


def _resent(attempt: Attempt) -> bool:
    exchange = attempt.result.exchange
    return exchange is not None and exchange.resent is not None


def _is_connected(attempt: Attempt) -> bool:
    """Return whether the record allows for the receiver to have got a request of *attempt*."""
    exchange = attempt.result.exchange
    interrupted = attempt.result.outcome is Outcome.INTERRUPTED
    return interrupted or (exchange is not None and (exchange.address is not None or exchange.resent is not None))
