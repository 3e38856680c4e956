"""``Expect: 100-continue`` (RFC 9110, 10.1.1): the caller sends its body once it is told to.

It is told when the body is about to be read: after the credentials, the headers and the body's size were checked.
"""

from __future__ import annotations

from aiohttp import HttpVersion11, web

from gateway.http_errors import ExpectationFailed

EXPECTATION = web.RequestKey("expectation", str)
"""Where a request has the value of its header ``Expect``, in lower case, until it is met."""
_CONTINUE = "100-continue"


def check_expectation(request: web.Request) -> None:
    """Check that what *request* expects, if anything, can be met.

    Raises:
        ExpectationFailed: It cannot.
    """
    if _expectation(request) not in {None, _CONTINUE}:
        raise ExpectationFailed("The only expectation that is met is 100-continue.")


async def invite_body(request: web.Request) -> None:
    """Tell a caller that waits for it to send the body of *request*."""
    if _expectation(request) is None:
        return
    del request[EXPECTATION]
    if request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer has not begun yet


def _expectation(request: web.BaseRequest) -> str | None:
    # Most requests have no state at all; looking up what is not there costs several times as much as asking for that.
    return request.get(EXPECTATION) if len(request) else None
