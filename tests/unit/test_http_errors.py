"""Why requests are refused, by their HTTP status."""

import pytest

from gateway.http_errors import BadRequest, Broken, Busy, Conflicting, NotFound, http_error_for


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, BadRequest), (404, NotFound), (409, Conflicting), (418, BadRequest), (499, BadRequest), (500, Broken)],
)
def test_a_status_stands_for_the_refusal_that_has_it_or_for_its_class(status, kind):
    refusal = http_error_for(status, "no", {"Allow": "GET"})
    assert type(refusal) is kind
    assert (refusal.detail, refusal.headers) == ("no", {"Allow": "GET"})


def test_who_is_told_to_come_again_is_told_when():
    assert Busy("later").headers == {"Retry-After": "1"}
    assert Busy("later", retry_after=30).headers == {"Retry-After": "30"}
