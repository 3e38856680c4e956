"""``make chaos``: the faults of the tests in random order under load, round after round, and the books after each.

It ends with status 1 at the first round whose books show a violation.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.faults import (
    crash_postgres,
    kill,
    kill_rabbitmq,
    one_after_another,
    replace,
    restart_rabbitmq,
    suspend_postgres,
)
from tests.chaos.postgres import Postgres, crashable_postgres
from tests.chaos.stack import ROLES, make_rng, rabbitmq_stack
from tests.support.rabbitmq import rabbitmq_server
from tests.support.rabbitmq_servers import Rabbit


async def run(postgres: Postgres, rabbitmq: Rabbit, directory: Path, options: argparse.Namespace) -> int:
    """Inflict rounds of faults until the time is up; return the exit status."""
    faults = {
        **{f"kill {role}": kill(role) for role in ROLES},
        **{f"replace {role}": replace(role) for role in ROLES},
        "restart RabbitMQ": restart_rabbitmq(rabbitmq),
        "kill RabbitMQ": kill_rabbitmq(rabbitmq),
        "crash PostgreSQL": crash_postgres(postgres),
        "suspend PostgreSQL": suspend_postgres(postgres, seconds=8),
    }
    rng = make_rng()
    end = time.monotonic() + options.minutes * 60
    async with rabbitmq_stack(postgres, rabbitmq, directory, rng) as stack:
        while time.monotonic() < end:
            names = rng.choices(list(faults), k=options.faults)
            print(f"\n{', '.join(names)}")
            fault = one_after_another(*(faults[name] for name in names))
            result = await stack.survives(fault, rate=options.rate, refusals=20, within=60)
            for violation in result.violations:
                print(f"  {violation}")
            if result.violations:
                return 1
    return 0


def main() -> int:
    """Start the servers, run, and keep the logs if anything was violated."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--faults", type=int, default=5, help="faults per round")
    parser.add_argument("--rate", type=float, default=50, help="throws per second")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="signal-broker-chaos-"))
    directory.chmod(0o755)
    for name in ("pg", "rabbitmq", "logs"):
        (directory / name).mkdir()
    print(f"the logs are in {directory / 'logs'}")
    with crashable_postgres(directory / "pg") as postgres, rabbitmq_server(directory / "rabbitmq") as rabbitmq:
        return asyncio.run(run(postgres, rabbitmq, directory / "logs", options))


if __name__ == "__main__":
    sys.exit(main())
