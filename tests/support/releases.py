"""The version of the product before this one, out of the history."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import pytest

from broker.store.postgres.schema import MIGRATIONS, NEEDED

ROOT = Path(__file__).parents[2]


def previous_release(directory: Path) -> Sequence[str]:
    """Unpack the version before the newest step of the schema into *directory*; return its ``signal-broker``."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs the history")
    newest = Path(str(MIGRATIONS)).relative_to(ROOT) / f"{NEEDED}.sql"
    added = _git("log", "-1", "--diff-filter=A", "--format=%H", "--", str(newest)).decode().strip()
    with tarfile.open(fileobj=BytesIO(_git("archive", f"{added}^"))) as archive:
        archive.extractall(directory, filter="data")
    assert not (directory / newest).exists()
    return "env", f"PYTHONPATH={directory}", sys.executable, "-P", "-m", "deploy.cli.main"


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, timeout=60).stdout
