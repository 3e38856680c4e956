"""The lines of requests: which one a request has, and how many of them there are."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from structlog.testing import capture_logs

from broker.errors import InvalidField
from gateway.http_errors import BadRequest, Broken, Busy, Forbidden, Unauthenticated
from gateway.lines import RequestLines
from gateway.measures import RequestTimes
from gateway.refusals import note_refusal
from tests.support.clock import Clock


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def note(clock):
    """Call it with a status, and an error, to note a request that was answered so; it returns the lines."""
    lines = RequestLines(web.Application(), RequestTimes({}), clock=clock)

    def noted(status, error=None, *, method="GET", path="/x"):
        request = make_mocked_request(method, path)
        if error is not None:
            note_refusal(request, error)
        with capture_logs() as logs:
            lines.note(request, None, status, 0.1)
        return logs

    return noted


@pytest.mark.parametrize(
    ("status", "error", "event", "level"),
    [
        (401, Unauthenticated("Who?"), "request.refused", "info"),
        (404, None, "request.refused", "info"),
        (500, Broken("Something went wrong."), "request.refused", "warning"),
        (503, Busy("Not now."), "request.postponed", "warning"),
        (200, Busy("A part of a batch, not now."), "request.postponed", "warning"),
    ],
)
def test_the_status_decides_what_its_line_is(note, status, error, event, level):
    [line] = note(status, error)
    assert (line["event"], line["log_level"], line["status"]) == (event, level, status)
    assert line["reason"] == ("Not Found" if error is None else error.detail)


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/signals"), ("HEAD", "/livez"), ("OPTIONS", "/v1/signals")])
def test_what_reads_and_is_answered_has_no_line(note, method, path):
    assert note(200, method=method, path=path) == []


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_probes_have_no_line_whatever_they_are_answered(note, path):
    assert note(503, path=path) == []


TOKEN = "sb_" + "x" * 43


@pytest.mark.parametrize("token", [TOKEN, "signal_" + "x" * 43, "whsec_" + "x" * 20 + "/" + "x" * 20 + "="])
def test_a_token_in_the_wrong_place_is_not_logged(note, token):
    [line] = note(404, path=f"/v1/signals/nothing/{token}")
    assert line["path"] == "/v1/signals/nothing/***"
    [line] = note(404, path="/" + "y" * 195 + token)
    assert line["path"] == "/" + "y" * 195 + "***"
    [line] = note(400, BadRequest("Wrong.", errors=[InvalidField(f"/data/{token}", "is unknown")]))
    assert line["fields"] == ("/data/***",)
    [line] = note(400, BadRequest("Wrong.", errors=[InvalidField("/" + "y" * 195 + token, "is unknown")]))
    assert line["fields"] == ("/" + "y" * 195 + "***",)
    [line] = note(403, Forbidden(f"This needs the permission signals:throw for signals named {token!r}, and so on."))
    assert line["reason"].startswith("This needs the permission signals:throw for signals named '***")
    assert "xxx" not in line["reason"]


@pytest.mark.slow
def test_each_status_has_its_own_lines_and_the_next_one_counts_what_was_left_out(note, clock):
    assert len([line for _ in range(100) for line in note(401)]) == 20
    assert len(note(404)) == 1
    clock.now += 0.1
    assert note(401) == []
    clock.now += 0.1
    [line] = note(401)
    assert line["unlogged"] == 81
    clock.now += 0.2
    [line] = note(401)
    assert "unlogged" not in line
    clock.now += 3600
    assert len([line for _ in range(100) for line in note(401)]) == 20
