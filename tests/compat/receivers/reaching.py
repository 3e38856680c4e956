"""Receivers that are reached by TLS, by a name, or not at all."""

from __future__ import annotations

import ssl
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from broker.deliveries import Outcome
from tests.compat.receivers.answers import ok
from tests.compat.receivers.behaviour import LARGE, OK, row, says, unreachable
from tests.compat.receivers.ending import NO_ANSWER, at_once, early
from tests.compat.receivers.keeping import first
from tests.support.certificates import Authority
from tests.support.raw_receiver import Peer, Script

NAMES = {
    "hooks.example": ["127.0.0.1"],
    "second.example": ["127.0.0.9", "127.0.0.1"],
    "inside.example": ["10.0.0.1", "192.168.1.1"],
    "partly.example": ["10.0.0.1", "127.0.0.1"],
}
"""What the name server of the table says; it knows no other name."""


def serving(authority: Authority, host: str = "127.0.0.1", **options: object) -> ssl.SSLContext:
    return authority.serving(host, **options)


def stranger(authority: Authority) -> ssl.SSLContext:
    with TemporaryDirectory() as directory:
        return Authority(Path(directory), "stranger").serving("127.0.0.1")


def only(version: ssl.TLSVersion, authority: Authority) -> ssl.SSLContext:
    """Return the context of a receiver that speaks no other version."""
    context = authority.serving("127.0.0.1")
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    return context


def ciphering(names: str, authority: Authority) -> ssl.SSLContext:
    """Return the context of a receiver that speaks TLS 1.2 with ciphers of these *names* only."""
    context = authority.serving("127.0.0.1")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(names)
    return context


def alert(number: int) -> Script:
    """Return the script of a receiver that answers a TLS handshake with an alert."""

    async def script(peer: Peer) -> None:
        await peer.read(100)
        await peer.send(b"\x15\x03\x03\0\x02\x02%c" % number)
        await peer.wait_lost()

    return script


V1_2, V1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
CLOSED = "TLS: the receiver closed the connection during the handshake"
HTTPS = "https://127.0.0.1:{port}/"

