"""An exception without a message is told in words, never as an empty text or a class with empty brackets."""

from __future__ import annotations

import asyncio

import asyncpg  # noqa: TID251  (as above)
import pytest
from aiohttp import ServerDisconnectedError, ServerTimeoutError
from aiormq.exceptions import AMQPError, ConnectionClosed  # noqa: TID251  (whose errors have no messages)

from broker.reasons import named_reason_of, reason_of
from broker.store.postgres.database import _translate

SILENT = [
    (TimeoutError(), "did not answer in time"),
    (ServerTimeoutError(), "did not answer in time"),
    (asyncio.CancelledError(), "the wait for it was given up"),
    (asyncio.CancelledError(asyncio.CancelledError()), "the wait for it was given up"),
    (ConnectionRefusedError(), "the connection was refused"),
    (ConnectionResetError(), "the connection was lost"),
    (ConnectionClosed(), "the connection was lost"),
    (AMQPError(), "AMQP error"),
    (ValueError(""), "value error"),
    (OSError(), "OS error"),
    (RuntimeError(TimeoutError()), "runtime error"),
]


@pytest.mark.parametrize(("error", "words"), SILENT, ids=lambda one: repr(one)[:40])
def test_an_exception_without_a_message_is_told_in_words(error, words):
    assert reason_of(error) == words
    assert named_reason_of(error) == words


@pytest.mark.parametrize(
    "text", ["no route", "x", "(1,)", "Error: (5)", "ConnectionClosed: (320, 'CONNECTION_FORCED')"]
)
def test_a_message_stays_as_it_is(text):
    assert reason_of(ValueError(text)) == text
    assert named_reason_of(ValueError(text)) == f"ValueError: {text}"


def test_what_a_server_says_with_an_aiohttp_error_stays():
    assert reason_of(ServerDisconnectedError()) == "Server disconnected"


@pytest.mark.parametrize("error", [TimeoutError(), ConnectionResetError(), asyncpg.InterfaceError("")], ids=repr)
def test_no_failure_of_the_store_ends_with_a_colon(error):
    assert str(_translate(error)) in {
        "PostgreSQL: did not answer in time",
        "PostgreSQL: the connection was lost",
        "PostgreSQL: interface error",
    }
