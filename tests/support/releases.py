"""Earlier versions of the product, out of the history."""

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


def previous_release(directory: Path, *, before: str = NEEDED) -> Sequence[str]:
    """Unpack the version before a step of the schema into *directory*, and return its ``signal-broker``.

    That is the newest commit that has some of the steps before it, as they are now, and no other one.
    """
    if not (ROOT / ".git").exists():
        pytest.skip("needs the history")
    earlier = {step for step in _steps("HEAD").items() if step[0] < before}
    commit = next(one for one in _git("rev-list", "HEAD").decode().split() if _steps(one).items() <= earlier)
    with tarfile.open(fileobj=BytesIO(_git("archive", commit))) as archive:
        archive.extractall(directory, filter="data")
    return "env", f"PYTHONPATH={directory}", sys.executable, "-P", "-m", "deploy.cli.main"


def _steps(commit: str) -> dict[str, str]:
    """Return the steps of the schema in a commit, with the hashes of their texts."""
    directory = Path(str(MIGRATIONS)).relative_to(ROOT)
    entries = [line.split() for line in _git("ls-tree", commit, f"{directory}/").decode().splitlines()]
    return {Path(path).stem: text for _, _, text, path in entries if path.endswith(".sql")}


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, timeout=60).stdout
