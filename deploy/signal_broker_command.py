"""What the command ``signal-broker`` starts with; it is installed as a top-level module, under a name of its own.

With ``PYTHONPATH=.`` a project's own ``deploy`` comes before ours on Python's path.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

PACKAGES = ("broker", "gateway", "workers", "deploy")


def main() -> None:
    """Import our packages from this installation, whatever else has their names, and run the command line."""
    here = Path(__file__).resolve().parent
    # In a checkout this file is in deploy/, and the packages are beside that.
    sys.path.insert(0, str(here if (here / "broker").is_dir() else here.parent))
    for package in PACKAGES:
        import_module(package)
    sys.path.pop(0)
    import_module("deploy.cli.main").main()
