"""Errors of the API, and of the way to it: each as one sentence that says what to do."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from typing import Any

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientConnectorSSLError,
    ClientResponse,
    ConnectionTimeoutError,
    InvalidURL,
)

from broker.errors import SignalBrokerError
from broker.jsontext import read
from deploy.cli.products import Product

CONNECT_SECONDS = 10
ANSWER_SECONDS = 60

_MOST = 5
_PROBLEM = {"title", "status", "detail"}
_UNLEASH = {"id", "name", "message", "details"}
"""What the forms of errors have, so that an error of another server is not taken for one of ours."""
_MAYBE_DONE = "what was asked for may have been done all the same"
_FAILURES: tuple[tuple[type[Exception], str], ...] = (
    (
        ClientConnectorCertificateError,
        "has a certificate that is not trusted: {reason}; set SSL_CERT_FILE to the file of its authority's",
    ),
    (ClientConnectorSSLError, "does not speak TLS as it should: {reason}; is it http://?"),
    (ClientConnectorDNSError, "cannot be reached: its host has no address; is the URL right?"),
    (ConnectionTimeoutError, f"cannot be reached: no connection within {CONNECT_SECONDS} s"),
    (TimeoutError, f"did not answer within {ANSWER_SECONDS} s; {_MAYBE_DONE}"),
    (ClientConnectorError, "cannot be reached: {reason}; does it run there?"),
    (InvalidURL, "is not a URL that can be called"),
    (Exception, f"broke off the connection: {{reason}}; {_MAYBE_DONE}"),
)
"""What the client's errors mean to a person; the first that fits counts."""


class ApiError(SignalBrokerError):
    """Raised when the API refuses a request, or cannot be called; the message says what to do.

    Args:
        message: The sentence.
        status: The HTTP status; None: there was no answer.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


def is_refusal(error: ApiError) -> bool:
    """Return whether *error* says that nothing was done. After other errors, all or a part of it may be done."""
    return error.status is not None and 400 <= error.status < 500


def read_problem(body: bytes) -> str | None:
    """Return what the error document *body* says, None if it is none.

    It is a problem (RFC 9457), or in Unleash's form.
    """
    try:
        document = read(body.decode())
    except ValueError:
        return None
    if not isinstance(document, Mapping):
        return None
    if document.keys() >= _PROBLEM:
        return describe(document)
    if document.keys() >= _UNLEASH:
        fields = [(one.get("path"), one.get("message")) for one in document.get("details") or ()]
        return _join([(f"/{path}", detail) for path, detail in fields if path]) or _clause(document["message"])
    return None


def describe(problem: Mapping[str, Any], *, within: str = "") -> str:
    """Return what *problem* says; pointers lose the part *within* that they begin with."""
    fields = [(one["pointer"].removeprefix(within), one["detail"]) for one in problem.get("errors") or ()]
    return _join(fields) or _clause(problem["detail"])


def _join(fields: list[tuple[str, str]]) -> str:
    return "; ".join(f"{pointer}: {detail}" if pointer else detail for pointer, detail in fields[:_MOST])


def _clause(sentence: str) -> str:
    """Return *sentence* as it follows a colon: without the capital and the full stop, unless there are several."""
    text = sentence.removesuffix(".") if ". " not in sentence else sentence
    first = text.split(" ", 1)[0]
    return text[:1].lower() + text[1:] if first[1:].islower() or len(first) == 1 else text


def read_refusal(response: ClientResponse, problem: str | None, product: Product, request: str) -> ApiError:
    """Return the error that *response* to *request* is; *problem* is what its body says, if that is ours."""
    status, url = response.status, product.url
    if 300 <= status < 400:
        return ApiError(
            f"{url} redirects to {response.headers.get('Location', 'nowhere')}: use that as the URL", status
        )
    if status == 401:
        return ApiError(_unauthenticated(product), status)
    if problem is None:
        what = f"{url} answered {request} with {status} {response.reason or ''}".rstrip()
        if status in {502, 503, 504}:
            return ApiError(
                f"{what}: a proxy does not reach the signal-broker behind it; try again in a moment", status
            )
        return ApiError(f"{what}: that is no signal-broker; is the URL right?", status)
    if status == 404 and problem.casefold() == "not found":  # what is said of a path, not of what may be there
        path = request.partition(" ")[2]
        return ApiError(f"{url} has no {path}: is the URL right, and its version no older?", status)
    advice = ""
    if status == 403 and "permission" in problem:
        advice = "; use a token that has it: `signal-broker token create` makes one, `signal-broker login` stores it"
    if status in {429, 503} and "Retry-After" in response.headers and "try again" not in problem:
        advice = f"; try again in {response.headers['Retry-After']} s"
    return ApiError(problem + advice, status)


def explain_failure(error: Exception, product: Product) -> str:
    """Return what *error* of a request means for the person who called *product*."""
    text = next(text for kind, text in _FAILURES if isinstance(error, kind))
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    known = getattr(cause, "verify_message", "")
    if isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError) and (cause.errno or 0) > 0:
        known = os.strerror(cause.errno or 0).lower()
    reason = known or str(cause) or type(cause).__name__
    return f"{product.url} {text.format(reason=reason)}"


def _unauthenticated(product: Product) -> str:
    if product.token is None:
        return f"{product.url} wants a token: pass --token, set SIGNAL_BROKER_TOKEN, or run `signal-broker login`"
    return f"{product.url} does not accept the token: wrong, expired or revoked; `signal-broker login` stores another"
