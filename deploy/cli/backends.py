"""Opens what the settings name: the store, the transport and the key ring."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import structlog

from broker.errors import ConfigurationError
from broker.logs import configure_logs
from broker.secrets import SecretBox, load_or_make_key
from broker.settings import Settings, read_settings, unknown_variables
from broker.store.postgres.database import Database
from broker.store.postgres.embedded import embedded_postgres, require_embedded
from broker.transport import Transport

EMBEDDED = "embedded:"
_TRIES = frozenset({"link.refused", "link.lost", "channel.refused", "listener.lost", "transport.lost"})
"""The log events of tries to reach a server, which a process repeats for as long as it takes."""

log = structlog.get_logger()


def settings_with_logs(*, quiet: bool = False) -> Settings:
    """Read the settings and set up the logs; *quiet* leaves warnings and errors only.

    It also leaves out each try to reach a server: a command that cannot reach one says so itself, once.

    Raises:
        ConfigurationError: A setting is wrong.
    """
    settings = read_settings()
    if quiet and settings.log_level in {"debug", "info"}:
        settings = settings.model_copy(update={"log_level": "warning"})
    configure_logs(settings, without=_TRIES if quiet else ())
    for sentence in unknown_variables(os.environ):
        log.warning("setting.ignored", hint=sentence)
    return settings


def allow_loopback(settings: Settings) -> Settings:
    """Return *settings* with webhooks to this machine allowed, unless they have an allow-list of their own."""
    if "egress_allow" in settings.model_fields_set:
        return settings
    return settings.model_copy(update={"egress_allow": (ip_network("127.0.0.0/8"), ip_network("::1/128"))})


@contextmanager
def store_url(settings: Settings, *, create: bool = True) -> Iterator[str]:
    """Yield the URL of the store; an embedded PostgreSQL runs meanwhile, shared by all processes that use it.

    Args:
        settings: Where it is.
        create: Whether to begin an embedded store that is not there yet.

    Raises:
        ConfigurationError: The data directory cannot be used, or has no store.
    """
    if settings.store_url != EMBEDDED:
        yield settings.store_url
        return
    if not create:
        require_store(settings)
    with embedded_postgres(_data_dir(settings)) as url:
        yield url


def require_named_store(settings: Settings) -> None:
    """Check that the store is named where RabbitMQ is; without the setting, a process would have a store of its own.

    Raises:
        ConfigurationError: It is not.
    """
    if settings.transport_url != EMBEDDED and "store_url" not in settings.model_fields_set:
        raise ConfigurationError(
            "SIGNAL_BROKER_STORE_URL: must be set beside SIGNAL_BROKER_TRANSPORT_URL, to what the other processes have;"
            " `embedded:` is the store in SIGNAL_BROKER_DATA_DIR"
        )


def require_store(settings: Settings) -> None:
    """Check that there is a store, as far as that can be seen without connecting to it.

    Raises:
        ConfigurationError: It would be an embedded one that was never begun, or cannot run.
    """
    if settings.store_url == EMBEDDED:
        require_embedded(settings.data_dir)


@contextmanager
def sole_user(settings: Settings) -> Iterator[None]:
    """Hold the data directory for this process alone.

    Raises:
        ConfigurationError: Another process runs on it.
    """
    with (_data_dir(settings) / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigurationError(
                f"SIGNAL_BROKER_DATA_DIR: another signal-broker runs on {settings.data_dir}; give this one its own"
            ) from None
        yield


def _data_dir(settings: Settings) -> Path:
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"SIGNAL_BROKER_DATA_DIR: {error}") from error
    return settings.data_dir


def open_transport(
    settings: Settings, database: Database, *, declare_timeout: timedelta = timedelta(seconds=30)
) -> AbstractAsyncContextManager[Transport]:
    """Return the transport, to be entered; the embedded one lives in *database*.

    Raises:
        ConfigurationError: Its URL cannot be used.
    """
    # Each adapter is imported only where it is used: a command that needs neither starts in half the time.
    if settings.transport_url == EMBEDDED:
        from broker.transport.embedded import EmbeddedTransport  # noqa: PLC0415

        return EmbeddedTransport(database)
    return open_rabbitmq(settings, declare_timeout=declare_timeout)


def open_rabbitmq(settings: Settings, *, declare_timeout: timedelta) -> AbstractAsyncContextManager[Transport]:
    """Return the transport of settings that name a RabbitMQ, to be entered.

    Raises:
        ConfigurationError: Its URL cannot be used.
    """
    from broker.transport.rabbitmq import RabbitTransport  # noqa: PLC0415

    return RabbitTransport(settings.transport_url, declare_timeout=declare_timeout, management=settings.management_url)


def open_secrets(settings: Settings) -> SecretBox:
    """Return the box that seals webhook secrets; with the embedded store its key is kept in the data directory.

    Raises:
        ConfigurationError: There is no key, or it is invalid.
    """
    if settings.secret_keys:
        return SecretBox([key.get_secret_value() for key in settings.secret_keys])
    if settings.store_url == EMBEDDED:
        return SecretBox([load_or_make_key(settings.data_dir / "secret-key")])
    raise ConfigurationError(
        "SIGNAL_BROKER_SECRET_KEYS: must be set with a store of your own, the same for every process; make one with"
        " `python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'`"
    )
