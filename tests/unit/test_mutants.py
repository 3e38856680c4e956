import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import mutants
from tests.mutants.changes import find_changes
from tests.mutants.modules import find_pure_modules
from tests.mutants.trials import Run, choose_tests

MODULE = Path("broker/sample.py")


def changed(source):
    """Every version of *source* with one change."""
    return [change.apply(source.encode()).decode() for change in find_changes(MODULE, source.encode())]


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("source", "versions"),
    [
        ("a < b", ["a <= b"]),
        ("a <= b < c", ["a < b < c", "a <= b <= c"]),
        ("(a) == (b)", ["(a) != (b)"]),
        ("a is  not b", ["a is b"]),
        ("a not in b", ["a in b"]),
        ("a and b and c", ["a or b and c", "a and b or c"]),
        ("not a", ["a"]),
        ("a = b + c", ["a = b - c"]),
        ("a += b", ["a -= b"]),
        ("a << b", ["a >> b"]),
        ("a = True", ["a = False"]),
        ("a = 9", ["a = 10"]),
        ("a = 0.5", ["a = 1.5"]),
        ("f(a, strict=True)", ["f(a, strict=False)"]),
        ("a if b else c", ["a if not (b) else c"]),
        ("[a for a in b if a]", ["[a for a in b if not (a)]"]),
        ("if a: b()", ["if not (a): b()"]),
    ],
)
def test_one_operator_number_flag_or_condition_is_changed_at_a_time(source, versions):
    assert changed(source) == versions


@pytest.mark.parametrize(
    "source",
    [
        "def f(a: Literal[1]) -> Literal[2]: ...",
        "a: tuple[Literal[3], ...]",
        "@dataclass(slots=True)\nclass A: ...",
        "f'{a + 1:02d}'",
        "'''A docstring of 1 line.'''",
    ],
)
def test_what_other_tools_look_after_is_left_as_it_is(source):
    assert changed(source) == []


def test_the_rest_of_the_text_stays_as_it_is():
    assert changed("a = 'größer'  # 1 < 2\nb = ('ü', c<d)\n") == ["a = 'größer'  # 1 < 2\nb = ('ü', c<=d)\n"]


def test_a_change_is_described_by_its_line():
    source = b"a = b\nif limit <  3:\n    pass\n"
    assert [change.describe(source) for change in find_changes(MODULE, source)] == [
        "broker/sample.py:2: < -> <=: if limit <  3:",
        "broker/sample.py:2: 3 -> 4: if limit <  3:",
    ]


def test_a_module_that_reaches_outside_through_another_one_is_not_pure(tmp_path):
    files = {
        "broker/__init__.py": "",
        "broker/names.py": "import re",
        "broker/store/__init__.py": "",
        "broker/store/database.py": "import asyncpg",
        "broker/signals.py": "from broker.names import check",
        "workers/__init__.py": "",
        "workers/recorder.py": "from broker.signals import Signal\nfrom broker.store import database",
        "workers/targets.py": "import workers.recorder",
    }
    write(tmp_path, files)
    pure = {"broker", "broker.names", "broker.store", "broker.signals", "workers"}
    assert find_pure_modules(tmp_path).keys() == pure


@pytest.mark.slow
def test_the_domain_is_pure_and_the_store_is_not():
    pure = find_pure_modules(Path(mutants.__file__).parents[2])
    assert {"broker.errors", "broker.deliveries", "broker.filters.operators", "workers.lanes"} <= pure.keys()
    assert not any(name.startswith(("broker.store.postgres.database", "gateway.app")) for name in pure)


def test_a_change_concerns_the_tests_that_run_its_function():
    _, inner, outer = find_changes(MODULE, b"A = 1\ndef f():\n    return 2\ndef g():\n    return 3\n")
    runs = {
        "test_f": Run(0.1, frozenset({("broker/sample.py", 2)})),
        "test_g": Run(0.2, frozenset({("broker/sample.py", 4)})),
        "test_both": Run(0.3, frozenset({("broker/sample.py", 2), ("broker/sample.py", 4)})),
        "test_another_module": Run(0.4, frozenset({("broker/other.py", 2)})),
    }
    assert choose_tests(inner, runs) == {"test_f": 0.1, "test_both": 0.3}
    assert choose_tests(outer, runs) == {"test_g": 0.2, "test_both": 0.3}


def test_a_change_that_runs_on_import_concerns_all_tests_of_the_files_that_test_its_module():
    (change,) = find_changes(MODULE, b"A = 1\n")
    runs = {
        "tests/unit/test_sample.py::test_f": Run(0.1, frozenset({("broker/sample.py", 2)})),
        "tests/unit/test_sample.py::test_constant": Run(0.2, frozenset()),
        "tests/unit/test_other.py::test_g": Run(0.4, frozenset({("broker/other.py", 2)})),
    }
    assert choose_tests(change, runs) == {
        "tests/unit/test_sample.py::test_f": 0.1,
        "tests/unit/test_sample.py::test_constant": 0.2,
    }


@pytest.mark.slow
def test_a_change_without_a_test_is_reported_and_one_that_fails_or_hangs_is_noticed(tmp_path):
    module = (
        "LIMIT = 3\n\n\n"
        "def steps(count):\n"
        "    taken = 0\n"
        "    while taken < count:\n"
        "        taken += 1\n"
        "    return taken > LIMIT\n"
    )
    tests = (
        "from broker.sample import steps\n\n\n"
        "def test_few_steps():\n    assert not steps(2)\n\n\n"
        "def test_many_steps():\n    assert steps(5)\n"
    )
    for package in ("broker", "tests", "tests/unit"):
        write(tmp_path, {f"{package}/__init__.py": ""})
    write(tmp_path, {"broker/sample.py": module, "tests/unit/test_sample.py": tests})
    shutil.copytree(Path(mutants.__file__).parent, tmp_path / "tests" / "mutants")
    command = [sys.executable, "-m", "tests.mutants", "--patience", "1", "--processes", "1"]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    *unnoticed, score = done.stdout.splitlines()
    assert unnoticed == [
        "broker/sample.py:1: 3 -> 4: LIMIT = 3",
        "broker/sample.py:5: 0 -> 1: taken = 0",
        "broker/sample.py:6: < -> <=: while taken < count:",
        "broker/sample.py:7: 1 -> 2: taken += 1",
        "broker/sample.py:8: > -> >=: return taken > LIMIT",
    ]
    assert score.startswith("1 of 6 changes noticed (16.7%); seed 1, 6 changes in 1 modules, ")
    assert (tmp_path / "broker/sample.py").read_text() == module
