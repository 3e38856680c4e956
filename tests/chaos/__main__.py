"""``make chaos``: faults under load, one after the other, on a RabbitMQ cluster, and the books after each.

It ends with status 1 if there was a violation.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tests.chaos.experiment import survive
from tests.chaos.faults import FAMILIES, NOTHING
from tests.chaos.faults.fault import Fault, together
from tests.chaos.postgres import Postgres, crashable_postgres
from tests.chaos.report import render
from tests.chaos.results import Row, Run, load_runs, row_of, save_runs
from tests.chaos.schedule import schedule
from tests.chaos.stack import TWO_OF_EACH, Stack, rabbitmq_stack
from tests.support.audience import TARGETS
from tests.support.eventually import eventually
from tests.support.rabbitmq import PACKAGED_SERVER, find_server
from tests.support.rabbitmq_cluster import Cluster, rabbitmq_cluster

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "docs" / "reliability.md"
ROOT_VARIABLE = "SIGNAL_BROKER_CHAOS_RABBITMQ_ROOT"
SETTINGS = {"RESCUE_AFTER_SECONDS": "10", "WEBHOOK_TIMEOUT_SECONDS": "5", "LOG_LEVEL": "warning"}
READY_WITHIN = 10


def faults_of(options: argparse.Namespace) -> list[Fault]:
    """Return the faults that are wanted, in their order."""
    if options.only:
        return [fault for wanted in options.only for fault in _named(wanted)]
    return list(islice(schedule(options.seed), options.skip, options.skip + options.faults))


def _named(wanted: str) -> Iterator[Fault]:
    """Yield the faults whose names contain *wanted*; of two names with a plus between them, both at once."""
    everything = [NOTHING, *(fault for faults in FAMILIES.values() for fault in faults)]
    one, plus, other = wanted.partition(" + ")
    found = [fault for fault in everything if one in fault.name]
    yield from (together(first, second) for first in found for second in _named(other)) if plus else found


async def run(postgres: Postgres, cluster: Cluster, directory: Path, options: argparse.Namespace, result: Run) -> None:
    """Inflict the faults, and add what comes of them to *result*, which is kept after each."""
    earlier = load_runs(options.append) if options.append else []
    stack_of_nodes = rabbitmq_stack(
        postgres,
        cluster.nodes,
        directory,
        random.Random(options.seed),
        TWO_OF_EACH,
        network=cluster.network,
        linked=True,
        settings=SETTINGS,
    )
    whole = False
    async with stack_of_nodes as stack:
        for number, fault in enumerate(faults_of(options), 1):
            if missing := fault.needs - stack.has:
                print(f"{number}. {fault.name}: skipped, this machine has no {', '.join(sorted(missing))}", flush=True)
                result.skipped.append(fault.name)
                continue
            stack.rng = random.Random(f"{options.seed}:{number + options.skip}")
            try:
                if not whole:  # asking takes seconds
                    await eventually(lambda: asyncio.to_thread(cluster.make_whole), within=180, every=1)
                whole = not fault.needs & {"queues", "network"}
                row = await inflict(stack, fault, number, options)
            except Exception as error:  # noqa: BLE001  (a long run goes on)
                traceback.print_exc()
                row = Row.of_failure(fault.name, error)
            if is_told_to_end():
                return  # this fault was cut off, which says nothing
            result.rows.append(row)
            if options.append:
                save_runs(options.append, [*earlier, result])
            if row.violations:
                await stack.start_over()


def is_told_to_end() -> bool:
    """Return whether the run was interrupted; something in between may have swallowed the cancellation."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def inflict(stack: Stack, fault: Fault, number: int, options: argparse.Namespace) -> Row:
    """Inflict one fault under load, and say what came of it."""
    outcome = await survive(
        stack,
        fault,
        rate=options.rate,
        throws=options.throws,
        after=2,
        audience=TARGETS,
        within=options.patience,
        ready_within=READY_WITHIN,
    )
    print(f"{number}. {outcome}", flush=True)
    row = row_of(outcome)
    for sentence in row.sentences:
        print(f"    {sentence}", flush=True)
    return row


def _new_run(cluster: Cluster, options: argparse.Namespace) -> Run:
    version = cluster.nodes[0].ctl("version").strip()
    rabbitmq = f"{version}, {len(cluster.nodes)} nodes"
    return Run(seed=options.seed, version=_commit(), rabbitmq=rabbitmq, rate=options.rate)


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def read_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--faults", type=int, default=20, help="how many (default: 20); 0 only writes the report")
    parser.add_argument("--skip", type=int, default=0, help="how many of the schedule to leave out: go on with a run")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32), help="of the schedule")
    parser.add_argument("--rate", type=float, default=200, help="throws per second (default: 200)")
    parser.add_argument("--throws", type=int, default=2500, help="at least so many for each fault (default: 2500)")
    parser.add_argument("--only", action="append", metavar="NAME", help="faults whose names contain this, instead")
    parser.add_argument("--list", action="store_true", help="print the names of all faults, and end")
    parser.add_argument("--nodes", type=int, default=3, help="RabbitMQ's (default: 3)")
    parser.add_argument("--patience", type=float, default=90, help="seconds until it counts as not settled")
    parser.add_argument(
        "--rabbitmq-root",
        type=Path,
        default=Path(os.environ.get(ROOT_VARIABLE, "/")),
        help=f"folder with a Debian that has another rabbitmq-server; or {ROOT_VARIABLE}",
    )
    parser.add_argument("--append", type=Path, metavar="FILE", help="add the results to those in this JSON file")
    parser.add_argument("--report", action="store_true", help=f"write {REPORT.relative_to(ROOT)} from all of them")
    return parser.parse_args()


def inflict_all(options: argparse.Namespace) -> Run:
    """Start the servers and inflict the faults, all or until this process is told to end; keep the logs."""
    directory = Path(tempfile.mkdtemp(prefix="signal-broker-chaos-"))
    directory.chmod(0o755)
    (directory / "logs").mkdir()
    print(f"seed {options.seed}; the logs are in {directory / 'logs'}", flush=True)
    server = PACKAGED_SERVER if options.rabbitmq_root != Path("/") else find_server() or PACKAGED_SERVER
    nodes = directory / "rabbitmq" / directory.name
    nodes.mkdir(parents=True)
    with (
        crashable_postgres(directory / "pg") as postgres,
        rabbitmq_cluster(server, nodes, size=options.nodes, root=options.rabbitmq_root) as cluster,
    ):
        result = _new_run(cluster, options)
        try:
            asyncio.run(run(postgres, cluster, directory / "logs", options, result))
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    return result


def main() -> int:
    """Run, and write the report."""
    options = read_options()
    if options.list:
        print("\n".join(f"{family}: {fault.name}" for family, faults in FAMILIES.items() for fault in faults))
        return 0
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs that ignore it
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    result = inflict_all(options) if options.faults or options.only else None
    if options.report:
        runs = load_runs(options.append) if options.append else [result] if result else []
        REPORT.write_text(render(runs))
    if result is None:
        return 0
    violations = sum(row.violations for row in result.rows)
    print(f"{len(result.rows)} faults, {sum(row.thrown for row in result.rows)} signals, {violations} violations")
    return int(violations > 0)


if __name__ == "__main__":
    sys.exit(main())
