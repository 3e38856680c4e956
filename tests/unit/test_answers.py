"""Which answers of PostgreSQL are about the data."""

from __future__ import annotations

import pytest

from broker.store.postgres.answers import is_about_data


@pytest.mark.parametrize(
    ("sqlstate", "constraint"),
    [
        ("22003", None),
        ("22021", None),
        ("22P05", None),
        ("22032", None),
        ("23505", "users_name"),
        ("23505", "signals_pkey"),
        ("23505", "signals_1_pkey"),
        ("23505", "attempts_4194305_pkey"),
        ("23505", "bindings_once"),
        ("23514", "signals_state_check"),
        ("23503", "endpoint_tokens_endpoint_id_fkey"),
    ],
)
def test_values_and_our_own_constraints_are(sqlstate, constraint):
    assert is_about_data(sqlstate, constraint)


@pytest.mark.parametrize(
    ("sqlstate", "constraint"),
    [
        ("2200H", None),
        ("22012", None),
        ("23000", None),
        ("23502", None),
        ("23502", "signals_pkey"),
        ("23505", "signals_1_surprise"),
        ("23505", None),
        ("23514", "odd"),
        ("23503", "signals_id_fkey"),
        ("42501", None),
        ("", None),
    ],
)
def test_nothing_else_is(sqlstate, constraint):
    assert not is_about_data(sqlstate, constraint)
