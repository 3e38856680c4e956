"""Settings from the environment: one variable per field, with the prefix ``SIGNAL_BROKER_``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from broker.errors import ConfigurationError
from broker.server_urls import check_store_parameters, check_transport_parameters

PREFIX = "SIGNAL_BROKER_"
_RENAMED = "REPUBLISH_AFTER_SECONDS"
"""The name of `rescue_after_seconds` in 0.1.0, which still works."""
_OF_COMMANDS = ("URL", "TOKEN", "PROFILE")
"""Variables that say which product a command is about; they are no settings of one."""
Seconds = Annotated[float, Field(gt=0, le=3600)]

_CONFIDENTIAL = frozenset(
    {
        "admin_token",
        "secret_keys",
        "public_url",
        "transport_url",
        "management_url",
        "store_url",
        "egress_proxy",
        "oidc_jwks_url",
    }
)
"""Settings that no error message repeats, because they are secrets or contain passwords."""
_PLACEHOLDERS = ("replace-me", "cmVwbGFjZS1tZS")
"""What deploy/examples/secrets.env has where passwords, tokens and keys go; the other one is a key that begins so."""
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+]|[^\s\[\]:@/?#]+)(?::([0-9]{1,5}))?")
_ORIGIN = re.compile(r"\*|https?://(?:[a-z0-9._-]+|\[[0-9a-f:]+\])(?::[0-9]{1,5})?")
_PUBLIC = re.compile(rf"https?://{_HOST.pattern}(?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?")
_PROXY = re.compile(rf"http://(?:(?:(?!%3[Aa])[^\s\[\]:@/?#])+(?::[^\s\[\]:@/?#]*)?@)?{_HOST.pattern}/?")


class Settings(BaseSettings):
    """All settings, with their defaults and meanings; `read_settings` reads them."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True, validate_by_name=True)

    http_host: str = Field(
        "127.0.0.1",
        description="Address the gateway listens on (0.0.0.0 in the image); empty: every one, of IPv4 and IPv6.",
    )
    http_port: int = Field(8080, ge=0, le=65535, description="Port the gateway listens on; 0 takes a free one.")
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port for `/metrics` alone, at the same address, which a firewall can keep callers from; 0 takes a"
        " free one; none: it is on the port of the API.",
    )
    http_connections: int = Field(
        2000,
        ge=10,
        le=100_000,
        description="Most connections of callers to one process, as far as half of its limit of open files reaches.",
    )
    header_timeout_seconds: Seconds = Field(10, description="How long a request's headers may take to arrive.")
    public_url: str = Field(
        "",
        description="Where callers reach the gateway, for the URLs that it tells (`https://signals.example`); none: as"
        " each request says.",
    )
    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = Field(
        (),
        description="CIDRs of the proxies in front of the gateway, comma-separated: what they say of the caller's"
        " address, protocol and host is believed; none: nothing is.",
    )
    transport_url: str = Field(
        "embedded:", description="`embedded:`, or `amqp://` / `amqps://` (several hosts comma-separated)."
    )
    management_url: str = Field(
        "",
        description="RabbitMQ's management API, for policies: `http://` or `https://`; by default at port 15672"
        " (15671 with TLS) of each host of the transport.",
    )
    store_url: str = Field("embedded:", description="`embedded:` (with `signal-broker[embedded]`), or `postgresql://`.")
    store_pool_size: int = Field(
        20,
        ge=10,
        le=500,
        description="Most connections in a process's pool to PostgreSQL; it has up to eight besides.",
    )
    data_dir: Path = Field(Path(".signal-broker"), description="Directory of the embedded store's data.")
    admin_token: SecretStr | None = Field(None, description="Bootstrap token of a principal with every permission.")
    secret_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), description="Key ring for secrets at rest: Fernet keys, comma-separated, the first one encrypts."
    )
    max_body_bytes: int = Field(
        1 << 20, ge=1024, le=15 << 20, description="Largest request body (the Unleash route: 100 KiB)."
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Origins whose pages may call the API from a browser, comma-separated (`https://app.example`), or"
        " `*`; none: no page may.",
    )
    oidc_issuer: str = Field(
        "", description="URL of an OpenID Connect issuer whose tokens (JWT) are accepted, as their `iss` has it."
    )
    oidc_audience: str = Field(
        "", validate_default=True, description="What `aud` of such a token must have; needed with an issuer."
    )
    oidc_jwks_url: str = Field("", description="Where the issuer's keys are; by default, where its discovery says.")
    oidc_permissions_claim: str = Field(
        "permissions",
        min_length=1,
        description="Claim with the permissions: a list, or words; `realm_access.roles` is one within another.",
    )
    oidc_names_claim: str = Field("", description="Claim with the patterns of signal names; none: no limit.")
    oidc_tenants_claim: str = Field("", description="Claim with the tenants (`*`: all); none: no limit.")
    oidc_queues_claim: str = Field("", description="Claim with the patterns of queue targets; none: no limit.")
    oidc_untenanted_claim: str = Field("", description="Claim that is true for `untenanted`; none: false.")
    signal_endpoints_limit: int = Field(
        100, ge=1, le=1000, description="Most signal endpoints of each tenant, and of none (Unleash: 5)."
    )
    signal_tokens_per_endpoint_limit: int = Field(
        20, ge=1, le=1000, description="Most tokens of one signal endpoint (Unleash: 5)."
    )
    signal_endpoint_rate_limit_per_second: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Calls per second that each signal endpoint may get from one gateway; 0 is no limit (Unleash: 1).",
    )
    buffered_messages_limit: int = Field(
        10_000,
        ge=0,
        le=1_000_000,
        description="Most messages of Camunda 8 that are buffered for each tenant, and for none; 0: none are.",
    )
    egress_allow: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = Field(
        (), description="CIDRs that webhooks may reach besides public addresses, comma-separated."
    )
    egress_https_only: bool = Field(
        default=False,
        description="Whether webhooks go only to `https://` URLs; existing subscriptions included.",
    )
    egress_ca_file: Path | None = Field(
        None, description="PEM file of certificate authorities for webhooks, besides the system's."
    )
    egress_proxy: SecretStr | None = Field(
        None, description="Proxy that webhooks go through: `http://host:port` or `http://user:password@host:port`."
    )
    confirm_timeout_seconds: Seconds = Field(5, description="How long a throw waits for its publisher confirm.")
    body_timeout_seconds: Seconds = Field(20, description="How long a request's body may take to arrive.")
    store_timeout_seconds: Seconds = Field(5, description="How long one statement may take.")
    drain_timeout_seconds: Seconds = Field(20, description="How long work in flight may go on after SIGTERM.")
    webhook_timeout_seconds: Seconds = Field(
        15, description="How long one attempt may take, unless its subscription has a timeout."
    )
    webhook_concurrency: int = Field(
        200, ge=1, le=5000, description="Most attempts in flight in each lane of a deliverer process."
    )
    handler_concurrency: int = Field(
        50, ge=1, le=1000, description="Most Python handlers running in a process, for each app."
    )
    rescue_after_seconds: Seconds = Field(
        30,
        validation_alias=AliasChoices(f"{PREFIX}RESCUE_AFTER_SECONDS", f"{PREFIX}{_RENAMED}"),
        description="When the scheduler rescues a pending delivery, whose message may be lost, by publishing it again.",
    )
    retention_days: Annotated[float, Field(ge=0, le=36_500)] = Field(
        30, description="How long signals and their deliveries are kept; 0 is for ever."
    )
    retention_dead_days: Annotated[float, Field(ge=0, le=36_500)] = Field(
        90, description="How long signals with a dead delivery are kept at least, so that it can be redriven."
    )
    archive_dir: Path | None = Field(
        None, description="Directory of the archive, to which signals go before they are dropped; none: no archive."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="`json`, `console`, or `auto`: `console` on a terminal, else `json`."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level that is logged.")
    log_signals: Literal["all", "sampled", "failures"] = Field(
        "all",
        description="Which signals leave lines in the log: `all`; `sampled`: one in a hundred, and every failed"
        " attempt; `failures`: failed attempts alone.",
    )

    @field_validator("secret_keys", mode="before")
    @classmethod
    def _split_keys(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("transport_url", "store_url", "admin_token", "secret_keys", mode="before")
    @classmethod
    def _no_placeholder(cls, value: object) -> object:
        if isinstance(value, str) and any(placeholder in value for placeholder in _PLACEHOLDERS):
            raise ValueError("is the placeholder of an example: put your own value there")
        return value

    @field_validator("data_dir")
    @classmethod
    def _expanded(cls, value: Path) -> Path:
        try:
            return value.expanduser()
        except RuntimeError:
            raise ValueError(f"{value}: there is no such home directory") from None

    @field_validator("egress_allow", "trusted_proxies", mode="before")
    @classmethod
    def _split_networks(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(ip_network(part.strip()) for part in value.split(",") if part.strip())

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        origins = [part.strip().lower() for part in value.split(",") if part.strip()]
        for origin in origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{origin!r} is not an origin, like https://app.example or http://localhost:3000, or *"
                )
        return tuple(map(_as_browsers_write_it, origins))

    @field_validator("oidc_issuer", "oidc_jwks_url")
    @classmethod
    def _known_issuer(cls, value: str) -> str:
        if value and (not value.startswith(("https://", "http://")) or "@" in urlsplit(value).netloc):
            raise ValueError("must be https://..., or http://... in a network that is trusted, without a password")
        return _check_hosts(value) if value else value

    @field_validator("oidc_audience")
    @classmethod
    def _one_audience(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("oidc_issuer") and not value:
            raise ValueError("must be set with SIGNAL_BROKER_OIDC_ISSUER: else tokens for others would be accepted")
        return value

    @field_validator("admin_token")
    @classmethod
    def _hard_to_guess(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value) < 16:
            raise ValueError(f"must have at least 16 characters, and has {len(value)}")
        return value

    @field_validator("public_url")
    @classmethod
    def _public(cls, value: str) -> str:
        found = _PUBLIC.fullmatch(value)
        if value and (found is None or int(found[2] or 0) > 65535):
            raise ValueError("must be https://host or http://host, perhaps with a port and a path")
        return value.rstrip("/")

    @field_validator("transport_url")
    @classmethod
    def _known_transport(cls, value: str) -> str:
        if value == "embedded:":
            return value
        if not value.startswith(("amqp://", "amqps://")):
            raise ValueError("must be `embedded:`, amqp://... or amqps://...")
        check_transport_parameters(value)
        return _check_hosts(value)

    @field_validator("management_url")
    @classmethod
    def _known_management(cls, value: str) -> str:
        if value and ("," in value or not value.startswith(("http://", "https://"))):
            raise ValueError("must be http://... or https://..., with one host")
        return _check_hosts(value) if value else value

    @field_validator("store_url")
    @classmethod
    def _known_store(cls, value: str) -> str:
        if value == "embedded:":
            return value
        if not value.startswith(("postgresql://", "postgres://")):
            raise ValueError("must be `embedded:` or postgresql://...")
        check_store_parameters(value)
        return value if "host=" in value.partition("?")[2] else _check_hosts(value)

    @field_validator("egress_proxy")
    @classmethod
    def _known_proxy(cls, value: SecretStr | None) -> SecretStr | None:
        found = None if value is None else _PROXY.fullmatch(value.get_secret_value())
        if value is not None and (found is None or not 0 < int(found[2] or 80) <= 65535):
            raise ValueError(
                "must be http://host:port or http://user:password@host:port"
                " (in a password, percent-encode everything but letters and digits)"
            )
        return value

    @property
    def confirm_timeout(self) -> timedelta:
        """How long a throw waits for its publisher confirm."""
        return timedelta(seconds=self.confirm_timeout_seconds)

    @property
    def header_timeout(self) -> timedelta:
        """How long a request's headers may take to arrive."""
        return timedelta(seconds=self.header_timeout_seconds)

    @property
    def body_timeout(self) -> timedelta:
        """How long a request's body may take to arrive."""
        return timedelta(seconds=self.body_timeout_seconds)

    @property
    def store_timeout(self) -> timedelta:
        """How long one statement may take."""
        return timedelta(seconds=self.store_timeout_seconds)

    @property
    def drain_timeout(self) -> timedelta:
        """How long work in flight may go on after SIGTERM."""
        return timedelta(seconds=self.drain_timeout_seconds)

    @property
    def webhook_timeout(self) -> timedelta:
        """How long one attempt may take, unless its subscription has a timeout."""
        return timedelta(seconds=self.webhook_timeout_seconds)

    @property
    def retention(self) -> timedelta | None:
        """How long signals are kept, at least an hour; None is for ever."""
        return max(timedelta(days=self.retention_days), timedelta(hours=1)) if self.retention_days else None

    @property
    def retention_dead(self) -> timedelta:
        """How long a dead delivery can be redriven at least."""
        return timedelta(days=self.retention_dead_days)

    @property
    def rescue_after(self) -> timedelta:
        """How long a delivery is pending before the scheduler rescues it."""
        return timedelta(seconds=self.rescue_after_seconds)


def read_settings(**overrides: object) -> Settings:
    """Read the settings from the environment; *overrides* (field names) win.

    Raises:
        ConfigurationError: A value is invalid; the message is one line that names the variable.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        raise ConfigurationError("; ".join(map(_sentence, error.errors()))) from None


def unknown_variables(names: Iterable[str]) -> list[str]:
    """Return a sentence about each of *names* that has the prefix but is no setting, most likely a typing error.

    They deserve only a warning, because other software uses such names: Kubernetes sets some for a service that is
    called ``signal-broker``.
    """
    known = [*(field.upper() for field in Settings.model_fields), *_OF_COMMANDS]
    sentences = []
    for name in sorted(names):
        rest = name.upper().removeprefix(PREFIX)
        if rest != name.upper() and rest not in {*known, _RENAMED}:
            near = get_close_matches(rest, known, 1)
            sentences.append(f"{name} is not a setting" + (f"; did you mean {PREFIX}{near[0]}?" if near else ""))
    return sentences


def _as_browsers_write_it(origin: str) -> str:
    """Return *origin* without its scheme's own port."""
    return origin.removesuffix({"http": ":80", "https": ":443"}.get(origin.partition(":")[0], ""))


def _check_hosts(url: str) -> str:
    """Return *url* if its hosts are valid."""
    authority = re.split("[/?#]", url.partition("://")[2], maxsplit=1)[0]
    for host in authority.rpartition("@")[2].split(","):
        found = _HOST.fullmatch(host.strip())
        if found is None or int(found[2] or 0) > 65535:
            raise ValueError(
                "must be a URL like scheme://user:password@host:port/name"
                " (in a password, percent-encode everything but letters and digits)"
            )
    return url


def _sentence(error: ErrorDetails) -> str:
    field = str(error["loc"][0]).removeprefix(PREFIX).lower()
    message = error["msg"].removeprefix("Value error, ")
    given = "" if field in _CONFIDENTIAL else f" (got {error['input']!r})"
    return f"{PREFIX}{field.upper()}: {message[:1].lower()}{message[1:]}{given}"
