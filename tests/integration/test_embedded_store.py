"""The embedded PostgreSQL as a process starts it."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os
import sys
from pathlib import Path
from broker.store.postgres.embedded import embedded_postgres

opened = set()
sys.addaudithook(lambda event, args: opened.add(os.fsdecode(args[0])) if event == "open" and args[1] == "a" else None)
with embedded_postgres(Path(sys.argv[1])):
    pass
print(*opened, sep="\\n")
"""


def test_starting_it_locks_nothing_outside_its_data_directory(servers):
    """A lock of one name for the whole machine would let one user keep all others from starting theirs."""
    data_dir = servers / "embedded-store"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(data_dir)], capture_output=True, text=True, timeout=60, check=True
    )
    locks = done.stdout.split()
    assert str(data_dir / "start-lock") in locks
    assert [path for path in locks if not path.startswith(str(data_dir))] == []
