"""The archive: files of what is about to be dropped, one signal a line, as JSON, compressed by gzip."""

from __future__ import annotations

import asyncio
import gzip
import os
import uuid
from collections.abc import AsyncIterable, Sequence
from pathlib import Path

from broker.documents import archive_line
from broker.store.retired import Bygone, Retired


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

    async def keep(self, retired: Retired, pages: AsyncIterable[Sequence[Bygone]]) -> None:
        """Write all *pages* of *retired* to its file, replacing what an attempt before left; without any there is none.

        Raises:
            OSError: They could not be written; nothing but a temporary file may be left of them.
        """
        path = self._directory / f"signals-{retired.first_id}-{retired.last_id}.{retired.number}.jsonl.gz"
        for left in self._directory.glob(f".{path.name}.*"):  # by a process that was killed, or hangs
            left.unlink(missing_ok=True)
        unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            if await _write_pages(unfinished, pages):
                await asyncio.to_thread(_publish, unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)


async def _write_pages(path: Path, pages: AsyncIterable[Sequence[Bygone]]) -> int:
    """Write a file that is safe on the disk; return how many signals are in it."""
    count = 0
    with await asyncio.to_thread(path.open, "wb") as file:
        with gzip.open(file, "wb", compresslevel=6) as lines:
            async for page in pages:
                await asyncio.to_thread(_write, lines, page)
                count += len(page)
        await asyncio.to_thread(os.fsync, file.fileno())
    return count


def _write(lines: gzip.GzipFile, page: Sequence[Bygone]) -> None:
    lines.writelines(archive_line(bygone.signal, bygone.deliveries) for bygone in page)


def _publish(unfinished: Path, path: Path) -> None:
    """Give a file its name, and make that safe, too."""
    unfinished.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
