"""How a call of a handler ends, and what its function may raise."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import timedelta


class WrongHandler(Exception):
    """Raised when a function is not the handler that its decorator describes; the message names the function."""


class TryLater(Exception):
    """Raise it in a handler to delay the next attempt. This attempt counts as failed.

    Args:
        after: The least time until the next attempt, up to 24 hours; the handler's `retry` may make it longer.
        why: A note for people, shown with the attempt.
    """

    def __init__(self, after: timedelta, why: str = "") -> None:
        super().__init__(why)
        self.after = max(after, timedelta())


class GiveUp(Exception):
    """Raise it in a handler, with the reason, if another attempt would be useless: the delivery is dead at once."""


class Outcome(enum.StrEnum):
    """How a call ended."""

    SUCCEEDED = "succeeded"
    """The function returned."""
    REFUSED = "refused"
    """It raised an exception, or the payload does not have its type."""
    THROTTLED = "throttled"
    """It raised `TryLater`."""
    GIVEN_UP = "given_up"
    """It raised `GiveUp`."""
    TIMED_OUT = "timed_out"
    """It did not end in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of a call.

    Args:
        outcome: How it ended.
        error: One line for people, where it did not succeed.
        retry_after: How long the function wants no further attempt.
        exception: What the function raised, if it raised anything but `TryLater` and `GiveUp`.
    """

    outcome: Outcome
    error: str | None = None
    retry_after: timedelta | None = None
    exception: BaseException | None = None
