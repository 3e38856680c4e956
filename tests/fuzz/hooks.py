"""Checks for schemathesis: what the OpenAPI document allows is taken, and nothing fails but what Camunda lets fail."""

from __future__ import annotations

import re
import secrets

import schemathesis

RULES = {
    "a moment": r"is past already|days ahead|must be after deliverAt",
    "the bytes of a name, and of the routing key that is made of it": r"bytes long",
    "a URL, and where webhooks may go": (
        r"host that cannot be a DNS name|not an IP address in its usual spelling|is not a URL|public address"
        r"|must be an absolute http|user name or password|a fragment|port 0|spaces, backslashes or control characters"
    ),
    "a template": r"is not closed|is not open|is not a template|must begin with one of|the section|inserted only after"
    r"|delimiters|is nested|is supported",
    "a header that is set already": r"is the same header|is set by the broker|in UTF-8|is what answers show",
    "a condition's value": (
        r"must be a number, such|must be a version|must be a date, such|must be an IP address or a network"
        r"|regular expression|a filter has at most|contains the character U\+D"
    ),
    "a typed variable": r"variable|Must provide|Unsupported|Cannot|cannot|type and value|their types and valueInfo|value",
    "a pace": r"is too slow|must be (the )?`next`",
    "an option of an ordered subscription": r"is for an ordered subscription only|is for each step",
    "a limit of the settings": r"established limit",
    "both or neither, of two parameters": r"sortBy and sortOrder required",
}
"""What a schema cannot express: the rule, and what the answer says of it."""
_RULES = re.compile("|".join(RULES.values()))


def reasons(document: object) -> list[str]:
    """Return why a request was refused, as the error *document* of any dialect says it."""
    assert isinstance(document, dict), document
    errors = document.get("errors") or document.get("details") or [document]
    return [one.get("detail") or one.get("message") or "" for one in errors]


@schemathesis.hook
def before_call(_context, case, _kwargs):
    """Let each case come from an address of its own: an address may fail to sign in only so often."""
    case.headers["X-Forwarded-For"] = f"10.{secrets.randbelow(256)}.{secrets.randbelow(256)}.{secrets.randbelow(256)}"


@schemathesis.check
def accepts_what_is_described(ctx, response, case):
    """What the document allows is taken, unless a rule forbids it that no schema can express."""
    if case.meta is None or not case.meta.generation.mode.is_positive or response.status_code not in {400, 406, 415}:
        return
    unknown = [reason for reason in reasons(response.json()) if not _RULES.search(reason)]
    assert not unknown, f"the document allows it, and it was refused: {unknown}"


@schemathesis.check
def does_not_fail(ctx, response, case):
    """No request fails but a throw to an execution that is not there, which is Camunda's 500, and a loop (508)."""
    if response.status_code == 508:
        assert int(case.headers["Signal-Broker-Hops"]) > 15, response.text
    elif response.status_code >= 500:
        assert case.operation.path.endswith("/signal"), response.text
        assert response.json()["type"] == "NullValueException", response.text


@schemathesis.check
def answers_at_once(ctx, response, case):
    """No answer takes longer than a second; what is slow for other reasons is fast when it is repeated.

    A cancellation may wait for its signal to be recorded.
    """
    is_cancellation = (case.method, case.operation.path) == ("DELETE", "/v1/signals/{id}")
    if response.elapsed > 1.0 and not is_cancellation:
        assert min(case.call().elapsed for _ in range(3)) < 1.0, f"took {response.elapsed} s, and again"
