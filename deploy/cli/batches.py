"""``throw --batch``: a file of signals, one a line."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import click

from broker.jsontext import read
from deploy.cli.api import Api
from deploy.cli.interrupts import finish
from deploy.cli.output import say, show_one
from deploy.cli.problems import ApiError, describe, is_refusal

_CHUNK = 500
_CHUNK_BYTES = 900_000
"""Bytes of lines that fill a request: gateways take a mebibyte, unless they are told otherwise."""

_Line = tuple[int, bytes]


@dataclass(slots=True)
class _Tally:
    """What has become of the lines.

    Args:
        accepted: How many signals were accepted.
        refusals: Why the others were not, by the numbers of their lines.
        ids: The least and the greatest id.
        line: The last line that was answered.
        asked: The last line that was asked for; those between are not answered.
        unanswered: How many signals are on these lines.
    """

    accepted: int = 0
    refusals: dict[int, str] = field(default_factory=dict)
    ids: tuple[int, int] | None = None
    line: int = 0
    asked: int = 0
    unanswered: int = 0

    def accept(self, signal_id: int) -> None:
        """Count an accepted signal."""
        least, most = self.ids or (signal_id, signal_id)
        self.accepted, self.ids = self.accepted + 1, (min(least, signal_id), max(most, signal_id))

    def answer(self, lines: Sequence[_Line]) -> None:
        """Note that the next *lines* were answered."""
        self.line, self.unanswered = lines[-1][0], self.unanswered - len(lines)

    def refuse_unanswered(self) -> None:
        """Note that nothing of what was asked for is accepted any more."""
        self.asked, self.unanswered = self.line, 0


async def throw_lines(api: Api, file: BinaryIO, *, key: str | None, as_json: bool) -> None:
    """Throw the signal on each line of *file*; print how many were accepted, and on standard error the errors.

    With *key*, each line has an idempotency key, made from *key* and the number of the line, so that accepted signals
    are not thrown again.

    Raises:
        click.ClickException: Some signals were not accepted.
        ApiError: The product stopped to answer; it was said how to go on.
    """
    tally = _Tally()
    size = _size(file) if sys.stderr.isatty() else 0
    try:
        with click.progressbar(length=size or 1, label="Throwing", file=sys.stderr, hidden=not size) as bar:
            for chunk in _chunks(file):
                waiting = f"waiting for the answer to lines {chunk[0][0]} to {chunk[-1][0]}"
                await finish(_throw(api, chunk, key, tally), f"\n{waiting}" if size else waiting)
                bar.update(sum(len(line) for _, line in chunk))
    except (asyncio.CancelledError, ApiError):
        _tell_refusals(tally)
        _tell_how_to_go_on(tally, key)
        raise
    _tell_refusals(tally)
    first, last = tally.ids or (None, None)
    shown = {"accepted": tally.accepted, "refused": len(tally.refusals), "firstId": first, "lastId": last}
    show_one(shown, *shown, as_json=as_json)
    if tally.refusals:
        total = tally.accepted + len(tally.refusals)
        raise click.ClickException(f"{len(tally.refusals)} of {total} signals were not accepted")


async def _throw(api: Api, chunk: Sequence[_Line], key: str | None, tally: _Tally) -> None:
    sound = [line for line in chunk if _check(line, tally)]
    tally.asked, tally.unanswered = chunk[-1][0], len(sound)
    await _throw_sound(api, sound, key, tally)
    tally.line = chunk[-1][0]


def _check(line: _Line, tally: _Tally) -> bool:
    """Return whether *line* is JSON: one that is not would spoil the request."""
    number, text = line
    try:
        read(text.decode())
    except ValueError as error:
        tally.refusals[number] = str(error)
        return False
    return True


async def _throw_sound(api: Api, lines: Sequence[_Line], key: str | None, tally: _Tally) -> None:
    """Throw *lines*; those that are too large for one request go in several."""
    if not lines:
        return
    items = [text if key is None else _with_key(text, f"{key}/{number}") for number, text in lines]
    try:
        answer = await api.post("/v1/signals/batch", b'{"signals":[' + b",".join(items) + b"]}")
    except ApiError as error:
        if error.status != 413:
            if is_refusal(error):
                tally.refuse_unanswered()
            raise
        if len(lines) == 1:
            tally.refusals[lines[0][0]] = str(error)
            tally.answer(lines)
            return
        for part in (lines[: len(lines) // 2], lines[len(lines) // 2 :]):
            await _throw_sound(api, part, key, tally)
        return
    for position, ((number, _), result) in enumerate(zip(lines, answer.document["results"], strict=True)):
        if result.get("id") is not None:
            tally.accept(result["id"])
        else:
            tally.refusals[number] = describe(result["problem"], within=f"/signals/{position}")
    tally.answer(lines)


def _with_key(text: bytes, key: str) -> bytes:
    """Return the signal in *text* with the idempotency key *key*, unless it has one, or is no signal."""
    signal: Any = read(text.decode())
    if not isinstance(signal, dict) or "idempotencyKey" in signal:
        return text
    member = json.dumps({"idempotencyKey": key}).encode()[:-1]
    return member + (b"," if signal else b"") + text[1:]


def _tell_refusals(tally: _Tally) -> None:
    for number, reason in sorted(tally.refusals.items()):
        say(f"line {number}: {reason}", err=True)


def _tell_how_to_go_on(tally: _Tally, key: str | None) -> None:
    following, most = tally.line + 1, tally.accepted + tally.unanswered
    if tally.unanswered:
        accepted = f"between {tally.accepted} and {most} signals were accepted"
        say(f"interrupted: {accepted}: those of lines {following} to {tally.asked} may be", err=True)
    else:
        say(f"interrupted: {tally.accepted} signals were accepted, up to line {tally.line}", err=True)
    if key is not None:
        say("run the same command again: what was accepted is not thrown twice (for 24 hours)", err=True)
    elif tally.unanswered:
        say(
            f"to go on, look whether they are there; throw the file from line {tally.asked + 1} on if so"
            f" (tail -n +{tally.asked + 1} FILE), else from line {following} on; --idempotency-key prevents repeats",
            err=True,
        )
    else:
        say(f"to go on, throw the file from line {following} on (tail -n +{following} FILE)", err=True)


def _chunks(file: BinaryIO) -> Iterator[list[_Line]]:
    """Yield the lines of *file* that are not blank, with their numbers, as many at a time as are thrown together."""
    chunk: list[_Line] = []
    size = 0
    for number, line in enumerate(file, start=1):
        text = line.removeprefix(b"\xef\xbb\xbf").strip()
        if not text:
            continue
        if chunk and (len(chunk) == _CHUNK or size + len(text) > _CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append((number, text))
        size += len(text)
    if chunk:
        yield chunk


def _size(file: BinaryIO) -> int:
    """Return the size of *file* in bytes; 0 if it is unknown."""
    status = os.fstat(file.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else 0
