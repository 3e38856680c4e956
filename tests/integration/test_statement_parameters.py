"""No statement narrows a number on its way in: what PostgreSQL infers for a parameter holds what a caller may send."""

from __future__ import annotations

import importlib
import pkgutil
import re
from datetime import timedelta

import pytest

import broker.store
import broker.transport
from broker.store.postgres.statements import Statements

NARROW = {"smallint", "integer", "smallint[]", "integer[]"}


def statements():
    """Yield every statement of the product that names no tables or columns when it is carried out."""
    for package in (broker.store, broker.transport):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    for kind in Statements.__subclasses__():
        yield from (statement for statement in kind.every() if not statement.identifiers)


def said(statement, parameter):
    """Return whether the statement itself says that the parameter is a small number."""
    number = statement.parameters.index(parameter) + 1
    return re.search(rf"\${number}::(int|smallint)\b", statement.sql) is not None


@pytest.mark.slow
async def test_a_parameter_is_a_small_number_only_if_its_statement_says_so(database):
    narrowed, prepared = [], 0
    async with database.dedicated_session(timeout=timedelta(seconds=60)) as session:
        for number, statement in enumerate(statements()):
            if not statement.parameters:
                continue
            await session.execute(f"PREPARE one_{number} AS {statement.sql}")
            types = await session.fetchval(
                "SELECT parameter_types::text[] FROM pg_prepared_statements WHERE name = $1", f"one_{number}"
            )
            prepared += 1
            narrowed += [
                f"{statement.name}: {parameter} {kind}"
                for parameter, kind in zip(statement.parameters, types, strict=True)
                if kind in NARROW and not said(statement, parameter)
            ]
    assert prepared > 100
    assert not narrowed, "; ".join(narrowed)
