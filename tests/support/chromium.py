"""Where the tests' browser comes from: one on PATH, or else Debian's package, which is installed where we are root."""

from __future__ import annotations

import shutil

from tests.support.packages import can_install, install

NAMES = ("chromium", "chromium-browser", "google-chrome")
PACKAGE = "chromium"


def find_chromium() -> str | None:
    """Return the path of this machine's browser."""
    return next((found for found in map(shutil.which, NAMES) if found), None)


def provide_chromium() -> str:
    """Return the path of the browser, which is installed if there is none.

    Raises:
        RuntimeError: It cannot be; the message says what to install.
    """
    if find_chromium() is None and can_install():
        install(PACKAGE, is_there=lambda: find_chromium() is not None)
    found = find_chromium()
    if found is None:
        raise RuntimeError(f"the tests of the console need a browser on PATH: one of {', '.join(NAMES)}")
    return found
