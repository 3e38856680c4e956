"""The RabbitMQ servers that tests can run against, and the faults tests inflict on them."""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import socket
import subprocess
import time
import urllib.request
import uuid
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn, Self
from urllib.parse import quote, urlsplit

IMAGE = "rabbitmq:4.2"
VHOSTS_AT_ONCE = 30


class Rabbit:
    """A running server; what a source cannot do raises RuntimeError.

    Args:
        address: Scheme, credentials, host and port, as in ``amqp://guest:guest@127.0.0.1:5672``.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._fresh: list[str] = []
        self._used: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    @contextmanager
    def vhost(self) -> Iterator[str]:
        """Yield the URL of a fresh vhost. They are made and deleted many at a time: a call of ctl takes a second."""
        if not self._fresh:
            used, self._used = self._used, []
            self._fresh = [f"test-{uuid.uuid4().hex}" for _ in range(VHOSTS_AT_ONCE)]
            self._exchange_vhosts(used, self._fresh)
        name = self._fresh.pop()
        try:
            yield f"{self.address}/{name}"
        finally:
            self._used.append(name)

    def ctl(self, *arguments: str) -> str:
        """Run ``rabbitmqctl`` and return what it printed."""
        self._cannot(" ".join(arguments[:1]))

    def raise_memory_alarm(self) -> None:
        """Let the server block every connection that publishes."""
        self.ctl("set_vm_memory_high_watermark", "absolute", "1")

    def clear_memory_alarm(self) -> None:
        """Let publishers go on."""
        self.ctl("set_vm_memory_high_watermark", "0.4")

    def close_connections(self) -> None:
        """Let the server close every connection."""
        self.ctl("close_all_connections", "--global", "a test wants it")

    def set_policy(self, url: str, name: str, pattern: str, definition: dict[str, object]) -> None:
        """Set a policy for the queues of the vhost *url*."""
        self.ctl("set_policy", "-p", vhost_of(url), "--apply-to", "queues", name, pattern, json.dumps(definition))

    def clear_policy(self, url: str, name: str) -> None:
        """Remove a policy."""
        self.ctl("clear_policy", "-p", vhost_of(url), name)

    def save_queues(self) -> None:
        """Let the queues declared so far outlive a `kill`: RabbitMQ 3.10 saves its register of quorum queues lazily."""
        self.ctl("eval", "[dets:sync(Table) || Table <- dets:all()].")

    def start(self) -> None:
        """Start the stopped or killed node on the data it left."""
        self._cannot("start")

    def stop(self) -> None:
        """Stop the node in good order."""
        self._cannot("stop")

    def kill(self) -> None:
        """Kill the node as a power cut would."""
        self._cannot("kill")

    def suspend(self) -> None:
        """Make the node hang until `resume`."""
        self._cannot("suspend")

    def resume(self) -> None:
        """Let a hanging node go on."""
        self._cannot("resume")

    def _cannot(self, what: str) -> NoReturn:
        raise RuntimeError(f"{type(self).__name__} cannot {what}; run these tests with a local rabbitmq-server")

    def _exchange_vhosts(self, old: Sequence[str], new: Sequence[str]) -> None:
        self.ctl(
            "eval",
            f'[rabbit_vhost:delete(V, <<"t">>) || V <- [{", ".join(map(erlang_binary, old))}]], '
            '[begin rabbit_vhost:add(V, <<"t">>), rabbit_auth_backend_internal:set_permissions('
            '<<"guest">>, V, <<".*">>, <<".*">>, <<".*">>, <<"t">>) end '
            f"|| V <- [{', '.join(map(erlang_binary, new))}]].",
        )


class GivenRabbit(Rabbit):
    """A server somebody runs for us; its management plugin is expected on port 15672."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        super().__init__(f"{parts.scheme}://{parts.netloc}")
        self._api = f"http://{parts.hostname}:15672/api"
        credentials = f"{parts.username or 'guest'}:{parts.password or 'guest'}"
        self._user = parts.username or "guest"
        self._authorization = "Basic " + base64.b64encode(credentials.encode()).decode()

    def __exit__(self, *_: object) -> None:
        self._exchange_vhosts([*self._used, *self._fresh], [])

    def _exchange_vhosts(self, old: Sequence[str], new: Sequence[str]) -> None:
        everything = json.dumps({"configure": ".*", "write": ".*", "read": ".*"}).encode()
        for vhost in old:
            self._request("DELETE", f"/vhosts/{vhost}")
        for vhost in new:
            self._request("PUT", f"/vhosts/{vhost}", b"{}")
            self._request("PUT", f"/permissions/{vhost}/{quote(self._user, safe='')}", everything)

    def _request(self, method: str, path: str, body: bytes | None = None) -> None:
        headers = {"Authorization": self._authorization, "Content-Type": "application/json"}
        request = urllib.request.Request(self._api + path, method=method, data=body, headers=headers)
        try:
            urllib.request.urlopen(request, timeout=10).close()
        except OSError as error:
            raise RuntimeError(
                f"the given RabbitMQ's management plugin must make vhosts at {self._api}: {error}"
            ) from error


