"""What the command ``signal-broker`` starts with; it is installed as a top-level module, under a name of its own.

With ``PYTHONPATH=.`` a project's own ``deploy`` comes before ours on Python's path.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

PACKAGES = ("broker", "gateway", "workers", "deploy")


def main() -> None:
    """Import our packages from beside this file, whatever else has their names, and run the command line."""
    sys.path.insert(0, str(Path(__file__).parent))
    for package in PACKAGES:
        import_module(package)
    sys.path.pop(0)
    import_module("deploy.cli.main").main()
