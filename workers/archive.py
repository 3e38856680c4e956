"""The archive: files of what is about to be dropped, one signal a line, as JSON, compressed by gzip."""

from __future__ import annotations

import asyncio
import gzip
import os
import uuid
from collections.abc import AsyncIterable, Sequence
from pathlib import Path

from broker.representations import archive_line
from broker.store.partitions.detached import Detached, DetachedSignal


class Archive:
    """A directory. A file appears in it once it is whole and safe on the disk, under a name that is always the same.

    Reading, encoding and writing take turns page by page, and the latter two a thread.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def check(self) -> None:
        """Make sure that files can be written.

        Raises:
            OSError: They cannot.
        """
        await asyncio.to_thread(self._check)

    def _check(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        probe = self._directory / ".signal-broker"
        probe.write_bytes(b"")
        probe.unlink()

    async def keep(self, detached: Detached, pages: AsyncIterable[Sequence[DetachedSignal]]) -> None:
        """Write all *pages* of *detached* to its file, replacing what an attempt before left; without any there is none.

        Raises:
            OSError: They could not be written; nothing but a temporary file may be left of them.
        """
        path = self._directory / f"signals-{detached.first_id}-{detached.last_id}.{detached.number}.jsonl.gz"
        for left in self._directory.glob(f".{path.name}.*"):  # by a process that was killed, or hangs
            left.unlink(missing_ok=True)
        unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            if await _write_pages(unfinished, pages):
                await asyncio.to_thread(_publish, unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)


async def _write_pages(path: Path, pages: AsyncIterable[Sequence[DetachedSignal]]) -> int:
    """Write a file that is safe on the disk; return how many signals are in it."""
    count = 0
    with await asyncio.to_thread(path.open, "wb") as file:
        with gzip.open(file, "wb", compresslevel=6) as lines:
            async for page in pages:
                await asyncio.to_thread(_write, lines, page)
                count += len(page)
        await asyncio.to_thread(os.fsync, file.fileno())
    return count


def _write(lines: gzip.GzipFile, page: Sequence[DetachedSignal]) -> None:
    lines.writelines(archive_line(detached_signal.signal, detached_signal.deliveries) for detached_signal in page)


def _publish(unfinished: Path, path: Path) -> None:
    """Give a file its name, and make that safe, too."""
    unfinished.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
