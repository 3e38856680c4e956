"""How many messages RabbitMQ may hand out to a consumer, by the sizes that came lately."""

from __future__ import annotations

import pytest

from broker.transport.rabbitmq.window import Window


def fill(window, *sizes, start=1):
    return [window.add(tag, size) for tag, size in enumerate(sizes, start)]


def test_small_messages_are_bounded_by_their_number():
    window = Window(500, most_bytes=1000)
    assert window.open() == 500
    assert all(fill(window, *[1] * 500))
    assert not window.may_grow


def test_a_message_without_room_is_surplus_unless_it_is_alone():
    window = Window(500, most_bytes=1000)
    window.open()
    assert fill(window, 5000) == [True]
    window.remove(1)
    assert fill(window, 400, 400, 400) == [True, True, False]


def test_after_large_messages_half_the_bytes_are_for_new_ones():
    """The other half is for those that are unsettled still."""
    window = Window(500, most_bytes=1000)
    window.open()
    fill(window, *[100] * 11)
    assert not window.is_low
    for tag in range(1, 6):
        window.remove(tag)
    assert window.is_low
    assert window.open() == 5
    assert all(fill(window, *[100] * 5, start=20))


def test_small_messages_let_it_grow_step_by_step():
    window = Window(500, most_bytes=1000)
    window.open()
    fill(window, *[100] * 11)
    window.clear()
    sizes = [window.open()]
    tag = 1
    while sizes[-1] < 500:
        while not window.may_grow:
            assert window.add(tag, 1)
            window.remove(tag)
            tag += 1
        sizes.append(window.open())
    assert sizes == [5, 20, 80, 320, 500]


@pytest.mark.parametrize("large", [1000, 100, 10])
def test_small_messages_that_are_not_settled_let_it_grow_too(large):
    """Else those to receivers that hang would keep all others out."""
    window = Window(500, most_bytes=1000)
    fill(window, large)
    window.remove(1)
    handed_out, tag = window.open(), 1
    assert handed_out < 500
    while len(window.tags) < 500:
        assert handed_out > 0, f"it holds {len(window.tags)}, and gets no more"
        handed_out -= 1
        tag += 1
        assert window.add(tag, 1)
        if window.may_grow:
            handed_out = window.open()


def test_one_large_message_among_small_ones_keeps_it_from_growing():
    window = Window(500, most_bytes=1000)
    window.open()
    fill(window, *[100] * 11)
    window.clear()
    window.open()
    for tag in range(100, 200):
        window.add(tag, 100 if tag % 5 == 0 else 1)
        window.remove(tag)
        assert not window.may_grow


def test_with_what_is_unsettled_it_never_exceeds_the_number():
    window = Window(10, most_bytes=1000)
    window.open()
    fill(window, 1, 1, 1)
    assert window.open() == 7


def test_a_lost_channel_changes_nothing_by_itself():
    window = Window(500, most_bytes=1000)
    window.open()
    fill(window, *[100] * 11)
    window.clear()
    assert [window.open(), window.open(), window.open()] == [5, 5, 5]


@pytest.mark.slow
def test_a_window_that_was_opened_beside_many_unsettled_messages_may_grow_once_these_are_settled():
    """Else a consumer would go on with one message at a time."""
    window = Window(500)
    for tag in range(480):
        window.add(tag, 10)
    assert window.open() == 20
    assert not window.may_grow
    for tag in range(20):
        window.remove(tag)
    assert window.may_grow
    assert window.open() == 40
    assert not window.may_grow
