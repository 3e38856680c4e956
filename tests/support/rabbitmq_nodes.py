"""RabbitMQ nodes of our own, far from the machine's default node: nothing of it is shared, not even epmd."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.support.ports import free_ports
from tests.support.rabbitmq_servers import Rabbit

EVERY_SECOND = "[{global, [{60, 1}]}, {basic, [{60, 1}]}, {detailed, [{60, 1}]}]"
"""How often the management API looks at queues."""
DISK_FREE_LIMIT = "disk_free_limit.absolute = 50MB"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a node of our own runs; by default beside us.

    Args:
        host: The loopback address, or the address in *enter*'s network, that it listens on.
        port: Its port for clients.
        distribution: Its port for other nodes.
        epmd: The port of its epmd, which is ours alone.
        epmd_hosts: The addresses of that epmd, besides 127.0.0.1.
        name: Erlang's name of it.
        enter: The command that runs another one in that place, ``ip netns exec ...`` for example.
        root: The folder that is the root directory there.
        conf: Further lines of rabbitmq.conf.
        inetrc: Erlang's configuration of host names.
    """

    host: str = "127.0.0.1"
    port: int
    distribution: int
    epmd: int
    epmd_hosts: Sequence[str] = ("127.0.0.1",)
    name: str
    enter: Sequence[str] = ()
    root: Path = Path("/")
    conf: Sequence[str] = ()
    inetrc: str = ""

    @classmethod
    def beside_us(cls) -> Self:
        """Return a place with free ports on loopback."""
        port, distribution, epmd = free_ports(3)
        return cls(port=port, distribution=distribution, epmd=epmd, name=f"test{port}@localhost")

    def inside(self, path: Path) -> str:
        """Return *path* as it is called there."""
        return str(Path("/") / path.relative_to(self.root))


class LocalRabbit(Rabbit):
    """A node of our own, far from the machine's default node: nothing of it is shared, not even epmd.

    Args:
        server: ``rabbitmq-server``, as it is called in *place*.
        directory: Its data, within the place's root.
        place: Where it runs.
        cookie: The secret that nodes of one cluster share.
    """

    def __init__(self, server: Path, directory: Path, place: Place | None = None, *, cookie: str = "") -> None:
        self._server = server
        self._directory = directory
        self.place = place or Place.beside_us()
        super().__init__(f"amqp://guest:guest@{self.place.host}:{self.place.port}")
        self._write_configuration(cookie or secrets.token_hex(16))
        self._environment = _without_rabbitmq(os.environ) | self._settings()
        self._node: subprocess.Popen[bytes] | None = None
        (self._management,) = free_ports(1)

    def _write_configuration(self, cookie: str) -> None:
        conf = [f"listeners.tcp.1 = {self.place.host}:{self.place.port}", DISK_FREE_LIMIT, *self.place.conf]
        (self._directory / "rabbitmq.conf").write_text("\n".join(conf) + "\n")
        (self._directory / "enabled_plugins").write_text("[].")
        (self._directory / "inetrc").write_text(self.place.inetrc)
        file = self._directory / ".erlang.cookie"
        file.write_text(cookie)
        file.chmod(0o400)

    def _settings(self) -> dict[str, str]:
        place = self.place
        directory = Path(place.inside(self._directory))
        return {
            "HOME": str(directory),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(place.epmd),
            "ERL_EPMD_ADDRESS": ",".join(place.epmd_hosts),
            "ERL_INETRC": str(directory / "inetrc"),
            "RABBITMQ_NODENAME": place.name,
            "RABBITMQ_DIST_PORT": str(place.distribution),
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
            # Schedulers that spin while they wait would take the CPU from the tests. The runbook advises this interval.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none "
            f"-kernel inet_dist_use_interface {{{place.host.replace('.', ',')}}} -aten poll_interval 1000",
        }

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()  # its data are not needed any more, and an orderly stop takes seconds
        command = [*self.place.enter, "epmd", "-kill"]
        subprocess.run(command, env=self._environment, check=False, capture_output=True)

    @property
    def pid(self) -> int | None:
        return self._node.pid if self._node else None

    def ctl(self, *arguments: str) -> str:
        command = [*self.place.enter, str(self._server.with_name("rabbitmqctl")), "--quiet", *arguments]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=180, check=False)
        if done.returncode:
            raise RuntimeError(f"rabbitmqctl {arguments[0]}: {done.stdout}{done.stderr}")
        return done.stdout

    @contextmanager
    def management(self) -> Iterator[str]:
        listener = f'[{{port, {self._management}}}, {{ip, "{self.place.host}"}}]'  # it stays where it was started
        # The plugin is started, but not enabled: that takes ten seconds, and the next start of the node would, too.
        self.ctl(
            "eval",
            'code:add_pathsz(filelib:wildcard(filename:join([code:lib_dir(rabbit), "..", "*", "ebin"]))), '
            f"application:load(rabbitmq_management), application:set_env(rabbitmq_management, tcp_config, {listener}), "
            f"application:load(rabbitmq_management_agent), "
            f"[application:set_env(A, sample_retention_policies, {EVERY_SECOND}) "
            "|| A <- [rabbitmq_management, rabbitmq_management_agent]], "
            "application:set_env(rabbit, quorum_tick_interval, 500), rabbit:start_apps([rabbitmq_management], #{}).",
        )
        try:
            yield f"http://{self.place.host}:{self._management}"
        finally:
            self.ctl("eval", "application:unset_env(rabbit, quorum_tick_interval).")

    def start(self) -> None:
        self.launch()
        self.await_start()

    def launch(self) -> None:
        """Start the node without waiting for it."""
        with self._output.open("ab") as file:
            self._node = subprocess.Popen(
                [*self.place.enter, str(self._server)],
                env=self._environment,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def await_start(self) -> None:
        """Wait until a launched node accepts connections."""
        end = time.monotonic() + 60
        while not answers(self.place.port, self.place.host):
            if self._node is None or self._node.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"rabbitmq-server did not start:\n{self._output.read_text()[-3000:]}")
            time.sleep(0.05)

    @property
    def _output(self) -> Path:
        return self._directory / "output"

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


def answers(port: int, host: str = "127.0.0.1") -> bool:
    """Return whether something accepts connections on *port*."""
    with suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False


def _without_rabbitmq(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
