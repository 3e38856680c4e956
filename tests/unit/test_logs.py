import json
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from broker.logs import render_line


@dataclass
class Part:
    name: str


MOMENT = datetime(2026, 11, 27, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "rendered"),
    [
        ("Zo\xeb", "Zo\xeb"),
        ("half of a pair: \ud800", "half of a pair: \ud800"),
        (2**80, 2**80),
        (None, None),
        ([1, (2.5, True)], [1, [2.5, True]]),
        ({1: "a"}, {"1": "a"}),
        (Part("q"), repr(Part("q"))),
        (MOMENT, repr(MOMENT)),
        (ValueError("x"), "ValueError('x')"),
    ],
)
def test_whatever_an_event_has_its_line_is_json(value, rendered):
    assert json.loads(render_line({"event": "a.b", "value": value}, default=repr)) == {
        "event": "a.b",
        "value": rendered,
    }
