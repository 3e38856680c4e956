"""What a running product leaves in its data directory: where commands on the same machine reach it, and how.

The process holds a lock on the file while it runs, so a file that a killed process left behind is known by its lock.
The token in it ends with the process.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog
from yarl import URL

from broker.access import API_TOKEN, make_token
from broker.errors import ConfigurationError
from broker.settings import Settings
from deploy.cli.backends import EMBEDDED

_FILE = "running.json"
_TRIES = 5
_PAUSE = 0.02
"""Seconds between tries to lock the file: a command that looks at it has it for a moment."""
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (what it serves, not what it is called by)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Running:
    """A running product.

    Args:
        url: Where this machine reaches it.
        token: What opens it, until it ends.
        store: The fingerprint of its store's URL.
        transport: The fingerprint of its transport's URL.
    """

    url: str
    token: str
    store: str
    transport: str


class Announcement:
    """Tells commands on this machine of a process. A context manager: leaving it takes the file away.

    Nothing is told where there is no data directory, or another process has told of itself already.
    """

    def __init__(self, settings: Settings) -> None:
        self.token = make_token(API_TOKEN)
        self._settings = settings
        self._path = _path(settings)
        self._locked: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._locked is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._locked)

    def tell(self, url: str) -> None:
        """Write the file, unless it is there: the process is ready, and serves *url*."""
        if self._locked is not None or not self._path.parent.is_dir():
            return
        at = URL(url)
        local = at.with_host(_ANYWHERE.get(at.host or "", at.host or ""))
        running = Running(
            str(local).rstrip("/"),
            self.token,
            _fingerprint(self._settings.store_url),
            _fingerprint(self._settings.transport_url),
        )
        try:
            self._locked = _lock(self._path)
            if self._locked is not None:
                os.write(self._locked, json.dumps(asdict(running)).encode())
        except OSError as error:
            log.warning("running.untold", path=str(self._path), error=str(error))


def find_running(settings: Settings) -> Running | None:
    """Return the product that runs on the data directory in *settings*, None if there is none.

    Settings that name a store or a transport are about another product than one that has others.

    Raises:
        ConfigurationError: One runs there, and this user may not use it.
    """
    path = _path(settings)
    try:
        file = path.open("rb")
    except PermissionError:
        raise ConfigurationError(
            f"{path} cannot be read: a signal-broker that runs there is for its user alone; pass --url and --token"
        ) from None
    except OSError:
        return None
    with file:
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None  # the process is gone
        try:
            running = Running(**json.loads(file.read()))
        except (ValueError, TypeError):  # it is being written
            return None
    named = {settings.store_url: running.store, settings.transport_url: running.transport}
    others = [url for url, fingerprint in named.items() if url != EMBEDDED and _fingerprint(url) != fingerprint]
    return None if others else running


def _path(settings: Settings) -> Path:
    return settings.data_dir / _FILE


def _lock(path: Path) -> int | None:
    """Return the open file, empty and locked, or None if another process has it."""
    for _ in range(_TRIES):
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file).st_nlink:  # else another process has just taken it away
                os.fchmod(file, 0o600)
                os.ftruncate(file, 0)
                return file
        os.close(file)
        time.sleep(_PAUSE)
    return None


def _fingerprint(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()
