"""What is too little for all is divided so that those that want few get them."""

import random
import time
from collections import Counter

import pytest

from workers.fairness import Rota, divide, divide_by


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


def serve(rota, most):
    served = [
        key for key, part in divide_by(dict.fromkeys(rota.first(most), 1), lambda key: key[0], most).items() if part
    ]
    rota.note(served)
    return served


def rota_of(keys):
    rota = Rota(lambda key: key[0])
    rota.keep(keys)
    return rota


def test_whoever_was_not_served_for_longest_comes_first():
    keys = [f"a{number}" for number in range(12)]
    rota = rota_of(keys)
    assert {key for _ in range(4) for key in serve(rota, 3)} == set(keys)
    rota.keep([*keys, "anew"])
    assert serve(rota, 1) == ["anew"]


def test_a_group_of_many_has_no_more_turns_than_one_of_few():
    rota = rota_of([f"{group}{number}" for group in "abcd" for number in range(100)] + ["quiet"])
    assert Counter(key[0] for _ in range(10) for key in serve(rota, 1)) == dict.fromkeys("abcdq", 2)


def test_groups_take_turns_and_those_that_are_through_leave_theirs_to_the_others():
    rota = rota_of(["a1", "a2", "a3", "b1", "c1", "b2"])
    groups = "".join(key[0] for key in rota.first(9))
    assert [Counter(groups[:most]) for most in (3, 5, 6)] == [Counter("abc"), Counter("aabbc"), Counter("aaabbc")]
    assert len(set(rota.first(9))) == 6


def test_those_that_had_a_turn_have_others_although_new_ones_come_all_the_time():
    rota, served = rota_of(["a1", "a2"]), Counter()
    for turn in range(20):
        served.update(serve(rota, 4))
        for number in range(4):
            rota.add(f"anew{turn}.{number}")
    assert min(served["a1"], served["a2"]) >= 2
    assert {f"anew{turn}.{number}" for turn in range(10) for number in range(4)} <= set(served), "the oldest first"


def test_whoever_is_not_kept_or_is_discarded_has_no_turns():
    rota = rota_of(["a1", "a2", "b1"])
    rota.discard("a1")
    rota.discard("a1")
    assert set(rota.first(9)) == {"a2", "b1"}
    rota.keep(["a2", "c1"])
    assert set(rota.first(9)) == {"a2", "c1"}
    rota.keep([])
    assert rota.first(9) == []


def test_a_key_whose_group_has_changed_takes_turns_with_the_new_one():
    groups = {"one": "x", "two": "x", "three": "y"}
    rota = Rota(groups.__getitem__)
    rota.keep(groups)
    rota.note(["three"])
    groups["one"] = "y"
    rota.keep(groups)
    assert rota.first(9)[::2] in (["two", "three"], ["one", "three"])
    rota.note(["one"])
    rota.keep(groups)
    assert rota.first(1) == ["two"], "nobody is new any more"


def test_the_next_ones_are_told_without_looking_at_the_others():
    rota, looked = Rota(lambda key: key % 1000), []
    rota.keep(range(100_000))
    began = time.process_time()
    for _ in range(200):
        looked += rota.first(100)
        rota.note(looked[-100:])
    assert time.process_time() - began < 0.5, "200 times 100,000 would take many seconds"
    assert Counter(looked).most_common(1)[0][1] == 1
