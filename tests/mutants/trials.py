"""Runs the unit tests in forked processes: once to see what each test runs, then those that concern a change.

Each process is forked from one that has imported every library but none of the project's modules, so that a trial
imports only these, one of them changed.
"""

from __future__ import annotations

import gc
import importlib.util
import multiprocessing
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from itertools import islice
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import hypothesis
import pytest

from tests.mutants.changes import Change
from tests.mutants.modules import PACKAGES, name_of

UNIT_TESTS = Path("tests/unit")
_FORK = multiprocessing.get_context("fork")
_MEMORY = 4 << 30
_OPTIONS = [
    *("-qq", "--exitfirst", "-p", "no:cacheprovider"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # the libraries are imported already
    *("--hypothesis-profile=mutants", "--hypothesis-seed=0"),
]


@dataclass(frozen=True, slots=True)
class Run:
    """What one unit test ran without any change.

    Args:
        seconds: How long it took.
        lines: The first lines of the functions it ran, with their files.
    """

    seconds: float
    lines: frozenset[tuple[str, int]]


def warm_up() -> None:
    """Import all libraries that the unit tests need; forget the project's own modules again."""
    hypothesis.settings.register_profile(
        "mutants", database=None, deadline=None, phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate]
    )
    if _quietly(lambda: pytest.main([*_OPTIONS, "--collect-only", str(UNIT_TESTS)])):
        sys.exit("the unit tests cannot be collected")
    for name in list(sys.modules):
        top, _, rest = name.partition(".")
        if top in {*PACKAGES, "deploy"} or (top == "tests" and not rest.startswith("mutants")):
            del sys.modules[name]
    # What is there by now is no matter of the forked processes' collections: pytest makes several of each.
    gc.collect()
    gc.freeze()


def run_unchanged(paths: Iterable[Path], *, processes: int) -> dict[str, Run]:
    """Return what each unit test runs of the modules at *paths*, by the test's id."""
    files = sorted(map(str, UNIT_TESTS.glob("test_*.py")))
    connections = []
    for part in range(processes):
        receiver, sender = _FORK.Pipe(duplex=False)
        _FORK.Process(target=_watch, args=(files[part::processes], set(paths), sender)).start()
        sender.close()
        connections.append(receiver)
    runs: dict[str, Run] = {}
    for connection in connections:
        part_of_runs, failed = connection.recv()
        if failed:
            sys.exit(f"fails without any change: {failed}")
        runs |= part_of_runs
    return runs


def choose_tests(change: Change, runs: dict[str, Run]) -> dict[str, float]:
    """Return the tests that concern *change*, with their seconds.

    They are those that run the function it is in. Where there are none, as for what is run on import, they are all
    tests of those files in which one runs any of the module's functions.
    """
    ran = {test: {line for path, line in run.lines if path == str(change.path)} for test, run in runs.items()}
    chosen = [test for test, lines in ran.items() if any(line in change.lines for line in lines)]
    if not chosen:
        files = {_file(test) for test, lines in ran.items() if lines}
        chosen = [test for test in ran if _file(test) in files]
    return {test: runs[test].seconds for test in chosen}


def try_changes(
    trials: Iterable[tuple[Change, dict[str, float]]], *, processes: int, patience: float
) -> Iterator[Change]:
    """Run each change's tests on it, several changes at a time; yield the changes that all tests pass with.

    A change is noticed too if its tests take ten times as long as without it, and *patience* seconds more.
    """
    trials = iter(trials)
    running: dict[int, tuple[ForkProcess, Change, float]] = {}
    while True:
        for change, seconds in islice(trials, processes - len(running)):
            process = _FORK.Process(target=_try, args=(change, seconds))
            process.start()
            running[process.sentinel] = process, change, time.monotonic() + patience + 10 * sum(seconds.values())
        if not running:
            return
        ended = wait(list(running), timeout=1)
        for sentinel, (process, change, deadline) in list(running.items()):
            if sentinel not in ended and time.monotonic() < deadline:
                continue
            process.kill()
            process.join()
            del running[sentinel]
            if process.exitcode == 0:
                yield change


def _watch(files: list[str], paths: set[Path], sender: Connection) -> None:
    watcher = _Watcher(paths)
    code = _quietly(lambda: pytest.main([*_OPTIONS, *files], plugins=[watcher]))
    sender.send((watcher.runs, watcher.failed or ("" if code == pytest.ExitCode.OK else "the collection of tests")))


def _try(change: Change, seconds: dict[str, float]) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    sys.meta_path.insert(0, _ChangedModule(change))
    files = sorted(set(map(_file, seconds)))
    code = _quietly(lambda: pytest.main([*_OPTIONS, *files], plugins=[_Chosen(seconds)]))
    sys.exit(0 if code == pytest.ExitCode.NO_TESTS_COLLECTED else code)


def _file(test: str) -> str:
    return test.partition("::")[0]


def _quietly(main: Callable[[], int]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        return main()
    finally:
        for number, descriptor in enumerate(kept, start=1):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.close(nowhere)


class _Watcher:
    """A pytest plugin that notes which functions each test calls."""

    def __init__(self, paths: set[Path]) -> None:
        self.runs: dict[str, Run] = {}
        self.failed = ""
        self._paths = {str(path.absolute()): str(path) for path in paths}
        self._lines: set[tuple[str, int]] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        _forget_results()
        self._lines = set()
        started = time.perf_counter()
        threading.settrace(self._note)
        sys.settrace(self._note)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            self.runs[item.nodeid] = Run(time.perf_counter() - started, frozenset(self._lines))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed = report.nodeid

    def _note(self, frame: FrameType, _event: str, _argument: Any) -> None:
        path = self._paths.get(frame.f_code.co_filename)
        if path:
            self._lines.add((path, frame.f_code.co_firstlineno))


def _forget_results() -> None:
    """Clear the caches of the project's functions: a test that finds another one's result runs them as well."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in PACKAGES:
            for value in vars(module).values():
                if callable(clear := getattr(value, "cache_clear", None)):
                    clear()


class _Chosen:
    """A pytest plugin that runs some tests, the shortest first."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds = seconds

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self._seconds), key=lambda item: self._seconds[item.nodeid]
        )


class _ChangedModule(SourceFileLoader):
    """Finds and loads one module with a change made to it; its file stays as it is."""

    def __init__(self, change: Change) -> None:
        super().__init__(name_of(change.path), str(change.path.absolute()))
        self._change = change

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        return importlib.util.spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, fullname: str) -> CodeType:
        source = self._change.apply(self._change.path.read_bytes())
        return compile(source, self.get_filename(fullname), "exec", dont_inherit=True)
