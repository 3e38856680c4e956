"""Metrics as text: those who ask for them all the time do not keep the process from its work."""

from broker import metrics
from tests.support.clock import Clock


def test_it_is_written_five_times_a_second_at_most_for_however_many_ask(monkeypatch):
    written = []
    monkeypatch.setattr(metrics, "generate_latest", lambda _: written.append(1) or b"%d" % len(written))
    clock = Clock()
    exposition = metrics.Exposition(clock)
    assert [exposition.read()[0] for _ in range(7)] == [b"1", b"2", b"3", b"4", b"5", b"5", b"5"]
    clock.now += 0.3
    assert [exposition.read()[0] for _ in range(3)] == [b"6", b"6", b"6"]
