"""``make mutants``: how many small changes of the pure domain its unit tests notice.

A change that goes unnoticed asks for a test, or for simpler code; a few make no difference to anybody.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from pathlib import Path

from tests.mutants.changes import find_changes
from tests.mutants.modules import find_pure_modules
from tests.mutants.trials import choose_tests, run_unchanged, try_changes, warm_up


def main() -> None:
    """Sample changes, try them, print those that went unnoticed and the score."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="another seed samples other changes (default: 1)")
    parser.add_argument("--sample", type=int, default=200, help="how many changes to try (default: 200)")
    parser.add_argument("--only", default="", help="only of the modules whose path begins with this")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="how many at a time (default: the cores)")
    parser.add_argument("--patience", type=float, default=20.0, help="seconds that a change may hang (default: 20)")
    arguments = parser.parse_args()
    started = time.monotonic()
    paths = [path for path in find_pure_modules(Path()).values() if str(path).startswith(arguments.only)]
    warm_up()
    runs = run_unchanged(paths, processes=arguments.processes)
    tested = {path for run in runs.values() for path, _ in run.lines}
    changes = [change for path in paths if str(path) in tested for change in find_changes(path, path.read_bytes())]
    sample = random.Random(arguments.seed).sample(changes, min(arguments.sample, len(changes)))
    unnoticed = 0
    trials = ((change, choose_tests(change, runs)) for change in sorted(sample, key=lambda c: (c.path, c.start)))
    for change in try_changes(trials, processes=arguments.processes, patience=arguments.patience):
        print(change.describe(change.path.read_bytes()), flush=True)
        unnoticed += 1
    noticed = len(sample) - unnoticed
    print(
        f"{noticed} of {len(sample)} changes noticed ({noticed / max(1, len(sample)):.1%}); seed {arguments.seed}, "
        f"{len(changes)} changes in {len(tested)} modules, {time.monotonic() - started:.0f} s"
    )


if __name__ == "__main__":
    main()
