"""SQL in files: what a declaration, a parameter and a call may get wrong is found before PostgreSQL sees it."""

from __future__ import annotations

import pytest

from broker.store.postgres.statements import Statement


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


def test_a_number_in_the_name_of_a_table_is_filled_in():
    statement = Statement("s", "SELECT * FROM signals_{first_id} WHERE id > :after").naming(first_id=7)
    assert statement.sql == "SELECT * FROM signals_7 WHERE id > $1"
