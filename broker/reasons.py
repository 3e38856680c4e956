"""Reasons: what an exception says, in words even if it has no message of its own.

Many have none: a `TimeoutError` of asyncio, a connection that aiormq closed. Their texts are empty, or a class with
empty brackets, which tells an operator nothing.
"""

from __future__ import annotations

import asyncio
import re

_WORDS = re.compile("[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+")
_EMPTY = re.compile(r"\W*(?:<?[A-Z]\w*(?:Error|Closed|Exception)?:? ?\(\W*\)>?)?\W*")
"""What `str` makes of an exception without a message, or of one within another."""


def reason_of(error: BaseException) -> str:
    """Return what *error* says; of one without a message, what its class means."""
    text = str(error)
    return _in_words(error) if _EMPTY.fullmatch(text) else text


def named_reason_of(error: BaseException) -> str:
    """Return the class of *error* and what it says; of one without a message, what its class means."""
    text = str(error)
    return _in_words(error) if _EMPTY.fullmatch(text) else f"{type(error).__name__}: {text}"


def _in_words(error: BaseException) -> str:
    match error:
        case TimeoutError():
            return "did not answer in time"
        case asyncio.CancelledError():
            return "the wait for it was given up"
        case ConnectionRefusedError():
            return "the connection was refused"
        case ConnectionError() | EOFError():
            return "the connection was lost"
        case _:
            words = _WORDS.findall(type(error).__name__)
            return " ".join(word if word.isupper() and len(word) > 1 else word.lower() for word in words)
