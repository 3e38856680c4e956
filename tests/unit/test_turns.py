from workers.turns import Turns


def everything(_):
    return True


def drain(turns, admits=everything):
    return list(turns.serve(admits))


def test_groups_take_turns_and_their_items_keep_their_order():
    turns = Turns()
    for item in ("a1", "a2", "a3", "b1", "c1", "b2"):
        turns.add((item[0],), item)
    assert drain(turns) == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_outer_groups_have_equal_turns_whatever_is_in_them():
    turns = Turns()
    for item in ("x.a1", "x.b1", "x.c1", "x.a2", "y.d1", "y.d2", "y.d3"):
        turns.add((item[0], item[2]), item)
    assert drain(turns) == ["x.a1", "y.d1", "x.b1", "y.d2", "x.c1", "y.d3", "x.a2"]


def test_a_group_that_is_not_admitted_is_passed_over_and_keeps_its_items():
    turns = Turns()
    for item in ("x.a1", "x.b1", "y.a1"):
        turns.add((item[0], item[2]), item)
    assert drain(turns, lambda path: path != ("x", "a")) == ["x.b1", "y.a1"]
    assert drain(turns, lambda path: path[0] != "x") == []
    assert drain(turns) == ["x.a1"]


def test_items_can_be_removed():
    turns = Turns()
    for item in ("x.a1", "x.a2", "y.b1"):
        turns.add((item[0], item[2]), item)
    assert [(path, list(queue)) for path, queue in turns.queues()] == [
        (("x", "a"), ["x.a1", "x.a2"]),
        (("y", "b"), ["y.b1"]),
    ]
    for path, queue in turns.queues():
        if path[0] == "x":
            queue.clear()
    turns.prune()
    assert drain(turns) == ["y.b1"]


def crowd():
    """Return a hundred items in groups of their own, and a hundred in one group."""
    turns = Turns()
    for number in range(100):
        turns.add(("x", number), f"x{number}")
        turns.add(("y", "one"), f"y{number}")
    return turns


def test_groups_that_are_refused_are_asked_once_however_many_items_others_have():
    turns, asked = crowd(), []

    def admits(path):
        asked.append(path)
        return path[-1] in ("x", "y", "one")

    assert drain(turns, admits) == [f"y{number}" for number in range(100)]
    assert len([path for path in asked if path[:1] == ("x",)]) <= 201, "each of them once, and their group after each"


def test_an_outer_group_that_is_refused_is_passed_over_as_a_whole():
    turns, asked = crowd(), []

    def admits(path):
        asked.append(path)
        return path[0] == "y"

    assert len(drain(turns, admits)) == 100
    assert len([path for path in asked if path[0] == "x"]) == 2
