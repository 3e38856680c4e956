"""Where webhooks may go, with the real client: hostile URLs and names, TLS, and a proxy between."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import ssl
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from ipaddress import ip_network

import pytest

from broker.deliveries import Outcome
from broker.egress import Guard
from broker.errors import ConfigurationError
from tests.support.addresses import PRIVATE_LOOKUPS, REFUSED_HOSTS, REFUSED_URLS
from tests.support.certificates import Authority
from tests.support.dns import name_server
from tests.support.eventually import eventually
from tests.support.http_proxy import http_proxy
from tests.support.raw_receiver import raw_receiver
from tests.support.receiver import Answer, receiver
from workers.webhooks.client import WebhookClient
from workers.webhooks.dialing import trust

LOOPBACK = Guard([ip_network("127.0.0.0/8")])
PUBLIC = Guard()
HARMLESS = "127.0.0.2"
"""Stands for a public address: the guard of `OUTSIDE` lets webhooks go there, and not to 127.0.0.1."""
OUTSIDE = Guard([ip_network(f"{HARMLESS}/32")])


@pytest.fixture
async def names():
    async with name_server() as names:
        yield names


@pytest.fixture
async def target():
    async with receiver() as target:
        yield target


@pytest.fixture
async def proxy():
    async with http_proxy() as proxy:
        yield proxy


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


class Inside:
    """A service of the internal network, on one port of 127.0.0.1 and ::1, that must never see a connection."""

    def __init__(self) -> None:
        self.connections = 0
        self.port = 0

    async def accept(self, _reader, writer) -> None:
        self.connections += 1
        writer.close()


@pytest.fixture
async def inside():
    inside = Inside()
    async with await asyncio.start_server(inside.accept, "127.0.0.1", 0) as server:
        inside.port = server.sockets[0].getsockname()[1]
        async with await asyncio.start_server(inside.accept, "::1", inside.port):
            yield inside
    assert inside.connections == 0


def client(guard, *, names=None, **options):
    return WebhookClient(guard, concurrency=10, nameservers=[] if names is None else [names.address], **options)


async def post(client, url, within=10.0):
    headers = {"content-type": "application/json"}
    return await client.send(url, body=b"{}", headers=headers, timeout=timedelta(seconds=within))


async def outcomes(guard, urls, **options):
    """Return the outcomes of one attempt at each of *urls*."""
    async with client(guard, **options) as opened:
        return {url: (await post(opened, url)).outcome for url in urls}


def all_forbidden(urls):
    return dict.fromkeys(urls, Outcome.FORBIDDEN)


# Hosts and URLs


async def test_no_spelling_of_a_refused_host_is_connected_to(inside):
    urls = [f"http://{host}:{inside.port}/" for host in REFUSED_HOSTS]
    assert await outcomes(PUBLIC, urls) == all_forbidden(urls)


async def test_no_url_that_hides_its_host_is_connected_to(inside):
    """Not even by a guard that lets webhooks go to loopback: they are refused for what they are."""
    urls = [url.format(port=inside.port) for url in REFUSED_URLS]
    assert await outcomes(LOOPBACK, urls) == all_forbidden(urls)


async def test_no_name_of_this_machine_is_connected_to(inside):
    urls = [f"http://{host}:{inside.port}/" for host in ("localhost", "LOCALHOST", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ")]
    assert await outcomes(PUBLIC, urls) == all_forbidden(urls)


async def test_no_name_that_leads_inside_is_connected_to(inside, names):
    for name, addresses in PRIVATE_LOOKUPS.items():
        names.resolve_to(name, addresses)
    names.alias("alias.example", "loopback.example")
    urls = [f"http://{name}:{inside.port}/" for name in [*PRIVATE_LOOKUPS, "alias.example", "münchen.example"]]
    assert await outcomes(PUBLIC, urls, names=names) == all_forbidden(urls)
    assert set(names.asked) >= {"metadata.google.internal", "alias.example", "xn--mnchen-3ya.example"}


async def test_of_a_names_addresses_only_the_permitted_ones_are_connected_to(inside, names):
    """Nobody listens on the permitted one; going on to the next would be the mistake."""
    names.resolve_to("mixed.example", [HARMLESS, "127.0.0.1", "::1"])
    names.resolve_to("mixed-again.example", ["127.0.0.1", HARMLESS])
    urls = [f"http://{name}:{inside.port}/" for name in ("mixed.example", "mixed-again.example")]
    assert set((await outcomes(OUTSIDE, urls, names=names)).values()) <= {Outcome.FORBIDDEN, Outcome.UNREACHABLE}


async def test_a_permitted_address_among_refused_ones_is_delivered_to(target, names):
    names.resolve_to("mixed.example", ["::1", "10.0.0.1", "127.0.0.1"])
    url = target.url().replace("127.0.0.1", "mixed.example")
    assert await outcomes(LOOPBACK, [url], names=names) == {url: Outcome.SUCCEEDED}


async def test_a_name_that_leads_elsewhere_every_time_never_leads_inside(inside, names):
    """DNS rebinding: what was harmless at one lookup leads inside at the next, and back again."""
    names.resolve_to("rebind.example", *([[HARMLESS], ["127.0.0.1"]] * 5))
    url = f"http://rebind.example:{inside.port}/"
    seen = [(await outcomes(OUTSIDE, [url], names=names))[url] for _ in range(6)]
    assert seen == [Outcome.UNREACHABLE, Outcome.FORBIDDEN] * 3
    assert names.asked == ["rebind.example"] * 6


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_inside_is_not_followed(inside, target, status):
    location = f"http://127.0.0.1:{inside.port}/latest/meta-data/"
    url = target.answer("/", Answer(status=status, headers={"Location": location}))
    assert await outcomes(LOOPBACK, [url]) == {url: Outcome.REFUSED}


async def test_only_https_is_sent_where_the_operator_wants_so(inside):
    guard = Guard([ip_network("127.0.0.0/8")], https_only=True)
    url = f"http://127.0.0.1:{inside.port}/"
    async with client(guard) as opened:
        result = await post(opened, url)
    assert (result.outcome, result.error) == (
        Outcome.FORBIDDEN,
        "target URL: must be https:// (SIGNAL_BROKER_EGRESS_HTTPS_ONLY)",
    )


# Lookups


async def test_a_name_server_that_does_not_answer_is_given_up_within_the_attempts_time(names):
    names.keep_silent("silent.example")
    async with client(LOOPBACK, names=names) as opened:
        result = await post(opened, "http://silent.example/", within=0.5)
    assert result.outcome is Outcome.TIMED_OUT


async def test_many_lookups_without_an_answer_hold_up_no_other(target, names):
    """With a thread for each, the fiftieth would wait for the first ones to be given up."""
    silent = [f"silent-{number}.example" for number in range(60)]
    for name in silent:
        names.keep_silent(name)
    names.resolve_to("hooks.example", ["127.0.0.1"])
    async with WebhookClient(LOOPBACK, concurrency=100, nameservers=[names.address]) as opened:
        waiting = [asyncio.create_task(post(opened, f"http://{name}/", within=8)) for name in silent]
        await eventually(lambda: len(set(names.asked)) == 60)
        result = await post(opened, target.url().replace("127.0.0.1", "hooks.example"))
        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    assert result.outcome is Outcome.SUCCEEDED


async def test_a_name_that_does_not_exist_is_told_as_such():
    async with client(PUBLIC) as opened:
        result = await post(opened, "http://nowhere.invalid/")
    assert (result.outcome, result.error.split(":")[0]) == (
        Outcome.UNREACHABLE,
        "the host's name could not be looked up",
    )


# TLS


@pytest.mark.slow
async def test_an_authority_of_the_operators_own_is_trusted_beside_the_systems(authority):
    async with receiver(ssl=authority.serving("127.0.0.1")) as target:
        async with client(LOOPBACK) as doubtful:
            doubted = await post(doubtful, target.url())
        async with client(LOOPBACK, trusted=trust(authority.pem)) as trusting:
            trusted = await post(trusting, target.url())
    assert (doubted.outcome, trusted.outcome) == (Outcome.UNREACHABLE, Outcome.SUCCEEDED)
    assert "CERTIFICATE_VERIFY_FAILED" in doubted.error
    assert trust(authority.pem).cert_store_stats()["x509_ca"] == trust(None).cert_store_stats()["x509_ca"] + 1


async def test_a_certificate_for_another_host_is_not_taken(authority):
    async with (
        receiver(ssl=authority.serving("other.example")) as target,
        client(LOOPBACK, trusted=trust(authority.pem)) as opened,
    ):
        result = await post(opened, target.url())
    assert result.outcome is Outcome.UNREACHABLE
    assert target.requests == []


@pytest.mark.parametrize(
    ("version", "error"),
    [
        (ssl.TLSVersion.TLSv1_2, "TLS: sslv3 alert handshake failure (SSLV3_ALERT_HANDSHAKE_FAILURE)"),
        (
            ssl.TLSVersion.TLSv1_3,
            "the connection was lost (TLS: tlsv13 alert certificate required) before there was an answer",
        ),
    ],
)
async def test_a_receiver_that_asks_for_a_certificate_is_told_as_such(authority, version, error):
    """In TLS 1.3 it says so only after the handshake, when the request may have been sent."""
    context = authority.serving("127.0.0.1")
    context.minimum_version = context.maximum_version = version
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.pem)

    def refuse(listening):
        # Only a blocking socket tells the peer why: asyncio's transports drop the alert.
        connection, _ = listening.accept()
        with context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as refusing:
            with suppress(ssl.SSLError):
                refusing.do_handshake()
            while os.read(refusing.fileno(), 1 << 16):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with client(LOOPBACK, trusted=trust(authority.pem)) as opened:
            refusing = asyncio.create_task(asyncio.to_thread(refuse, listening))
            result = await post(opened, f"https://127.0.0.1:{listening.getsockname()[1]}/")
            await refusing
    assert (result.outcome, result.error) == (Outcome.UNREACHABLE, error)


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nnone\n"])
def test_a_file_without_authorities_is_a_wrong_setting(tmp_path, content):
    path = tmp_path / "authorities.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError) as refused:
        trust(path)
    assert str(refused.value).startswith(f"SIGNAL_BROKER_EGRESS_CA_FILE: {path}: ")
    assert "\n" not in str(refused.value)


# By a proxy


@asynccontextmanager
async def by(proxy, names, guard=LOOPBACK, *, user="", **options):
    url = proxy.url.replace("http://", f"http://{user}")
    async with client(guard, names=names, proxy=url, **options) as opened:
        yield opened


async def test_a_proxy_is_told_the_name_of_a_plain_target_and_the_credentials(target, names, proxy):
    names.resolve_to("hooks.example", ["127.0.0.1"])
    proxy.hosts["hooks.example"] = "127.0.0.1"
    url = target.url("/hook").replace("127.0.0.1", "hooks.example")
    async with by(proxy, names, user="me:p%2Fw@") as opened:
        assert (await post(opened, url)).outcome is Outcome.SUCCEEDED
    [head] = proxy.asked
    assert head.startswith(f"POST {url} HTTP/1.1\r\n")
    assert f"Proxy-Authorization: Basic {base64.b64encode(b'me:p/w').decode()}\r\n" in head


async def test_a_proxy_is_asked_for_a_tunnel_to_the_very_address_that_was_checked(authority, names, proxy):
    """It looks no name up, so it cannot be told another address; and whoever is there has to prove the name."""
    names.resolve_to("hooks.example", ["127.0.0.1"])
    async with receiver(ssl=authority.serving("hooks.example")) as target:
        port = target.base.rsplit(":", 1)[1]
        async with by(proxy, names, user="me:secret@", trusted=trust(authority.pem)) as opened:
            for _ in range(2):
                assert (await post(opened, f"https://hooks.example:{port}/hook")).outcome is Outcome.SUCCEEDED
    [head] = proxy.asked  # the tunnel is kept for the next attempt
    assert head.startswith(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n")
    assert "Proxy-Authorization: Basic " in head
    for request in target.requests:
        assert (request.path, request.headers["Host"]) == ("/hook", f"hooks.example:{port}")
        assert "Proxy-Authorization" not in request.headers


async def test_tunnels_to_one_address_are_not_shared_by_names_it_has_to_prove(authority, names, proxy):
    names.resolve_to("hooks.example", ["127.0.0.1"])
    names.resolve_to("other.example", ["127.0.0.1"])
    async with receiver(ssl=authority.serving("hooks.example")) as target:
        port = target.base.rsplit(":", 1)[1]
        async with by(proxy, names, trusted=trust(authority.pem)) as opened:
            results = [await post(opened, f"https://{name}.example:{port}/") for name in ("hooks", "other")]
    assert [result.outcome for result in results] == [Outcome.SUCCEEDED, Outcome.UNREACHABLE]
    assert len(target.requests) == 1


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_is_not_asked_for_what_the_guard_refuses(inside, names, proxy, scheme):
    for name, addresses in PRIVATE_LOOKUPS.items():
        names.resolve_to(name, addresses)
    names.resolve_to("mixed.example", ["8.8.8.8", "127.0.0.1"])
    hosts = [*REFUSED_HOSTS, *PRIVATE_LOOKUPS, "mixed.example"]
    urls = [f"{scheme}://{host}:{inside.port}/" for host in hosts]
    assert await outcomes(PUBLIC, urls, names=names, proxy=proxy.url) == all_forbidden(urls)
    assert proxy.asked == []


@pytest.mark.parametrize(
    ("refusal", "error"),
    [("407 Proxy Authentication Required", "the proxy answered HTTP 407"), ("503 Busy", "the proxy answered HTTP 503")],
)
async def test_a_proxy_that_makes_no_tunnel_is_told_apart_from_the_receiver(names, proxy, refusal, error):
    proxy.refusal = refusal
    async with by(proxy, names, user="me:secret@") as opened:
        result = await post(opened, "https://127.0.0.1:1/")
    assert (result.outcome, result.status, result.error) == (Outcome.UNREACHABLE, None, error)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", "the proxy made no tunnel: the connection was closed before there was an answer"),
        (
            b"SSH-2.0-OpenSSH_9.2\r\n",
            "the proxy made no tunnel: the answer is not HTTP: it begins with 'SSH-2.0-OpenSSH_9.2'",
        ),
        (
            b"HTTP/1.1 200 OK\r\n\r\n",
            "TLS: the receiver closed the connection during the handshake",
        ),
    ],
    ids=["nothing", "no HTTP", "a tunnel to nowhere"],
)
async def test_what_a_proxy_does_instead_of_a_tunnel_is_told(names, answer, error):
    async def script(peer):
        await peer.head()
        await peer.send(answer)

    async with raw_receiver(script) as proxy, client(LOOPBACK, names=names, proxy=proxy.base) as opened:
        result = await post(opened, "https://127.0.0.1:1/")
    assert (result.outcome, result.error) == (Outcome.UNREACHABLE, error)


async def test_a_proxy_that_is_not_there_is_told_without_its_address(names):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://me:secret@127.0.0.1:{unused.getsockname()[1]}"
        async with client(LOOPBACK, names=names, proxy=url) as opened:
            result = await post(opened, "http://127.0.0.1:1/")
    assert (result.outcome, result.error) == (Outcome.UNREACHABLE, "the proxy cannot be reached")


async def test_a_target_that_cannot_be_looked_up_does_not_reach_the_proxy(names, proxy):
    async with by(proxy, names) as opened:
        result = await post(opened, "https://nowhere.example/")
    assert (result.outcome, result.error) == (
        Outcome.UNREACHABLE,
        "the host's name could not be looked up: Domain name not found",
    )
    assert proxy.asked == []
