"""The archive: files of signals that are about to be dropped, as gzipped JSON with one signal per line."""

from __future__ import annotations

import asyncio
import gzip
import os
import uuid
from collections.abc import AsyncIterable, Sequence
from pathlib import Path

from broker.reasons import reason_of
from broker.representations import archive_line
from broker.store.partitions.detached import DetachedPartition, DetachedSignal


class Archive:
    """A directory with one file per detached partition, which appears once it is complete and synced to disk.

    Pages are read, encoded and written one after the other; a thread encodes and writes.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def check(self) -> None:
        """Check that files can be written.

        Raises:
            OSError: They cannot be written.
        """
        await asyncio.to_thread(self._check)

    def _check(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        probe = self._directory / ".signal-broker"
        probe.write_bytes(b"")
        probe.unlink()

    def find_obstacle(self) -> str:
        """Return why files cannot be written, as far as that can be seen without writing; an empty text for nothing."""
        place = self._directory.absolute()
        try:
            while not place.exists():  # it will be made
                place = place.parent
            if not place.is_dir():
                return f"{place} is not a directory"
        except OSError as error:
            return f"{place}: {reason_of(error)}"
        return "" if os.access(place, os.W_OK | os.X_OK) else f"{place} cannot be written to"

    async def keep(self, partition: DetachedPartition, pages: AsyncIterable[Sequence[DetachedSignal]]) -> None:
        """Write *pages* to the file of *partition*, replacing an earlier attempt's; without signals there is no file.

        Raises:
            OSError: The file could not be written; at most a temporary file is left.
        """
        path = self._directory / f"signals-{partition.first_id}-{partition.last_id}.{partition.number}.jsonl.gz"
        for left in self._directory.glob(f".{path.name}.*"):  # of a process that was killed, or hangs
            left.unlink(missing_ok=True)
        unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            if await _write_pages(unfinished, pages):
                await asyncio.to_thread(_publish, unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)


async def _write_pages(path: Path, pages: AsyncIterable[Sequence[DetachedSignal]]) -> int:
    """Write a file and sync it to disk; return how many signals are in it."""
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
    """Give a file its name, and sync the directory."""
    unfinished.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
