"""Answers of receivers, and what is recorded of them."""

from __future__ import annotations

NOT_ENDED = "answered 200, but its body did not end within 2 s"
CUT_OFF = "answered 200, but its body was cut off"
TOO_LARGE = "the answer's head has more than 300 KiB"
TOO_LONG = "the answer's head has more than 5,000 lines"
SILENT = "no answer within 2 s"
NOT_IN_TIME = "no complete answer within 2 s"
NOT_TAKEN = "the receiver did not take the whole request within 2 s"


def status(*codes: int, reason: str = "Reason", rest: str = "Content-Length: 0\r\n") -> list[bytes]:
    """Return answers with each of *codes*."""
    return [f"HTTP/1.1 {code} {reason}\r\n{rest}\r\n".encode() for code in codes]


def ok(headers: bytes | str, body: bytes = b"") -> bytes:
    """Return a 200 with *headers*, each with its line's end, and *body*."""
    return b"HTTP/1.1 200 OK\r\n" + (headers if isinstance(headers, bytes) else headers.encode()) + b"\r\n" + body


def sized(headers: bytes | str = b"", body: bytes = b"") -> bytes:
    """Return a 200 whose body has its length."""
    first = headers if isinstance(headers, bytes) else headers.encode()
    return ok(first + b"Content-Length: %d\r\n" % len(body), body)


def chunked(body: bytes, *, name: str = "Transfer-Encoding: chunked") -> bytes:
    """Return a 200 whose *body* is framed as chunks, or should be."""
    return ok(f"{name}\r\n", body)
