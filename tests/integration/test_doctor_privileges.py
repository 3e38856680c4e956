"""The doctor sees what the role of the store's URL may not do, and goes on with its other checks."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import pytest
from yarl import URL

from broker.errors import ConfigurationError
from broker.store.postgres.migrate import migrate
from tests.support.product import SECRET_KEY
from tests.support.remote import Laptop
from tests.support.roles import LOCKOUTS, role_of

pytestmark = pytest.mark.slow

LATER = {"notify", "keys", "clock", "egress", "dns", "books", "retention", "transport", "roles", "policies", "lost"}
"""Some of the checks after that of the privileges."""


@pytest.fixture
async def role(database_url, postgres_url):
    """A role of PostgreSQL that may do everything in this test's own database, and is no superuser."""
    async with role_of(database_url, postgres_url) as role:
        yield role


async def examine(role, home):
    """Return doctor's status, and what it finds: check -> level and detail of its worst finding."""
    done = await Laptop(home, STORE_URL=role.url(), SECRET_KEYS=SECRET_KEY).call("doctor", "--json")
    assert done.stderr == ""
    found = {}
    for check in json.loads(done.stdout)["checks"]:
        assert check["level"] == "ok" or check["detail"].count("`") >= 2, check
        if found.get(check["check"], ("ok",))[0] != "fail":
            found[check["check"]] = check["level"], check["detail"]
    return done.returncode, found


@asynccontextmanager
async def revoked(database, *privileges):
    """Take privileges from the owner, and so from every role that is no superuser."""
    for what in privileges:
        await database.execute(f"REVOKE {what} FROM CURRENT_USER")
    try:
        yield
    finally:
        for what in privileges:
            await database.execute(f"GRANT {what} TO CURRENT_USER")


async def test_a_role_that_may_do_everything_is_told_so(role, tmp_path):
    _, found = await examine(role, tmp_path)
    assert found["privileges"] == ("ok", f"the role {role.name} may use every table and sequence")


async def test_a_read_only_database_is_a_failure_and_no_role_is_said_to_be_missing(role, tmp_path):
    async with LOCKOUTS["25006 read-only"](role):
        status, found = await examine(role, tmp_path)
    assert (status, found["store"][0]) == (1, "fail")
    assert found["store"][1].startswith(f"the database {role.database} is read-only for the role {role.name}")
    assert found["roles"][1].startswith("cannot be known, since no process can write to the store")
    assert found.keys() >= LATER


async def test_missing_privileges_are_named_with_what_grants_them_and_end_no_other_check(database, role, tmp_path):
    lost = "INSERT ON deliveries", "SELECT ON subscriptions", "USAGE, UPDATE ON SEQUENCE signal_positions"
    async with revoked(database, *lost):
        status, found = await examine(role, tmp_path)
    assert status == 1
    assert found["privileges"][0] == "fail"
    assert found["privileges"][1] == (
        f"the role {role.name} lacks INSERT on deliveries, SELECT on subscriptions, USAGE on the sequence"
        f" signal_positions: as the owner of the tables, run `GRANT INSERT ON deliveries TO {role.name};"
        f" GRANT SELECT ON subscriptions TO {role.name}; GRANT USAGE ON SEQUENCE signal_positions TO {role.name}`"
    )
    assert found["keys"][0] == "fail"
    assert "permission denied for table subscriptions" in found["keys"][1]
    assert "pg_isready" not in json.dumps(found)
    assert found.keys() >= LATER


async def test_a_role_without_any_privilege_is_not_told_to_start_postgresql(database, role, tmp_path):
    owner = await database.fetchval("SELECT quote_ident(current_user)")
    await database.execute(f"REVOKE {owner} FROM {role.name}")
    status, found = await examine(role, tmp_path)
    assert (status, found["store"][0]) == (1, "fail")
    assert "permission denied for table schema_steps: let the owner of the tables `GRANT`" in found["store"][1]
    await database.execute(f"GRANT SELECT ON schema_steps TO {role.name}")
    _, found = await examine(role, tmp_path)
    assert f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role.name}" in found["privileges"][1]
    assert f"GRANT ALL ON ALL TABLES IN SCHEMA transport TO {role.name}" in found["privileges"][1]


async def test_a_role_that_may_not_use_the_schema_is_told_what_grants_it(database, role, tmp_path):
    owner = await database.fetchval("SELECT quote_ident(current_user)")
    await database.execute(f"REVOKE {owner} FROM {role.name}")
    await database.execute("REVOKE USAGE ON SCHEMA public FROM public")
    status, found = await examine(role, tmp_path)
    assert (status, found["store"][0]) == (1, "fail")
    assert f"run `GRANT USAGE ON SCHEMA public TO {role.name}`" in found["store"][1]
    assert "another product" not in found["store"][1]
    # A schema of its own, where names are looked up first, is not taken for an empty store.
    await database.execute(f"CREATE SCHEMA {role.name} AUTHORIZATION {role.name}")
    _, found = await examine(role, tmp_path)
    assert f"run `GRANT USAGE ON SCHEMA public TO {role.name}`" in found["store"][1]
    await database.execute(f"GRANT USAGE ON SCHEMA public TO {role.name}")
    _, found = await examine(role, tmp_path)
    assert "permission denied for table schema_steps" in found["store"][1]


@pytest.mark.parametrize("path", ["nowhere", "pg_catalog"])
async def test_a_search_path_that_misses_the_store_is_told(database, role, tmp_path, path):
    await database.execute("CREATE SCHEMA crm")
    url = str(URL(role.url()).update_query(search_path=path))
    done = await Laptop(tmp_path, STORE_URL=url, SECRET_KEYS=SECRET_KEY).call("doctor", "--json")
    failed = [check for check in json.loads(done.stdout)["checks"] if check["level"] == "fail"]
    assert [check["check"] for check in failed] == ["store"]
    assert (
        f"the store is in the schema public of this database, and the search path ({path}) does" in failed[0]["detail"]
    )
    with pytest.raises(ConfigurationError, match="the store is in the schema public"):
        await migrate(str(URL(role.url()).update_query(search_path="crm")))


async def test_a_role_that_does_not_own_the_tables_is_warned_of_the_retention(database, role, tmp_path):
    owner = await database.fetchval("SELECT quote_ident(current_user)")
    await database.execute(f"REVOKE {owner} FROM {role.name}")
    for schema in ("public", "transport"):
        await database.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role.name}")
        for kind in ("TABLES", "SEQUENCES"):
            await database.execute(f"GRANT ALL ON ALL {kind} IN SCHEMA {schema} TO {role.name}")
    _, found = await examine(role, tmp_path)
    assert found["privileges"][0] == "warn"
    assert "does not own attempts, deliveries, matches, signals, and cannot make or drop" in found["privileges"][1]
