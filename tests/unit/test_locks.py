"""Advisory locks: one table has all of them, and their numbers outlive versions."""

from __future__ import annotations

import re
from pathlib import Path

import broker
from broker.store.postgres import locks
from broker.store.postgres.statements import Statement, read_statements

_ROOT = Path(broker.__file__).parents[1]
_PRODUCT = ("broker", "gateway", "workers", "deploy")


def test_the_numbers_are_those_that_processes_of_older_versions_take():
    numbers = {name: number for name, number in vars(locks).items() if name.isupper()}
    assert numbers == {
        "MIGRATION": 7305001,
        "MAINTENANCE": 7305006,
        "ADMINISTRATION": 7305003,
        "PARTITIONS": 7305005,
        "ORDERING_KEYS": 7305007,
        "EXECUTIONS": 7305009,
        "NUMBERING": 7305002,
        "RECORDING": 7305004,
        "INTAKE_BOOKS": 7305008,
        "MEASURING": 7305010,
        "SHARDS": 7305011,
        "BUFFERING": 7305012,
        "EVENTS": 7305013,
        "CONSUMERS": 7305002,
    }


def test_no_number_of_a_lock_stands_outside_the_table():
    files = [path for package in _PRODUCT for kind in ("py", "sql") for path in (_ROOT / package).rglob(f"*.{kind}")]
    literal = re.compile(r"\b7_?305_?0\d\d\b")
    found = {path.name for path in files if literal.search(path.read_text("utf-8"))}
    assert found == {"locks.py"}


def test_a_statement_names_its_lock_and_gets_the_number():
    statement: Statement = read_statements("broker.store.administration", "audit.sql")["lock"]
    assert statement.sql == "SELECT pg_advisory_xact_lock(7305003);"
