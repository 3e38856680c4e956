"""Whose CPU time a sample of a stack counts for."""

from collections import Counter

from tests.bench.profiling import Profile, module_of, package_of, read_stacks

RAW = [
    "run (deploy/cli/loop.py:9);run (asyncio/runners.py:118);handle (workers/deliverer.py:150);digest (hmac.py:198) 6",
    "run (deploy/cli/loop.py:9);run (asyncio/runners.py:118);fetch (broker/store/rows.py:3);fetch (asyncpg/a.py:1) 3",
    "run (deploy/cli/loop.py:9);run (asyncio/runners.py:118) 1",
    "_bootstrap (threading.py:1002);_loop (pycares/__init__.py:445) 90",
]


def test_what_pythons_library_does_counts_for_who_called_it():
    ours, asyncpg, loop = read_stacks(RAW)
    assert [package_of(stack) for stack in (ours, asyncpg, loop)] == [
        "signal-broker",
        "asyncpg",
        "uvloop, with the system calls on sockets",
    ]
    assert [module_of(stack) for stack in (ours, asyncpg)] == ["workers/deliverer.py", "broker/store/rows.py"]


def test_shares_are_those_of_the_cpu_time_of_one_signal():
    shown = Profile(role="deliverer", load="a backlog", cpu=500.0, stacks=read_stacks(RAW)).show()
    assert shown.startswith("deliverer: a backlog: 500 us of CPU for each\n")
    assert "    300.0 us  60.0%  signal-broker\n" in shown
    assert "    150.0 us  30.0%  broker/store/rows.py\n" in shown
    assert "      0.0 us   0.0%  others\n" in shown
    assert "pycares" not in shown


def test_stacks_that_are_the_same_are_added_up():
    assert read_stacks([RAW[0], RAW[0]]) == Counter({tuple(RAW[0].rpartition(" ")[0].split(";")): 12})
