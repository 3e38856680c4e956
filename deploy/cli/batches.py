"""``throw --batch``: a file of signals, one a line."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import Iterator
from functools import partial
from typing import BinaryIO

import click

from broker.access import ADMINISTRATOR
from broker.errors import InvalidField, SignalBrokerError
from broker.jsontext import read
from broker.operations.intake import Intake, open_intake
from broker.operations.throws import check_execution, read_item
from deploy.cli.admin import Admin
from deploy.cli.output import say, show_one

_CHUNK = 500
_CHUNK_BYTES = 8 << 20
"""Bytes of lines that fill a chunk."""


async def throw_lines(admin: Admin, file: BinaryIO, *, key: str | None, as_json: bool) -> None:
    """Throw the signal on each line of *file*; print how many were accepted, and on standard error the errors.

    With *key*, each line has an idempotency key, made from *key* and the number of the line, so that accepted signals
    are not thrown again.

    Raises:
        click.ClickException: Some signals were not accepted.
    """
    outcomes: list[int | str] = []
    async with admin.transport() as transport, open_intake(admin.database, transport, admin.settings) as intake:
        throw = _Thrower(intake, key, admin.settings.max_body_bytes).throw
        size = _size(file) if sys.stderr.isatty() else 0
        with click.progressbar(length=size or 1, label="Throwing", file=sys.stderr, hidden=not size) as bar:
            for chunk in _chunks(file):
                outcomes += await asyncio.gather(*(throw(number, line) for number, line in chunk))
                bar.update(sum(len(line) for _, line in chunk))
    ids = [outcome for outcome in outcomes if isinstance(outcome, int)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, str)]
    for reason in refused:
        say(reason, err=True)
    shown = {
        "accepted": len(ids),
        "refused": len(refused),
        "firstId": min(ids, default=None),
        "lastId": max(ids, default=None),
    }
    show_one(shown, *shown, as_json=as_json)
    if refused:
        raise click.ClickException(f"{len(refused)} of {len(outcomes)} signals were not accepted")


class _Thrower:
    """Throws lines."""

    def __init__(self, intake: Intake, key: str | None, limit: int) -> None:
        self._intake = intake
        self._key = key
        self._limit = limit

    async def throw(self, number: int, line: bytes) -> int | str:
        """Return the signal's id, or the reason why it was not accepted."""
        key = None if self._key is None else f"{self._key}/{number}"
        body = line.strip()
        try:
            if len(body) > self._limit:
                raise InvalidField("", f"has {len(body)} bytes; at most {self._limit} are allowed")
            throw, own_key = read_item(ADMINISTRATOR, read(body.decode()), body, key=key)
            accepted = await self._intake.accept(
                throw, key=own_key, check=partial(check_execution, ADMINISTRATOR, throw)
            )
        except (SignalBrokerError, ValueError) as error:
            return f"line {number}: {error}"
        return accepted.signal.id


def _chunks(file: BinaryIO) -> Iterator[list[tuple[int, bytes]]]:
    """Yield the lines of *file* that are not blank, with their numbers, as many at a time as are thrown together."""
    chunk, size = [], 0
    for number, line in enumerate(file, start=1):
        if line.strip():
            chunk.append((number, line))
            size += len(line)
        if len(chunk) == _CHUNK or size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _size(file: BinaryIO) -> int:
    """Return the size of *file* in bytes; 0 if it is unknown."""
    status = os.fstat(file.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else 0
