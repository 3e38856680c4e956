from copy import deepcopy

import pytest

from workers.shares import Pool, Share


def of(key, weight=2.0):
    return [[Share(key, weight)]]


def fill(pool, levels, most=1000):
    """Take as many places as there is room for; return how many."""
    taken = 0
    while taken < most and pool.room(levels):
        pool.take(levels)
        taken += 1
    return taken


def test_one_alone_gets_the_larger_part_the_greater_its_weight():
    assert [fill(Pool(200), of("a", weight)) for weight in (1, 2, 32, 1024)] == [64, 83, 144, 181]


def test_something_stays_free_however_many_give_nothing_back():
    """With shares in proportion to what is free, the eighth would take the last place."""
    pool = Pool(200)
    taken = [fill(pool, of(key)) for key in range(20)]
    assert (taken[0], taken[5], taken[19], sum(taken)) == (83, 5, 1, 179)
    assert fill(pool, of("new")) == 1
    assert fill(pool, of("weighty", 1000.0)) == 13


def test_who_drains_gets_as_much_as_the_next_one():
    """Each of four takes a place in turn, and gives its oldest one back now and then: their parts become alike."""
    pool = Pool(200)
    fill(pool, of(0))
    taken = [82, 0, 0, 0]
    for _ in range(300):
        for key in range(4):
            if taken[key]:
                pool.give_back(of(key))
                taken[key] -= 1
            taken[key] += fill(pool, of(key), most=2)
    assert max(taken) - min(taken) <= 2
    assert min(taken) > 20


def test_who_has_none_takes_the_last_place():
    pool = Pool(10)
    for key in range(9):
        pool.take(of(key))
    assert pool.room(of(0)) == 0
    assert fill(pool, of("new")) == 1
    assert fill(pool, of("newer")) == 0


def test_inner_shares_are_parts_of_what_the_outer_ones_leave():
    pool = Pool(200)
    a, b = ([[Share("tenant", 16.0)], [Share(key, 2.0)]] for key in "ab")
    assert (fill(pool, a), fill(pool, b)) == (40, 20)
    other = [[Share("other tenant", 16.0)], [Share("c", 2.0)]]
    assert fill(pool, other) > 10


def test_all_shares_of_a_level_are_kept():
    pool = Pool(200)
    fill(pool, of("a"))
    both = [[Share("a", 2.0), Share("b", 2.0)]]
    assert pool.room(both) == 0
    assert pool.room(of("b")) > 10


@pytest.mark.parametrize("capacity", [1, 2, 4])
def test_in_a_small_pool_one_alone_has_all(capacity):
    assert fill(Pool(capacity), of("a", 1024.0)) == capacity


def test_the_room_is_what_can_be_taken():
    pool = Pool(200)
    for key, most in ((0, 30), (1, 20), (2, 1), (3, 45)):
        room = pool.room(of(key))
        assert fill(deepcopy(pool), of(key)) == room
        fill(pool, of(key), most)


def test_places_are_given_back():
    pool = Pool(3)
    fill(pool, of("a", 1024.0))
    for _ in range(3):
        pool.give_back(of("a"))
    assert fill(pool, of("b", 1024.0)) == 3
