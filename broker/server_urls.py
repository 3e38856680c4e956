"""The parameters in the URL of a server: a wrong one is refused at once, before any try to connect.

The messages name the parameter, never the URL, since that has a password.
"""

from __future__ import annotations

import getpass
import os
import ssl
from collections.abc import Collection, Mapping
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from broker.session_settings import is_session_setting

_TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_VERIFYING = ("verify-ca", "verify-full")
_STORE_CHOICES: Mapping[str, tuple[str, ...]] = {
    "target_session_attrs": ("any", "primary", "standby", "prefer-standby", "read-write", "read-only"),
    "sslmode": ("disable", "allow", "prefer", "require", *_VERIFYING),
    "sslnegotiation": ("postgres", "direct"),
    "ssl_min_protocol_version": _TLS_VERSIONS,
    "ssl_max_protocol_version": _TLS_VERSIONS,
    "gsslib": ("gssapi", "sspi"),
}
_STORE_OPTIONS = (
    "host",
    "port",
    "user",
    "password",
    "passfile",
    "dbname",
    "database",
    "service",
    "sslcert",
    "sslcrl",
    "sslkey",
    "sslpassword",
    "sslrootcert",
    "krbsrvname",
    "options",
    *_STORE_CHOICES,
)
"""What the query of the store's URL may set besides settings of a session: asyncpg's options, and ``options``."""
_UNHEEDED = frozenset(
    {
        "channel_binding",
        "fallback_application_name",
        "gssencmode",
        "hostaddr",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "load_balance_hosts",
        "max_protocol_version",
        "min_protocol_version",
        "replication",
        "require_auth",
        "requirepeer",
        "requiressl",
        "sslcertmode",
        "sslcompression",
        "sslcrldir",
        "sslsni",
    }
)
"""Options of libpq that have no effect here, or stop every connection."""
_TRANSPORT_OPTIONS = ("auth", "cafile", "capath", "certfile", "heartbeat", "keyfile", "no_verify_ssl")
"""What the query of the transport URL may set: aiormq's options, except those that the product sets itself."""
_TRANSPORT_CHOICES: Mapping[str, tuple[str, ...]] = {"auth": ("plain", "external"), "no_verify_ssl": ("0", "1")}
_LONGEST_HEARTBEAT = 65535
"""Seconds, which AMQP puts into 16 bits."""


def check_store_parameters(url: str) -> None:
    """Return if PostgreSQL can be connected to with the parameters of *url*, a ``postgresql://`` URL.

    Raises:
        ValueError: There is an unknown parameter, a value is not allowed, a file cannot be used, or no user is named.
    """
    given = _parameters(url)
    _check_store_names(given)
    _check_ports(url, given.get("port", ""))
    if not (urlsplit(url).username or given.get("user") or os.environ.get("PGUSER")):
        _check_user_name()
    _check_choices(given, _STORE_CHOICES)
    mode = given.get("sslmode", "disable" if given.get("host", "").startswith("/") else "prefer")
    if mode == "disable":
        return
    if mode in _VERIFYING:
        if "sslrootcert" in given:
            _check_authorities("sslrootcert", cafile=given["sslrootcert"])
        if "sslcrl" in given:
            _check_authorities("sslcrl", cafile=given["sslcrl"])
    if "sslcert" in given:
        key = given.get("sslkey") or _usual_key()
        _check_certificate("sslcert", given["sslcert"], "sslkey", key, given.get("sslpassword", ""))


def _check_user_name() -> None:
    """Return if this process's user has a name, which is PostgreSQL's user then, as with libpq."""
    try:
        getpass.getuser()
    except (KeyError, OSError):  # a container's user ID need not be in the password database
        raise ValueError("names no user, and this process's user ID has no name: put a user into the URL") from None


def _usual_key() -> str | None:
    """Return the file with the key of a client without `sslkey`, as with libpq, if there is one."""
    try:
        path = Path.home() / ".postgresql" / "postgresql.key"
    except RuntimeError:  # no HOME, and a user ID that is not in the password database
        return None
    return str(path) if path.exists() else None


