"""``make fuzz MINUTES=n``: what others may send, for so long, and what was found.

| part | what it tries |
|---|---|
| readers | each of `tests.fuzz.targets`, guided by coverage (without atheris: by chance) |
| requests | raw HTTP on every route of a running product |
| states | the API in any order, and the books after it |
| description | the OpenAPI document, by schemathesis |
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.fuzz.callers import Caller
from tests.fuzz.description import compare
from tests.fuzz.mutations import inputs
from tests.fuzz.requests import ask, is_failure, requests, routes
from tests.fuzz.states import Api
from tests.fuzz.targets import TARGETS
from tests.support.product import ADMIN_TOKEN, COMMAND, Process

MIB = 1 << 20


def main() -> None:
    """Try all parts, print what each did, and fail if one did."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("minutes", type=float)
    parser.add_argument("--seed", type=int, default=None, help="of requests and states; by default another each time")
    parser.add_argument("--only", default="", help="only this part: readers, requests, states or description")
    parser.add_argument(
        "--keep", type=Path, default=Path(".fuzz"), help="where corpora and inputs that failed are kept"
    )
    given = parser.parse_args()
    seed = random.randrange(1 << 32) if given.seed is None else given.seed
    given.keep.mkdir(exist_ok=True)
    seconds = given.minutes * 60 * (1 if given.only else 0.25)
    print(f"seed {seed}")
    failed = []
    if given.only in {"", "readers"}:
        failed += [name for name in TARGETS if not try_reader(name, given.keep.resolve(), seconds / len(TARGETS), seed)]
    if given.only != "readers":
        failed += asyncio.run(try_product(given.only, seconds, seed))
    print("failed: " + ", ".join(failed) if failed else "nothing was found")
    sys.exit(bool(failed))


def try_reader(name: str, keep: Path, seconds: float, seed: int) -> bool:
    """Try one reader for so long, and return whether it kept its promises."""
    if importlib.util.find_spec("atheris") is None:
        return _try_by_chance(name, seconds, seed)
    command = [sys.executable, "-m", "tests.fuzz.guided", name, str(keep), str(max(1, round(seconds)))]
    run = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    stats = [line.split("::", 1)[1] for line in run.stderr.splitlines() if line.startswith("stat::")]
    print(f"reader {name}: {', '.join(' '.join(one.split()) for one in stats)}", flush=True)
    if run.returncode:
        print(run.stdout[-3000:], run.stderr[-3000:])
    return run.returncode == 0


def _try_by_chance(name: str, seconds: float, seed: int) -> bool:
    target, end, count = TARGETS[name], time.monotonic() + seconds, 0
    for data in inputs(target.seeds, random.Random(seed)):
        try:
            target.run(data)
        except Exception as error:  # noqa: BLE001  (any is a finding)
            print(f"reader {name}: {error!r} for {data!r}")
            return False
        count += 1
        if time.monotonic() > end:
            break
    print(f"reader {name}: number_of_executed_units: {count}, without a guide: atheris is not installed")
    return True


async def try_product(only: str, seconds: float, seed: int) -> list[str]:
    """Try a running product, and return the parts that failed."""
    parts: dict[str, Callable[[str, float, int], bool]] = {
        "requests": try_requests,
        "states": try_states,
        "description": try_description,
    }
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        environment = {"DATA_DIR": f"{folder}/data", "SIGNAL_ENDPOINTS_LIMIT": "1000", "TRUSTED_PROXIES": "127.0.0.0/8"}
        async with Process("run", environment=environment, log=Path(folder, "log"), command=COMMAND) as process:
            product = psutil.Process(process.process.pid)
            await asyncio.to_thread(try_requests, process.url, 5, seed)  # what is loaded once is no growth
            before = product.memory_info().rss
            for name, part in parts.items():
                if only in {"", name}:
                    try:
                        passed = await asyncio.to_thread(part, process.url, seconds, seed)
                    except Exception as error:  # noqa: BLE001  (any is a finding)
                        print(f"{name}: {error!r}")
                        passed = False
                    failed += [] if passed else [name]
                    grown = product.memory_info().rss - before
                    print(
                        f"memory after {name}: {product.memory_info().rss // MIB} MiB, {grown / MIB:+.0f}", flush=True
                    )
            assert await process.stop() == 0
    return failed


def try_requests(url: str, seconds: float, seed: int) -> bool:
    """Send raw requests for so long."""
    end, count = time.monotonic() + seconds, 0
    with Caller(url, ADMIN_TOKEN) as caller:
        every = routes(caller)
    for request in requests(every, caller.token, random.Random(seed)):
        status, body = ask(caller.address, request)
        count += 1
        if is_failure(request, status, body):
            print(f"requests: {status} {body[:500]!r} for {request!r}")
            return False
        if time.monotonic() > end:
            break
    print(f"requests: {count}", flush=True)
    return True


def try_states(url: str, seconds: float, seed: int) -> bool:
    """Use the API in any order for so long."""
    end, start = time.monotonic() + seconds, seed
    Api.caller = Caller(url, ADMIN_TOKEN)
    while time.monotonic() < end:
        start += 1
        run_state_machine_as_test(
            seeded(start),
            settings=settings(
                max_examples=5,
                stateful_step_count=40,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
    print(f"states: {Api.caller.count} requests", flush=True)
    return True


def seeded(number: int) -> type[Api]:
    """Return the machine, which begins with another number each time."""

    class Seeded(Api):
        _hypothesis_internal_use_seed = number

    return Seeded


def try_description(url: str, seconds: float, seed: int) -> bool:
    """Compare the gateway with its document for so long."""
    with tempfile.TemporaryDirectory() as folder:
        options = ("--max-time", str(max(1, round(seconds))), "--seed", str(seed), "-n", "100")
        verdict = compare(url, ADMIN_TOKEN, Path(folder), *options, seconds=seconds + 600)
    print(f"description: {verdict.cases} cases", flush=True)
    if not verdict.passed:
        print(verdict.report[-20_000:])
    return verdict.passed


if __name__ == "__main__":
    main()
