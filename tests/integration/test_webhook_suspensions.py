"""While a deliverer is stopped (SIGSTOP, a suspended machine), receivers go on: what arrived meanwhile counts.

Loops differ in what they look at first when they go on, timers or sockets, so both kinds are tried.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from tests.support.certificates import Authority
from tests.support.raw_receiver import OK

pytestmark = pytest.mark.slow

LIMIT = 0.5

SENDER = """
import asyncio, sys
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
import uvloop
from broker.egress import Guard
from workers.webhooks import dialing
from workers.webhooks.client import WebhookClient

loop, url, limit, phase_limit, authority = sys.argv[1:]
dialing.PHASE_LIMIT = timedelta(seconds=float(phase_limit))

async def send():
    trusted = dialing.trust(Path(authority)) if authority else None
    async with WebhookClient(Guard([ip_network("127.0.0.0/8")]), concurrency=1, trusted=trusted) as client:
        return await client.send(url, body=b"{}", headers={}, timeout=timedelta(seconds=float(limit)))

with asyncio.Runner(loop_factory=uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop) as runner:
    result = runner.run(send())
print(result.outcome.value, result.status, result.error)
"""

loops = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


def send_and_stop(loop, treat, *, scheme="http", limit=LIMIT, phase_limit=5, authority=""):
    """Return what becomes of a request: *treat* is given its connection, and what stops the sender for a while."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/"
        command = [sys.executable, "-c", SENDER, loop, url, str(limit), str(phase_limit), authority]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sender:

            def stop(meanwhile):
                os.kill(sender.pid, signal.SIGSTOP)
                meanwhile()
                time.sleep(2 * LIMIT)
                os.kill(sender.pid, signal.SIGCONT)

            def serve():
                peer, _ = listener.accept()
                with peer:
                    treat(peer, stop)

            threading.Thread(target=serve, daemon=True).start()
            return sender.communicate(timeout=30)[0].strip()


@loops
def test_an_answer_that_arrives_meanwhile_is_in_time(loop):
    def treat(peer, stop):
        peer.recv(65536)
        stop(lambda: peer.sendall(OK))
        peer.recv(1)

    assert send_and_stop(loop, treat) == "succeeded 200 None"


@loops
def test_an_answer_that_does_not_arrive_is_a_time_out(loop):
    def treat(peer, stop):
        peer.recv(65536)
        stop(lambda: None)
        peer.recv(1)

    assert send_and_stop(loop, treat) == f"timed_out None no answer within {LIMIT:g} s"


@loops
def test_a_handshake_goes_on_afterwards(loop, tmp_path):
    authority = Authority(tmp_path)
    context = authority.serving("127.0.0.1")

    def treat(peer, stop):
        peer.recv(1, socket.MSG_PEEK)
        stop(lambda: None)
        with context.wrap_socket(peer, server_side=True) as tls:
            tls.recv(65536)
            tls.sendall(OK)
            tls.recv(1)

    options = {"scheme": "https", "limit": 10, "phase_limit": LIMIT, "authority": str(authority.pem)}
    assert send_and_stop(loop, treat, **options) == "succeeded 200 None"
