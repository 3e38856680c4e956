"""What is too little for all is divided so that those that want few get them."""

import random
from collections import Counter

import pytest

from workers.fairness import Rota, divide, divide_by, in_turns


@pytest.mark.parametrize(
    ("wanted", "most", "parts"),
    [
        ([5, 5], 20, [5, 5]),
        ([1, 500, 500], 101, [1, 50, 50]),
        ([500, 1], 10, [9, 1]),
        ([3, 3, 3], 2, [1, 1, 0]),
        ([20, 0, 1, 1], 2, [1, 0, 1, 0]),
        ([7], 0, [0]),
        ([], 5, []),
    ],
)
def test_those_that_want_few_get_them_and_the_others_share_the_rest(wanted, most, parts):
    assert divide(wanted, most) == parts


def test_groups_get_equal_parts_however_many_they_are():
    wanted = {"a1": 100, "a2": 100, "a3": 100, "b": 100}
    assert divide_by(wanted, lambda key: key[0], 60) == {"a1": 10, "a2": 10, "a3": 10, "b": 30}


def test_if_there_is_less_than_one_for_each_who_wants_much_has_its_turns_too():
    """Twenty that want one each all the time would leave nothing to it."""
    keys, served = [*range(21)], Counter()
    order = random.Random(1)
    for _ in range(100):
        order.shuffle(keys)
        served.update(divide_by({key: 1 if key else 50 for key in keys}, lambda key: key, 10))
    assert min(served[key] for key in keys) > 25


def serve(rota, keys, most):
    served = [
        key for key, part in divide_by(dict.fromkeys(rota.order(keys), 1), lambda key: key[0], most).items() if part
    ]
    rota.note(served)
    return served


def test_whoever_was_not_served_for_longest_comes_first():
    rota, keys = Rota(lambda key: key[0]), [f"a{number}" for number in range(12)]
    assert {key for _ in range(4) for key in serve(rota, keys, 3)} == set(keys)
    assert serve(rota, [*keys, "new"], 1) == ["new"]


def test_a_group_of_many_has_no_more_turns_than_one_of_few():
    rota, served = Rota(lambda key: key[0]), Counter()
    keys = [f"{group}{number}" for group in "abcd" for number in range(100)] + ["quiet"]
    for _ in range(10):
        served.update(key[0] for key in serve(rota, keys, 1))
    assert served == dict.fromkeys("abcdq", 2)


def test_groups_take_turns_and_keep_their_order():
    assert in_turns(["a1", "a2", "a3", "b1", "c1", "b2"], lambda key: key[0]) == ["a1", "b1", "c1", "a2", "b2", "a3"]
