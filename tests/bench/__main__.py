"""``make bench``: what the product costs and how fast it is, beside baselines, in one run.

Figures of one run compare with each other only: they are medians of interleaved rounds, so that a machine that slows
down slows all of them down. It ends with status 1 if signals were lost, never because something is slow.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import traceback
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import uvloop

from tests.bench.registry import find_groups
from tests.bench.report import fill, show
from tests.bench.results import ROOT, Run, describe, load_runs, save_runs
from tests.bench.rows import POSTGRESQL, RABBITMQ, Bench, Figure, Group, choose, summarize
from tests.support.postgres import postgres_server
from tests.support.rabbitmq import rabbitmq_server

HISTORY = ROOT / "docs" / "performance.json"
HISTORY_APART = ROOT / "docs" / "scaling.json"
"""Runs of groups that are measured apart."""
DOCUMENTS = (ROOT / "docs" / "performance.md", ROOT / "docs" / "scaling.md", ROOT / "README.md")


async def measure(group: Group, bench: Bench) -> list[Figure]:
    """Return the figures of the wanted rows of a group."""
    samples = [sample async for sample in group.measure(bench)]
    return list(summarize([row for row in group.rows if row.name in bench.wanted], samples))


def read_options(groups: Sequence[Group], arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    names = ", ".join(group.name for group in groups)
    parser.add_argument("--rows", default="", help=f"which, comma-separated: {names}, or names of their rows")
    parser.add_argument("--rounds", type=int, default=3, help="how often each row is measured (default: 3)")
    parser.add_argument("--seconds", type=float, default=4, help="how long each load lasts (default: 4)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the run to this file")
    parser.add_argument(
        "--append",
        action="store_true",
        help=f"add the run, a whole one, to {HISTORY.relative_to(ROOT)}, and make the documents' tables of it",
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help=f"add the run, of groups measured apart, to {HISTORY_APART.relative_to(ROOT)}, and make the tables",
    )
    parser.add_argument("--report", action="store_true", help="measure nothing; make these tables of the newest run")
    options = parser.parse_args(arguments)
    selection = [name for name in options.rows.split(",") if name]
    if options.append and selection:
        parser.error("--append needs a whole run, without a choice of rows")
    apart = {group.name for group in groups if group.apart}
    if options.keep and not (selection and apart.issuperset(selection)):
        parser.error(f"--keep needs a choice of whole groups that are measured apart: {', '.join(sorted(apart))}")
    try:
        options.wanted = choose(groups, selection)
    except LookupError as error:
        parser.error(str(error))
    return options


def run(groups: Collection[Group], options: argparse.Namespace) -> tuple[Run, bool]:
    """Start the servers that are needed and measure all groups; return the run, and whether nothing failed."""
    needs = {need for group in groups for need in group.needs}
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="signal-broker-bench-") as name, ExitStack() as servers:
        directory = Path(name)
        directory.chmod(0o755)
        bench = Bench(directory=directory, rounds=options.rounds, seconds=options.seconds, wanted=())
        if POSTGRESQL in needs:
            bench = replace(bench, postgres=servers.enter_context(postgres_server(directory / "pg")))
        if RABBITMQ in needs:
            (directory / "rmq").mkdir()
            bench = replace(bench, rabbit=servers.enter_context(rabbitmq_server(directory / "rmq")))
        described, whole = uvloop.run(describe(bench)), True
        for group in groups:
            try:
                measured = uvloop.run(measure(group, replace(bench, wanted=options.wanted[group.name])))
            except Exception:  # noqa: BLE001  (the other groups are measured all the same)
                traceback.print_exc()
                whole = False
            else:
                show(group, measured)
                figures += measured
    there = {figure.name for figure in figures}
    missing = sorted({row.name for group in groups for row in group.rows} & _all(options.wanted) - there)
    return Run(**described, figures=figures, missing=missing), whole


def _all(wanted: dict[str, set[str]]) -> set[str]:
    return {name for names in wanted.values() for name in names}


def write_documents(groups: Sequence[Group]) -> None:
    """Make the tables of the documents anew, of the newest run that is kept."""
    newest, apart = load_runs(HISTORY)[-1], load_runs(HISTORY_APART)
    for document in DOCUMENTS:
        document.write_text(fill(document.read_text(), newest, groups, apart))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and keep; return the exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the servers are stopped first, as after Ctrl-C
    groups = find_groups()
    options = read_options(groups, arguments)
    if options.report:
        write_documents(groups)
        return 0
    measured, whole = run([group for group in groups if group.name in options.wanted], options)
    if measured.missing:
        print(f"not measured: {', '.join(measured.missing)}")
    if options.json:
        save_runs(options.json, [measured])
    if options.append and whole:
        save_runs(HISTORY, [*load_runs(HISTORY), measured])
        write_documents(groups)
    if options.keep and whole:
        save_runs(HISTORY_APART, [*load_runs(HISTORY_APART), measured])
        write_documents(groups)
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
