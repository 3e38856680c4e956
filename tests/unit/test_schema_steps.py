"""No step of the schema hurts the version that runs meanwhile, and none changes that may have been applied."""

from __future__ import annotations

import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from broker.store.postgres.concurrent_steps import is_concurrent, read_statements
from broker.store.postgres.schema import MIGRATIONS, STEPS

JUDGED_FROM = 36
"""The first step to which the rules apply: those before it came with the first release."""
SQUAWK = Path(sys.executable).with_name("squawk")

UNSAFE = [
    "ALTER TABLE subscriptions ADD COLUMN newer integer NOT NULL",
    "ALTER TABLE subscriptions ALTER COLUMN address SET NOT NULL",
    "ALTER TABLE subscriptions ALTER COLUMN address TYPE varchar(100)",
    "ALTER TABLE subscriptions ADD COLUMN newer uuid NOT NULL DEFAULT gen_random_uuid()",
    "ALTER TABLE subscriptions DROP COLUMN address",
    "ALTER TABLE subscriptions RENAME COLUMN address TO target",
    "ALTER TABLE subscriptions RENAME TO targets",
    "ALTER TABLE subscriptions ADD CONSTRAINT newer CHECK (id > 0)",
    "ALTER TABLE subscriptions ADD CONSTRAINT newer FOREIGN KEY (id) REFERENCES users (id)",
    "ALTER TABLE subscriptions ADD CONSTRAINT newer UNIQUE (name)",
    "DROP TABLE subscriptions",
    "CREATE INDEX newer ON deliveries (due_at)",
    "DROP INDEX deliveries_due",
]
SAFE = [
    "ALTER TABLE subscriptions ADD COLUMN newer integer",
    "ALTER TABLE subscriptions ADD COLUMN newer integer NOT NULL DEFAULT 0",
    "ALTER TABLE subscriptions ADD CONSTRAINT newer CHECK (id > 0) NOT VALID",
    "CREATE TABLE newer (id bigint PRIMARY KEY, name text NOT NULL); CREATE INDEX newer_by_name ON newer (name)",
    "CREATE OR REPLACE FUNCTION newer() RETURNS integer LANGUAGE sql RETURN 1",
    "CREATE INDEX CONCURRENTLY newer ON deliveries (due_at)",
    "DROP INDEX CONCURRENTLY IF EXISTS deliveries_due",
]


def objections(script: str) -> str:
    """Return what Squawk says against a step; nothing if it is safe."""
    options = [] if is_concurrent(script) else ["--assume-in-transaction"]
    config = str(MIGRATIONS / "squawk.toml")
    command = [SQUAWK, "--config", config, "--pg-version", "15", "--reporter", "gcc", *options]
    told = subprocess.run(command, check=False, input=f"{script};", capture_output=True, text=True, timeout=30)
    assert told.stdout or told.returncode == 0, told.stderr
    return told.stdout if told.returncode else ""


@pytest.mark.parametrize("statement", UNSAFE)
def test_a_step_that_would_hurt_the_running_version_is_refused(statement):
    assert objections(statement)


@pytest.mark.parametrize("statement", SAFE)
def test_one_that_only_adds_is_not(statement):
    assert objections(statement) == ""


def test_the_steps_only_add():
    for step in STEPS[JUDGED_FROM - 1 :]:
        script = (MIGRATIONS / f"{step}.sql").read_text()
        assert objections(script) == "", step
        assert not is_concurrent(script) or read_statements(script)


def test_a_step_that_may_have_been_applied_never_changes_and_gets_no_predecessor():
    """A new step adds its line at the end: ``sha256sum 0036.sql >> landed.sha256``."""
    landed = (MIGRATIONS / "landed.sha256").read_text().splitlines()
    assert landed == [f"{sha256((MIGRATIONS / f'{step}.sql').read_bytes()).hexdigest()}  {step}.sql" for step in STEPS]


@pytest.mark.parametrize(
    "script",
    [
        "CREATE INDEX CONCURRENTLY a ON deliveries (due_at); ALTER TABLE deliveries ADD COLUMN b integer",
        "CREATE INDEX a ON deliveries (due_at); DROP INDEX CONCURRENTLY IF EXISTS b",
        "DROP INDEX CONCURRENTLY b",
    ],
)
def test_a_concurrent_step_has_nothing_but_indexes_that_can_be_made_again(script):
    assert is_concurrent(script)
    with pytest.raises(ValueError, match=r"^a concurrent step cannot have this statement: "):
        read_statements(script)


def test_a_comment_makes_no_step_concurrent():
    assert not is_concurrent("-- CREATE INDEX CONCURRENTLY would be better\nSELECT 1;")