def check_transport_parameters(url: str) -> None:
    """Return if RabbitMQ can be connected to with the parameters of *url*, an ``amqp://`` or ``amqps://`` URL.

    Raises:
        ValueError: There is an unknown parameter, a value is not allowed, or a file cannot be used.
    """
    given = _parameters(url)
    if given.keys() - set(_TRANSPORT_OPTIONS):  # not named: it may be the rest of a password with a question mark
        raise ValueError(f"has an unknown option; allowed are {', '.join(_TRANSPORT_OPTIONS)}")
    _check_choices({**given, "auth": given.get("auth", "plain").lower()}, _TRANSPORT_CHOICES)
    heartbeat = given.get("heartbeat", "1")
    if not (
        heartbeat.isascii() and heartbeat.isdigit() and len(heartbeat) < 6 and int(heartbeat) <= _LONGEST_HEARTBEAT
    ):
        raise ValueError(
            f"`heartbeat` is {_quoted(heartbeat)}, and must be a whole number of seconds, at most {_LONGEST_HEARTBEAT}"
        )
    if not url.startswith("amqps:"):
        return
    if "cafile" in given:
        _check_authorities("cafile", cafile=given["cafile"])
    if "capath" in given:
        _check_authorities("capath", capath=given["capath"])
    if "certfile" in given:
        _check_certificate("certfile", given["certfile"], "keyfile", given.get("keyfile"), "")


def store_hosts(url: str) -> str:
    """Return where *url* of a store leads to, without its password: ``one:5432, two:5432``, or a socket's directory."""
    return ", ".join(
        host if host.startswith("/") else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        for host, port in store_addresses(url)
    )


def store_addresses(url: str) -> list[tuple[str, int]]:
    """Return the hosts, or directories of sockets, and the ports that *url* of a store names, or libpq's variables."""
    given, authority = _parameters(url), urlsplit(url).netloc
    named = authority.rpartition("@")[2] or given.get("host") or os.environ.get("PGHOST") or "localhost"
    hosts = named.split(",")
    ports = (given.get("port") or os.environ.get("PGPORT") or "5432").split(",")
    ports += ports[-1:] * (len(hosts) - len(ports))
    return [_with_port(unquote(host), port) for host, port in zip(hosts, ports, strict=False)]


def _with_port(host: str, port: str) -> tuple[str, int]:
    """Return *host* with its own port, if it has one, or with *port*."""
    if not host.startswith("/"):
        name, colon, own = host.rpartition(":")
        if colon and not own.endswith("]"):
            host, port = name, own
    return host.removeprefix("[").removesuffix("]"), int(port or 5432)


def _parameters(url: str) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(urlsplit(url).query, keep_blank_values=True).items()}


def _check_store_names(given: Collection[str]) -> None:
    if "connect_timeout" in given:
        raise ValueError(
            "`connect_timeout` is not supported: SIGNAL_BROKER_STORE_TIMEOUT_SECONDS says how long connecting may take"
        )
    for name in given:
        if name in _UNHEEDED:
            raise ValueError(f"`{name}` is an option of libpq that is not supported here: remove it")
        if name not in _STORE_OPTIONS and not is_session_setting(name):  # not named: it may be the rest of a password
            raise ValueError(
                f"has an unknown option; allowed are {', '.join(sorted(_STORE_OPTIONS))}, and settings of a session,"
                " such as statement_timeout or search_path"
            )


def _check_ports(url: str, ports: str) -> None:
    if any(port and not (port.isdecimal() and 0 < int(port) < 1 << 16) for port in ports.split(",")):
        raise ValueError(f"`port` is {_quoted(ports)}, and must be a number from 1 to 65535, or one for each host")
    if "," in ports and ports.count(",") + 1 != len(store_addresses(url)):
        raise ValueError("`port` must be one number for all hosts, or one for each")


def _check_choices(given: Mapping[str, str], choices: Mapping[str, Collection[str]]) -> None:
    for name, allowed in choices.items():
        if name in given and given[name] not in allowed:
            raise ValueError(f"`{name}` is {_quoted(given[name])}, and must be one of {', '.join(allowed)}")


def _check_authorities(name: str, *, cafile: str | None = None, capath: str | None = None) -> None:
    try:
        if capath is None:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=cafile)
        else:
            next(Path(capath).iterdir(), None)
    except (OSError, ValueError) as error:
        raise ValueError(f"`{name}`: {_quoted(cafile or capath or '')} {_trouble(error)}") from None


def _check_certificate(name: str, file: str, key_name: str, key: str | None, password: str) -> None:
    """Load the certificate and the key as a connection would, and never ask for a password."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(file, key or None, password=lambda: password)
    except (OSError, ValueError) as error:
        files = f"`{name}`: {_quoted(file)}" + ("" if key is None else f" with `{key_name}`: {_quoted(key)}")
        raise ValueError(f"{files} {_trouble(error)}") from None


def _trouble(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError) or not isinstance(error, OSError):
        return "must be certificates (and keys) in PEM format that belong together, and is not"
    return f"cannot be read: {error.strerror or error}"


def _quoted(value: str) -> str:
    return repr(value[:100])
