"""What an external task failed of: Camunda 7 tells a short message and, apart, its details."""

from __future__ import annotations

_LONGEST_MESSAGE = 666
"""Characters; Camunda 7 cuts a message there, too."""


def join_error(message: str | None, details: str | None, *, most: int) -> str | None:
    """Return the error of an attempt that failed with a *message* and *details*, cut to *most* characters."""
    return "\n".join(filter(None, (message, details)))[:most] or None


def error_message(error: str | None) -> str | None:
    """Return the message of the *error* of an attempt: its first line."""
    return None if error is None else error.partition("\n")[0][:_LONGEST_MESSAGE]


def error_details(error: str | None) -> str | None:
    """Return the details of the *error* of an attempt, if it has any: what follows its first line."""
    return None if error is None else error.partition("\n")[2] or None
