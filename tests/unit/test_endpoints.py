import pytest

from broker.endpoints import check_endpoint_name, endpoint_names
from broker.errors import InvalidField
from broker.names import matches


@pytest.mark.parametrize("name", ["a", "my-endpoint_2", "x" * 100])
def test_an_endpoints_name_is_safe_in_urls(name):
    assert check_endpoint_name(name) == name


@pytest.mark.parametrize("name", ["", "A", "a.b", "a b", "x" * 101, "a\n", "٣"])
def test_anything_else_is_no_endpoints_name(name):
    with pytest.raises(InvalidField, match="must be 1 to 100 characters"):
        check_endpoint_name(name)


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (None, None),
        ((), []),
        (("a", "b.c", "a", "b"), ["a", "b"]),
        (("#.a", "b.#", "#.c.#"), ["a", "b", "c"]),
        (("a", "#"), None),
        (("*",), None),
        (("*.#",), None),
        (("*.*", "a.*"), []),
    ],
)
def test_patterns_match_an_endpoint_all_of_them_or_none(patterns, names):
    assert endpoint_names(patterns) == names
    for name in ("a", "b", "c"):
        allowed = names is None or name in names
        assert allowed == (patterns is None or any(matches(pattern, name) for pattern in patterns))
