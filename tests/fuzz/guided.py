"""One target, guided by coverage: ``python -m tests.fuzz.guided NAME FOLDER SECONDS``, with atheris (libFuzzer).

FOLDER keeps the corpus and, after a failure, the input. It ends with 0 after SECONDS, or with the first failure.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["broker", "gateway", "workers"], enable_loader_override=False):
    from tests.fuzz.targets import TARGETS

LONGEST = 1.0
"""The most seconds of processor time for one input of at most `MOST_BYTES`."""
MOST_BYTES = 8192
_MOST_MIB = 1024


def main(name: str, folder: str, seconds: str) -> None:
    """Try the target *name*."""
    corpus = Path(folder) / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(TARGETS[name].seeds):
        (corpus / f"seed-{number}").write_bytes(seed)

    def run(data: bytes) -> None:
        started = time.process_time()
        TARGETS[name].run(data)
        took = time.process_time() - started
        if took > LONGEST:
            raise TimeoutError(f"{name} took {took:.1f} s for {len(data)} bytes")

    options = [f"-max_total_time={seconds}", f"-max_len={MOST_BYTES}", f"-rss_limit_mb={_MOST_MIB}", "-timeout=60"]
    atheris.Setup(
        [
            sys.argv[0],
            *options,
            f"-artifact_prefix={folder}/{name}-",
            "-verbosity=0",
            "-print_final_stats=1",
            str(corpus),
        ],
        run,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
