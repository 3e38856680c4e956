"""The options that say how long a token, or its earlier value, is good."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import ParamSpec, TypeVar

import click

from broker.moments import show_moment

P = ParamSpec("P")
R = TypeVar("R")

_DURATION = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Duration(click.ParamType[timedelta]):
    """A number and its unit, as in ``90d``, ``12h``, ``30m`` or ``45s``."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Return the duration that *value* says."""
        if isinstance(value, timedelta):
            return value
        found = _DURATION.fullmatch(str(value))
        if found is None:
            self.fail(
                f"{value!r} is not a number with a unit, like 90d, 12h, 30m or 45s, of a sensible size", param, ctx
            )
        return timedelta(**{_UNITS[found[2]]: int(found[1])})


_EXPIRY = (
    click.option("--expires-at", metavar="MOMENT", help="When it expires, like 2027-01-31T00:00:00Z; else never."),
    click.option("--expires-in", metavar="DURATION", type=Duration(), help="The same as a duration: 90d, 12h, 30m."),
)

with_overlap = click.option(
    "--overlap",
    metavar="DURATION",
    type=Duration(),
    default="1d",
    show_default=True,
    help="How long the earlier value stays good: 7d at most; 0s ends it at once.",
)
"""The option of a rotation."""


def with_expiry(command: Callable[P, R]) -> Callable[P, R]:
    """Give *command* the options that say when a token expires: ``expires_at`` and ``expires_in``."""
    for option in reversed(_EXPIRY):
        command = option(command)
    return command


def choose_expiry(expires_at: str | None, expires_in: timedelta | None) -> str | None:
    """Return the moment that the options give, None if they give none.

    Raises:
        UsageError: Both are given.
    """
    if expires_in is None:
        return expires_at
    if expires_at is not None:
        raise click.UsageError("pass --expires-at or --expires-in, not both")
    return show_moment(datetime.now(UTC) + expires_in)
