"""The servers: how each is set up, reloaded and stopped. What is not said here is as it is by default."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.support.node import NODE

CERTIFICATE = "127.0.0.1.pem"
APPS = Path(__file__).parent / "apps"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A server of one kind. In what it is given, ``{port}``, ``{admin}`` and ``{backend}`` are ports of this machine.

    Args:
        name: What it is called.
        version: The command that tells its version.
        command: The command that runs it in the foreground, in a directory of its own.
        settings: Its files in that directory, by their names.
        build: The command that is run there first.
        reload: The signal, or the command, that reloads it; None: there is none, and it is restarted instead.
        stop: The signal by which its service is stopped.
        package: Debian's package that has it; empty: it comes with the requirements of the tests.
        passes_on: Whether it passes requests on to a receiver behind it, which is left alone.
        tls: Whether it speaks TLS, with the key and the certificate in `CERTIFICATE`, which is put into its directory.
    """

    name: str
    version: Sequence[str]
    command: Sequence[str]
    settings: Mapping[str, str] = field(default_factory=dict)
    build: Sequence[str] = ()
    reload: signal.Signals | Sequence[str] | None = None
    stop: signal.Signals = signal.SIGTERM
    package: str = ""
    passes_on: bool = False
    tls: bool = False


_NGINX = """\
daemon off;
worker_processes 2;
pid nginx.pid;
error_log error.log;
events {}
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {
        listen 127.0.0.1:{port}%s;
        location / { proxy_pass http://127.0.0.1:{backend}; }
    }
}
"""
_HAPROXY = """\
defaults
    mode http
    timeout connect 5s
    timeout client 50s
    timeout server 50s
frontend webhooks
    bind 127.0.0.1:{port}%s
    default_backend receivers
backend receivers
    server receiver 127.0.0.1:{backend}
"""
_NGINX_TLS = f" ssl; ssl_certificate {CERTIFICATE}; ssl_certificate_key {CERTIFICATE}"
_HAPROXY_TLS = f" ssl crt {CERTIFICATE}"
_CADDY = """\
{
    admin 127.0.0.1:{admin}
}
http://127.0.0.1:{port} {
    bind 127.0.0.1
    reverse_proxy 127.0.0.1:{backend}
}
"""
_CADDYFILE = ("--config", "Caddyfile", "--adapter", "caddyfile")
_GUNICORN = (sys.executable, "-m", "gunicorn", "--chdir", str(APPS), "--bind", "127.0.0.1:{port}", "--workers", "2")
_UVICORN = (sys.executable, "-m", "uvicorn", "--app-dir", str(APPS), "--log-level", "warning", "--no-access-log")

BACKEND = Kind(
    name="backend",
    version=(),
    command=(*_UVICORN, "--port", "{port}", "asgi_receiver:app"),
)
"""What is behind those that pass requests on."""

_PROXIES = (
    Kind(
        name="nginx",
        version=("nginx", "-v"),
        command=("nginx", "-p", ".", "-c", "nginx.conf", "-e", "error.log"),
        settings={"nginx.conf": _NGINX % ""},
        reload=signal.SIGHUP,
        stop=signal.SIGQUIT,
        package="nginx-light",
        passes_on=True,
    ),
    Kind(
        name="HAProxy",
        version=("haproxy", "-v"),
        command=("haproxy", "-W", "-f", "haproxy.cfg"),
        settings={"haproxy.cfg": _HAPROXY % ""},
        reload=signal.SIGUSR2,
        package="haproxy",
        passes_on=True,
    ),
    Kind(
        name="Caddy",
        version=("caddy", "version"),
        command=("caddy", "run", *_CADDYFILE),
        settings={"Caddyfile": _CADDY},
        reload=("caddy", "reload", "--force", *_CADDYFILE, "--address", "127.0.0.1:{admin}"),
        package="caddy",
        passes_on=True,
    ),
)
KINDS = (
    *_PROXIES,
    replace(_PROXIES[0], name="nginx, with TLS", settings={"nginx.conf": _NGINX % _NGINX_TLS}, tls=True),
    replace(_PROXIES[1], name="HAProxy, with TLS", settings={"haproxy.cfg": _HAPROXY % _HAPROXY_TLS}, tls=True),
    Kind(
        name="Node",
        version=(str(NODE), "--version"),
        command=(str(NODE), str(APPS / "receiver.mjs"), "{port}"),
    ),
    Kind(
        name="Go",
        version=("go", "version"),
        build=("go", "build", "-o", "receiver", str(APPS / "receiver.go")),
        command=("./receiver", "{port}"),
        package="golang-go",
    ),
    Kind(
        name="gunicorn, workers `sync`",
        version=(sys.executable, "-m", "gunicorn", "--version"),
        command=(*_GUNICORN, "wsgi_receiver:app"),
        reload=signal.SIGHUP,
    ),
    Kind(
        name="gunicorn, workers `gthread`",
        version=(sys.executable, "-m", "gunicorn", "--version"),
        command=(*_GUNICORN, "--threads", "4", "wsgi_receiver:app"),
        reload=signal.SIGHUP,
    ),
    Kind(
        name="uvicorn",
        version=(sys.executable, "-m", "uvicorn", "--version"),
        command=(*_UVICORN, "--workers", "2", "--port", "{port}", "asgi_receiver:app"),
        reload=signal.SIGHUP,
    ),
)
