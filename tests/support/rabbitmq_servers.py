"""The RabbitMQ servers that tests can run against, and the faults tests inflict on them."""

from __future__ import annotations

import base64
import json
import urllib.request
import uuid
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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

    @property
    def pid(self) -> int | None:
        """The process that is the node, or begins its tree; None: it is not of this machine."""
        return None

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

    def set_policy(
        self, url: str, name: str, pattern: str, definition: dict[str, object], *, priority: int = 0
    ) -> None:
        """Set a policy for the queues of the vhost *url*."""
        options = ("-p", vhost_of(url), "--apply-to", "queues", "--priority", str(priority))
        self.ctl("set_policy", *options, name, pattern, json.dumps(definition))

    def clear_policy(self, url: str, name: str) -> None:
        """Remove a policy."""
        self.ctl("clear_policy", "-p", vhost_of(url), name)

    @contextmanager
    def management(self) -> Iterator[str]:
        """Yield the URL of the management API, which looks often at queues that are declared meanwhile."""
        self._cannot("start the management API")
        yield ""

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

    @contextmanager
    def management(self) -> Iterator[str]:
        yield self._api.removesuffix("/api")

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


def vhost_of(url: str) -> str:
    """Return the vhost that *url* names."""
    return urlsplit(url).path.removeprefix("/")


def erlang_binary(text: str) -> str:
    """Return *text* as Erlang writes a binary."""
    return f'<<"{text}">>'
