"""Debian's packages that the tests need, installed where we are root."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from fasteners import InterProcessLock


def can_install() -> bool:
    """Return whether packages can be installed here."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(package: str, *, is_there: Callable[[], bool]) -> None:
    """Install *package*, unless somebody else does so just now, without letting it start a service.

    Raises:
        subprocess.CalledProcessError: apt could not.
    """
    with InterProcessLock("/run/lock/signal-broker-tests"):
        if not is_there():
            _install(package)


def _install(package: str) -> None:
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        subprocess.run(["apt-get", "update", "-q"], check=True, env=environment)
        subprocess.run(["apt-get", "install", "-qy", "--no-install-recommends", package], check=True, env=environment)
    finally:
        if ours:
            policy.unlink()
