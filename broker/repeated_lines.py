"""The log lines of what is tried again and again: the first ones, and then one a minute, however often it fails.

While PostgreSQL or RabbitMQ is away, a process tries many times a second to go on. One caller, receiver or program that
publishes what is no signal can cause a failure for each of its requests or messages. Without this, either would fill
the log, and bury in it what else happens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

_TRIES = (".postponed", ".refused", ".lost", ".failed")
"""How the events of tries end."""
_OF_EACH: Mapping[str, Sequence[str]] = {
    "attempt.failed": (),
    "attempts.left": ("queue",),
    "body.ignored": ("endpoint",),
    "handler.failed": ("function", "raised"),
    "ledger.incomplete": (),
    "message.failed": ("queue",),
    "message.poisoned": ("queue",),
    "message.postponed": ("queue",),
    "message.rejected": ("queue",),
    "message.unpublished": (),
    "messages.returned": ("queue",),
    "request.failed": ("method", "route", "fault"),
    "request.unstored": ("method", "route", "fault"),
    "sample.failed": (),
    "tail.lagged": ("principal",),
    "tap.rejected": ("exchange",),
    "tracing.dropped": ("most",),
    "user.locked": ("user", "address"),
    "webhook.resent": ("host",),
}
"""Lines that are about a signal, a message, an attempt or a request and are thinned out all the same, since one fault
repeats them for each; with the members that tell faults apart."""
_ONCE = ("request.", "message.", "delivery.", "signals.")
"""How those begin that are about other things each time: these have limits of their own, or none."""
_IDS = ("signal_id", "delivery_id", "subscription_id")
"""What such lines have as well."""
_ABOUT = ("step", "channel", "queue", "link", "host", "exchange", "endpoint", "app", "check")
"""The members that say what is tried, in other lines."""
_AT_ONCE = 3
"""How many lines there are before they are thinned out."""
_EVERY = 60.0
_QUIET = 15.0
"""Seconds without a failure after which the next one is news."""
_MOST = 1000
"""How many kinds of failures are told apart."""


@dataclass(slots=True)
class _Series:
    """Failures of one kind that came soon after each other."""

    lines: int = 0
    logged_at: float = 0.0
    failed_at: float = 0.0
    unlogged: int = 0


class RepeatedLines:
    """A processor of structlog that thins out failures; ``unlogged`` of the next line says how many were left out.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._series: dict[tuple[object, ...], _Series] = {}

    def __call__(self, _logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        """Return *event*, or raise `structlog.DropEvent`."""
        name = str(event["event"])
        is_try = name.endswith(_TRIES) and not name.startswith(_ONCE) and event.keys().isdisjoint(_IDS)
        about = _OF_EACH.get(name, _ABOUT if is_try else None)
        if about is None:
            return event
        if len(self._series) >= _MOST:
            self._series.clear()
        series = self._series.setdefault((name, *(str(event.get(member)) for member in about)), _Series())
        now = self._clock()
        if now - series.failed_at > _QUIET:
            series.lines = 0
        series.failed_at = now
        if series.lines >= _AT_ONCE and now - series.logged_at < _EVERY:
            series.unlogged += 1
            raise structlog.DropEvent
        series.lines += 1
        series.logged_at = now
        if series.unlogged:
            event["unlogged"], series.unlogged = series.unlogged, 0
        return event
