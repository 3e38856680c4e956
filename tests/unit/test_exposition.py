"""Metrics as text: those who ask for them all the time do not keep the process from its work."""

import pytest

from broker.exposition import Exposition, Format, choose_format
from tests.support.clock import Clock

OPENMETRICS = "application/openmetrics-text"


def test_it_is_written_five_times_a_second_at_most_for_however_many_ask(monkeypatch):
    written = []
    monkeypatch.setattr(Format, "write", lambda _: written.append(1) or b"%d" % len(written))
    clock = Clock()
    exposition = Exposition(clock)
    assert [exposition.read()[0] for _ in range(7)] == [b"1", b"2", b"3", b"4", b"5", b"5", b"5"]
    clock.now += 0.3
    assert [exposition.read()[0] for _ in range(3)] == [b"6", b"6", b"6"]
    assert [exposition.read(OPENMETRICS)[0] for _ in range(2)] == [b"7", b"7"], "once in the other format"
    assert exposition.read()[0] == b"6"


PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", Format.TEXT),
        ("*/*", Format.TEXT),
        ("text/html, */*;q=0.8", Format.TEXT),
        ("text/plain;version=0.0.4;q=1,*/*;q=0.1", Format.TEXT),
        (OPENMETRICS, Format.OPENMETRICS),
        ("Application/OpenMetrics-Text; version=1.0.0; charset=utf-8", Format.OPENMETRICS),
        (PROMETHEUS, Format.OPENMETRICS),
        (f"{OPENMETRICS};q=0.2, text/plain;q=0.7", Format.TEXT),
        (f"{OPENMETRICS};q=0, */*", Format.TEXT),
        (f"{OPENMETRICS};q=high", Format.TEXT),
        (f"text/plain;q=0,{OPENMETRICS};q=0.001", Format.OPENMETRICS),
        (";;,,;q=,", Format.TEXT),
    ],
)
def test_openmetrics_is_for_those_who_name_it_and_the_text_format_for_all_others(accept, chosen):
    assert choose_format(accept) is chosen


def test_both_formats_say_the_same_and_neither_says_when_each_series_began():
    text, content_type = Exposition().read()
    assert content_type.startswith("text/plain; version=0.0.4")
    openmetrics, other_type = Exposition().read(OPENMETRICS)
    assert other_type.startswith("application/openmetrics-text; version=1.0.0")
    assert openmetrics.endswith(b"# EOF\n")
    assert samples(text) == samples(openmetrics) != set()
    assert b"_created" not in text + openmetrics


def samples(text):
    """Return the names and labels of all series in *text*, but for bounds, which the formats write differently."""
    lines = [line for line in text.decode().splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0] for line in lines if "le=" not in line}