ENCRYPTED = (
    row("has a certificate of a trusted authority", OK, tls=serving),
    row("speaks TLS 1.2 only", OK, tls=partial(only, V1_2)),
    row("speaks TLS 1.3 only", OK, tls=partial(only, V1_3)),
    *(
        unreachable(
            f"refuses the TLS handshake: {what}",
            alert(number),
            requests=0,
            url=HTTPS,
            error=f"TLS: {text} ({text.replace(' ', '_').upper()})",
        )
        for what, number, text in (
            ("it speaks older versions only", 70, "tlsv1 alert protocol version"),
            ("it shares no cipher, or wants a client's certificate", 40, "sslv3 alert handshake failure"),
            ("it does not know the name", 112, "tlsv1 unrecognized name"),
            ("it knows no such client", 49, "tlsv1 alert access denied"),
            ("it failed", 80, "tlsv1 alert internal error"),
        )
    ),
    unreachable(
        "has a certificate of another authority",
        OK,
        tls=stranger,
        requests=0,
        error="TLS: unable to get local issuer certificate (CERTIFICATE_VERIFY_FAILED)",
    ),
    unreachable(
        "has a certificate for another name",
        OK,
        tls=partial(serving, host="other.example"),
        requests=0,
        error="TLS: IP address mismatch, certificate is not valid for '127.0.0.1' (CERTIFICATE_VERIFY_FAILED)",
    ),
    unreachable(
        "has a certificate for another name, as its own says",
        OK,
        tls=partial(serving, host="other.example"),
        requests=0,
        url="https://hooks.example:{port}/",
        error="TLS: Hostname mismatch, certificate is not valid for 'hooks.example' (CERTIFICATE_VERIFY_FAILED)",
    ),
    row(
        "has a certificate for its name",
        OK,
        tls=partial(serving, host="hooks.example"),
        url="https://hooks.example:{port}/",
    ),
    row(
        "has a certificate for its name, which the URL ends with a dot",
        OK,
        tls=partial(serving, host="hooks.example"),
        url="https://hooks.example.:{port}/",
    ),
    unreachable(
        "has a certificate that has expired",
        OK,
        tls=partial(serving, days=(-3, -2)),
        requests=0,
        error="TLS: certificate has expired (CERTIFICATE_VERIFY_FAILED)",
    ),
    unreachable(
        "has a certificate that is not valid yet",
        OK,
        tls=partial(serving, days=(2, 3)),
        requests=0,
        error="TLS: certificate is not yet valid (CERTIFICATE_VERIFY_FAILED)",
    ),
    unreachable(
        "speaks HTTP at an `https://` URL",
        at_once("wait", b"HTTP/1.1 400 Bad request\r\n\r\n"),
        requests=0,
        url=HTTPS,
        error="TLS: wrong version number (WRONG_VERSION_NUMBER)",
    ),
    unreachable(
        "closes or resets instead of a TLS handshake",
        at_once("close"),
        at_once("reset"),
        requests=0,
        url=HTTPS,
        error=CLOSED,
    ),
    row(
        "is silent instead of a TLS handshake",
        at_once("wait"),
        outcome=Outcome.TIMED_OUT,
        requests=0,
        url=HTTPS,
        within=2,
        error="no TLS handshake within 2 s",
    ),
    row("keeps its connection with TLS", OK, tls=serving, before=2, reused=True),
    *(
        row(
            f"keeps its connection with TLS 1.2 and {what}",
            OK,
            says(*(bytes([byte]) for byte in OK)),
            tls=partial(ciphering, names),
            before=2,
            reused=True,
        )
        for what, names in (("AES-GCM", "AESGCM"), ("ChaCha20", "CHACHA20"), ("AES-CBC", "SHA384:!AESGCM"))
    ),
    row("takes large bodies by TLS", OK, tls=serving, before=1, reused=True, body=LARGE),
    row("sends no length by TLS, and closes", says(ok("", b"taken"), then="close"), tls=serving, excerpt="taken"),
    row(
        "answers 413 by TLS before it has read a large body",
        early(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n", "wait"),
        tls=serving,
        outcome=Outcome.REFUSED,
        status=413,
        error="HTTP 413 No",
        body=LARGE,
    ),
    unreachable(
        "closes instead of answering by TLS",
        says(b"", then="close"),
        says(b"", then="reset"),
        tls=serving,
        error=NO_ANSWER,
    ),
    row("sends one answer more on the idle connection with TLS", first("wait", OK), tls=serving, before=1),
    row(
        "closes the idle connection with TLS when the next request comes, without an answer or with a 400",
        first("close", next_time=b""),
        first("close", next_time=b"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n"),
        tls=serving,
        before=1,
        requests=2,
    ),
)

NAMED = (
    row("has a name", OK, url="http://hooks.example:{port}/"),
    row("has a name that ends in a dot", OK, url="http://hooks.example.:{port}/"),
    row("is `localhost`, in any spelling", OK, url="http://LocalHost.:{port}/"),
    row("has a name whose first address leads nowhere", OK, url="http://second.example:{port}/"),
    unreachable(
        "has a name that does not exist",
        OK,
        url="http://nowhere.example:{port}/",
        requests=0,
        error="the host's name could not be looked up: Domain name not found",
    ),
    unreachable(
        "does not listen", OK, url="http://127.0.0.9:{port}/", requests=0, error="no connection: connection refused"
    ),
    row(
        "has an address that is not allowed",
        OK,
        url="http://10.0.0.1:{port}/",
        outcome=Outcome.FORBIDDEN,
        requests=0,
        error="target URL: 10.0.0.1 is neither a public address nor in SIGNAL_BROKER_EGRESS_ALLOW",
    ),
    row(
        "has a name with no address that is allowed",
        OK,
        url="http://inside.example:{port}/",
        outcome=Outcome.FORBIDDEN,
        requests=0,
        error="10.0.0.1 is neither a public address nor in SIGNAL_BROKER_EGRESS_ALLOW, "
        "192.168.1.1 is neither a public address nor in SIGNAL_BROKER_EGRESS_ALLOW",
    ),
    row("has a name with an address that is not allowed beside one that is", OK, url="http://partly.example:{port}/"),
)
