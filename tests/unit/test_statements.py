"""SQL in files: what a declaration, a parameter and a call may get wrong is found before PostgreSQL sees it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest

import broker
from broker.store.postgres.database import Session
from broker.store.postgres.statements import Statement, Statements, sparse

_PACKAGE = Path(broker.__file__).parent
_AUDIT = "broker.store.administration.audit"
_METHODS = {"fetch", "fetchrow", "fetchval", "execute"}


class Use(NamedTuple):
    """A place in the code that names a statement; `call` is the method call that runs it, if it is run there."""

    where: str
    statement: Statement
    call: ast.Call | None
    named: ast.Call | None


def test_parameters_get_the_numbers_of_their_first_appearance():
    statement = Statement("s", "SELECT :b, :a, :b WHERE x = ANY (:a::text[])")
    assert statement.sql == "SELECT $1, $2, $1 WHERE x = ANY ($2::text[])"
    assert statement.arguments({"a": 1, "b": 2}) == [2, 1]


def test_a_comment_is_no_part_of_a_statement():
    statement = Statement("s", "-- :a is not one\nSELECT :b;\n")
    assert (statement.sql, statement.parameters) == ("SELECT $1;", ("b",))


@pytest.mark.parametrize("given", [{}, {"a": 1}, {"a": 1, "b": 2, "c": 3}, {"a": 1, "c": 3}])
def test_a_parameter_that_is_missing_misspelt_or_too_many_is_an_error(given):
    with pytest.raises(TypeError, match=r"s takes \['a', 'b'\], not"):
        Statement("s", "SELECT :a, :b").arguments(given)


@pytest.mark.parametrize("column", [[1, 2], [None, 0], ["", None], [[], None], [None, False]])
def test_a_column_with_a_value_stays_as_it_is(column):
    assert sparse(column) is column


def test_a_column_of_nulls_is_left_to_unnest():
    assert sparse([None, None]) == sparse([]) == []


def test_a_number_in_the_name_of_a_table_is_filled_in():
    statement = Statement("s", "SELECT * FROM signals_{first_id} WHERE id > :after").naming(first_id=7)
    assert statement.sql == "SELECT * FROM signals_7 WHERE id > $1"


def test_a_number_that_no_name_of_a_table_has_is_an_error():
    with pytest.raises(TypeError, match=r"s names \['first_id'\], not \['number'\]"):
        Statement("s", "SELECT * FROM signals_{first_id}").naming(number=7)


@pytest.mark.parametrize(
    ("statement", "args", "parameters"), [(Statement("s", "SELECT :a"), [1], {}), ("SELECT $1", [], {"a": 1})]
)
async def test_a_statement_takes_no_parameter_by_number_and_a_text_none_by_name(statement, args, parameters):
    session = Session(SimpleNamespace(fetch=None), timedelta(seconds=1))
    with pytest.raises(TypeError, match="a Statement takes its parameters by name, a text takes them by number"):
        await session.fetch(statement, *args, **parameters)


def test_a_file_and_its_declaration_have_the_same_statements():
    with pytest.raises(ImportError, match=r"audit.sql and .* differ in \['insert', 'list', 'note'\]"):
        type("_Sql", (Statements,), {"__module__": _AUDIT, "__annotations__": {"lock": 0, "note": 0}}, file="audit.sql")


def test_every_call_names_the_parameters_of_its_statement():
    uses = [use for use in _uses() if use.call is not None]
    assert len(uses) > 100
    for use in uses:
        given = {keyword.arg for keyword in use.call.keywords}
        parameters = set(use.statement.parameters)
        assert len(use.call.args) == 1, f"{use.where}: {use.statement.name} takes its parameters by name"
        assert given - {None} <= parameters, f"{use.where}: {use.statement.name} takes {parameters}"
        assert None in given or given == parameters, f"{use.where}: {use.statement.name} takes {parameters}"


def test_every_number_in_the_name_of_a_table_is_given():
    for use in _uses():
        given = set() if use.named is None else {keyword.arg for keyword in use.named.keywords}
        assert given == use.statement.identifiers, f"{use.where}: {use.statement.name}"


def test_every_statement_is_used():
    used = {use.statement for use in _uses()}
    members = [member for kind in Statements.__subclasses__() for member in vars(kind).values()]
    unused = {member.name for member in members if isinstance(member, Statement) and member not in used}
    assert unused == set()


def _uses() -> Iterator[Use]:
    """Find every place in the product that names a statement."""
    for path in sorted(_PACKAGE.rglob("*.py")):
        source = path.read_text("utf-8")
        if "Statements" not in source and "Sql." not in source:
            continue
        name = ".".join(path.relative_to(_PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        module = import_module(name)
        tree = ast.parse(source)
        parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
                continue
            kind = getattr(module, node.value.id, None)
            if not (isinstance(kind, type) and issubclass(kind, Statements)):
                continue
            if isinstance(getattr(kind, node.attr), Statement):
                yield _use(f"{path.name}:{node.lineno}", getattr(kind, node.attr), node, parents)


def _use(where: str, statement: Statement, node: ast.AST, parents: dict[ast.AST, ast.AST]) -> Use:
    named = None
    parent = parents[node]
    if isinstance(parent, ast.Attribute) and parent.attr == "naming":
        named = node = parents[parent]
        parent = parents[named]
    runs = isinstance(parent, ast.Call) and isinstance(parent.func, ast.Attribute) and parent.func.attr in _METHODS
    return Use(where, statement, parent if runs else None, named)