class DockerRabbit(Rabbit):
    """A container by testcontainers. It cannot be killed and come back, because its port would change."""

    def __init__(self) -> None:
        with warnings.catch_warnings():  # its own deprecations
            warnings.simplefilter("ignore")
            from testcontainers.community.rabbitmq import RabbitMqContainer  # noqa: PLC0415

        self._container = RabbitMqContainer(IMAGE)

    def __enter__(self) -> Self:
        self._container.start()
        host, port = self._container.get_container_host_ip(), self._container.get_exposed_port(5672)
        super().__init__(f"amqp://guest:guest@{host}:{port}")
        return self

    def __exit__(self, *_: object) -> None:
        self._container.stop()

    def ctl(self, *arguments: str) -> str:
        code, output = self._container.exec(["rabbitmqctl", "--quiet", *arguments])
        if code:
            raise RuntimeError(f"rabbitmqctl {arguments[0]}: {output.decode()}")
        return str(output.decode())


class LocalRabbit(Rabbit):
    """A node of our own, far from the machine's default node: nothing of it is shared, not even epmd."""

    def __init__(self, server: Path, directory: Path) -> None:
        self._server = server
        self._directory = directory
        self._port, distribution, epmd = free_ports(3)
        super().__init__(f"amqp://guest:guest@127.0.0.1:{self._port}")
        (directory / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self._port}\ndisk_free_limit.absolute = 50MB\n"
        )
        (directory / "enabled_plugins").write_text("[].")
        cookie = directory / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
        self._environment = inherited | {
            "HOME": str(directory),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"test{self._port}@localhost",
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(directory / "data"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(directory / "advanced.config"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(directory / "config"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(directory / "feature_flags"),
            "RABBITMQ_PID_FILE": str(directory / "pid"),
            # The start script then becomes the node instead of watching over it: our signals reach the node itself.
            "RUNNING_UNDER_SYSTEMD": "true",
            # Schedulers that spin while they wait would take the CPU from the tests.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none "
            "-kernel inet_dist_use_interface {127,0,0,1}",
        }
        self._node: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()  # its data are not needed any more, and an orderly stop takes seconds
        subprocess.run(["epmd", "-kill"], env=self._environment, check=False, capture_output=True)

    def ctl(self, *arguments: str) -> str:
        command = [str(self._server.with_name("rabbitmqctl")), "--quiet", *arguments]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise RuntimeError(f"rabbitmqctl {arguments[0]}: {done.stdout}{done.stderr}")
        return done.stdout

    def start(self) -> None:
        output = self._directory / "output"
        with output.open("ab") as file:
            self._node = subprocess.Popen(
                [self._server],
                env=self._environment,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        end = time.monotonic() + 60
        while not answers(self._port):
            if self._node.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"rabbitmq-server did not start:\n{output.read_text()[-3000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def suspend(self) -> None:
        self._signal(signal.SIGSTOP)
        if self._node is not None:
            os.waitpid(self._node.pid, os.WUNTRACED)  # until its last thread has stopped

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._node is not None:
            self._node.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        if self._node is not None:
            self._signal(signal.SIGCONT)
            self._signal(number)
            self._node.wait(30)
            self._node = None


def vhost_of(url: str) -> str:
    """Return the vhost that *url* names."""
    return urlsplit(url).path.removeprefix("/")


def erlang_binary(text: str) -> str:
    """Return *text* as Erlang writes a binary."""
    return f'<<"{text}">>'


def free_ports(count: int) -> list[int]:
    """Return loopback ports nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def answers(port: int) -> bool:
    """Return whether something accepts connections on loopback *port*."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
