"""What is too little for all is divided so that those that want few get them."""

import random
import time
from collections import Counter

import pytest

from workers.fairness import Rota, divide, divide_by, find_next


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
    served = [key for _ in range(6) for key in serve(rota, 3)]
    assert set(served) == set(keys), "and every fourth time one that had a turn"
    rota.keep([*keys, "anew"])
    assert "anew" in [*serve(rota, 1), *serve(rota, 1)]


def test_a_group_of_many_has_no_more_turns_than_one_of_few():
    rota = rota_of([f"{group}{number}" for group in "abcd" for number in range(100)] + ["quiet"])
    counts = Counter(key[0] for _ in range(100) for key in serve(rota, 1))
    assert all(19 <= counts[group] <= 21 for group in "abcdq"), counts


def test_groups_take_turns_and_those_that_are_through_leave_theirs_to_the_others():
    rota = rota_of(["a1", "a2", "a3", "b1", "c1", "b2"])
    groups = "".join(key[0] for key in rota.first(9))
    assert [Counter(groups[:most]) for most in (3, 5, 6)] == [Counter("abc"), Counter("aabbc"), Counter("aaabbc")]
    assert len(set(rota.first(9))) == 6


@pytest.mark.parametrize("most", [1, 2, 3, 4, 100])
def test_those_that_had_a_turn_have_others_although_new_ones_come_all_the_time(most):
    rota, served = rota_of(["a1", "a2"]), []
    for turn in range(800 // most):
        served += serve(rota, most)
        for number in range(most):
            rota.add(f"anew{turn}.{number}")
    counts = Counter(served)
    assert min(counts["a1"], counts["a2"]) >= 2
    news = [key for key in served if key.startswith("anew") and counts[key] == 1]
    came = sorted(news, key=lambda key: [int(part) for part in key.removeprefix("anew").split(".")])
    assert news == came, "of the new ones the oldest is the first"


def test_those_that_are_passed_over_come_again_after_others_that_are_new_like_them():
    rota = rota_of([f"a{number}" for number in range(10)])
    first, second, *_ = rota.first(10)
    rota.pass_over([first, second])
    assert rota.first(10)[-2:] == [first, second]
    rota.add("anew")
    rota.note(rota.first(8))
    assert [key for key in rota.first(11) if key in (first, second, "anew")] == [first, second, "anew"]


async def test_a_part_of_very_many_is_found_after_the_other_and_then_from_the_beginning_again():
    known = {key: str(key) for key in range(1, 8)}

    async def find(after_id, limit):
        return {key: known[key] for key in [key for key in known if key > after_id][:limit]}

    seen, parts = 0, []
    for _ in range(4):
        found, seen = await find_next(find, seen, most=3)
        parts.append(sorted(found))
    assert parts == [[1, 2, 3], [4, 5, 6], [1, 2, 7], [3, 4, 5]]
    assert await find_next(find, 5, most=9) == (known, 0)
    assert await find_next(find, 0, most=9) == (known, 0)


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
    assert rota.first(1) == ["two"], "`three` and `one` have had turns"


def test_the_next_ones_are_told_without_looking_at_the_others():
    rota, looked = Rota(lambda key: key % 1000), []
    rota.keep(range(100_000))
    began = time.process_time()
    for _ in range(200):
        looked += rota.first(100)
        rota.note(looked[-100:])
    assert time.process_time() - began < 0.5, "200 times 100,000 would take many seconds"
    assert len(set(looked)) > 10_000
