"""Logs: one line per event, as JSON for machines or coloured for people.

What happens to every signal leaves a line: ``signal.accepted``, ``signal.recorded``, ``signal.released``,
``delivery.attempted``. The setting `log_signals` leaves out those of most signals, or of all; an attempt that failed
is a warning, and leaves its line in any case. What is tried again and again leaves few (`broker.repeated_lines`).

Events are named ``noun.past_participle``; lines about a signal, a subscription or a delivery carry ``signal_id``,
``subscription_id``, ``delivery_id``. Logs go to standard error; standard output is for the answers of commands.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import logging
import select
import sys
import threading
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any, BinaryIO

import orjson
import structlog

from broker.moments import show_moment
from broker.repeated_lines import RepeatedLines
from broker.settings import Settings
from broker.texts import escape

_AS_OTHERS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_NON_STR_KEYS
_AT_ONCE = select.PIPE_BUF
"""How many bytes a pipe takes from one process before it takes any from another one."""
_OF_SIGNALS = frozenset({"signal.accepted", "signal.recorded", "signal.released", "delivery.attempted"})
"""The events that a signal has while all goes well."""
_ONE_IN = 100
"""Of how many signals one leaves all of its lines, if they are sampled."""
_TRACEBACK = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
"""Local variables may be tokens or payloads, which must not be logged."""


def configure_logs(settings: Settings, *, without: Collection[str] = ()) -> None:
    """Set up structlog, and route the standard library's logging through it; events *without* which are left out."""

    def leave_out(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if event["event"] in without:
            raise structlog.DropEvent
        return event

    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    first: list[structlog.typing.Processor] = [leave_out] if without else []
    first.append(RepeatedLines())
    if settings.log_signals != "all":
        first.append(_Sample(_ONE_IN if settings.log_signals == "sampled" else 0))
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        Clock(),
    ]
    rendering: list[structlog.typing.Processor] = (
        [structlog.processors.ExceptionRenderer(_TRACEBACK), structlog.processors.JSONRenderer()]
        if as_json
        else [
            structlog.processors.format_exc_info,  # as text; prettier ones show local variables
            _escape_texts,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    )
    level = getattr(logging, settings.log_level.upper())
    if as_json:  # in bytes, which takes half the time
        own: list[structlog.typing.Processor] = [
            rendering[0],
            structlog.processors.JSONRenderer(serializer=render_line),
        ]
        factory: Callable[..., object] = structlog.BytesLoggerFactory(file=LineBuffer(sys.stderr.buffer))  # type: ignore[arg-type]
    else:
        own, factory = rendering, structlog.PrintLoggerFactory(file=sys.stderr)
    structlog.configure(
        processors=[*first, *shared, *own],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    # aiormq and aio-pika log every lost link several times; the transport logs it once.
    for library in ("aiormq", "aio_pika"):
        logging.getLogger(library).setLevel(logging.CRITICAL)


class _Sample:
    """Leaves out the lines of signals to which nothing happens that should not, but for one in so many; 0: of all."""

    def __init__(self, one_in: int) -> None:
        self._one_in = one_in

    def __call__(self, _logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if method == "info" and event["event"] in _OF_SIGNALS and not self._keeps(event["signal_id"]):
            raise structlog.DropEvent
        return event

    def _keeps(self, signal_id: int) -> bool:
        return self._one_in > 0 and signal_id % self._one_in == 0


class LineBuffer:
    """A file that is written to once in each turn of the event loop, and at once where none is running.

    That costs one system call instead of one for each line. Whole lines are written together as far as a pipe takes
    them at once, so those of several processes do not mix.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._lines: list[bytes] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        """The loop that will write them, if one will."""
        atexit.register(self._write_all)

    def write(self, line: bytes) -> None:
        """Keep *line* until it is written."""
        with self._lock:
            self._lines.append(line)

    def flush(self) -> None:
        """See to it that what is kept is written soon."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._write_all()
            return
        if self._loop is not loop:
            self._loop = loop
            loop.call_soon(self._write_all)

    def _write_all(self) -> None:
        self._loop = None
        with self._lock:
            lines, self._lines = self._lines, []
            piece: list[bytes] = []
            size = 0
            for line in lines:
                if piece and size + len(line) > _AT_ONCE:
                    self._write(piece)
                    piece, size = [], 0
                piece.append(line)
                size += len(line)
            if piece:
                self._write(piece)

    def _write(self, lines: list[bytes]) -> None:
        self._file.write(b"".join(lines))
        self._file.flush()


class Clock:
    """Adds its moment to each line; a millisecond is written out once, as many lines of a batch have it."""

    def __init__(self) -> None:
        self._last = -1, ""

    def __call__(self, _logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        """Return *event* with the present moment."""
        millisecond = time.time_ns() // 1_000_000
        known, text = self._last
        if known != millisecond:
            text = show_moment(datetime.fromtimestamp(millisecond / 1000, UTC))
            self._last = millisecond, text
        event["timestamp"] = text
        return event


def _escape_texts(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Escape what could steer the terminal; what is no text is shown by `repr`, which does the same."""
    return {name: escape(value, keep="\n\t") if isinstance(value, str) else value for name, value in event.items()}


def render_line(event: Any, *, default: Callable[[Any], Any]) -> bytes:
    """Return *event* as JSON; *default* returns what stands for a value that JSON does not have."""
    try:
        return orjson.dumps(event, default=default, option=_AS_OTHERS)
    except orjson.JSONEncodeError:  # an unpaired surrogate, an integer beyond 64 bits, or deep nesting
        return json.dumps(event, default=default).encode()
