"""Which product a command is about: its URL, and what opens it.

Of these, the first that is there counts:

    --url                       and --token, before the command or after it
    --profile NAME              as `signal-broker login` stored it
    SIGNAL_BROKER_URL           and SIGNAL_BROKER_TOKEN
    SIGNAL_BROKER_PROFILE       a profile's name
    the profile `default`
    the product that runs on the data directory

If there is none, commands open the store and the transport of the settings themselves (`deploy.cli.direct`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

if TYPE_CHECKING:
    from yarl import URL

P = ParamSpec("P")
R = TypeVar("R")

_META = "signal-broker"
_VARIABLE = "SIGNAL_BROKER_"


@dataclass(frozen=True, slots=True)
class Product:
    """Where a product is reached.

    Args:
        url: Its URL, without a slash at the end.
        token: What opens it; None: nothing was given.
        local: Whether it runs on this machine: no proxy is on the way.
        socket: The Unix socket that it serves instead, if it does.
    """

    url: str
    token: str | None
    local: bool = False
    socket: Path | None = None


def _keep(ctx: click.Context, option: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.meta[f"{_META}.{option.name}"] = value


_OPTIONS = {
    "url": click.option(
        "--url",
        metavar="URL",
        expose_value=False,
        callback=_keep,
        help="The product, like https://signals.example.com.",
    ),
    "token": click.option(
        "--token", metavar="TOKEN", expose_value=False, callback=_keep, help="The API token for it (sb_...)."
    ),
    "profile": click.option(
        "--profile",
        metavar="NAME",
        expose_value=False,
        callback=_keep,
        help="The URL and token that `signal-broker login` stored.",
    ),
}


def with_product(command: Callable[P, R], *, without: Collection[str] = ()) -> Callable[P, R]:
    """Give *command* the options that say which product it is about, except those in *without*."""
    for name in reversed(_OPTIONS):
        if name not in without:
            command = _OPTIONS[name](command)
    return command


def given_options(ctx: click.Context) -> dict[str, str]:
    """Return the options that say which product the command of *ctx* is about, as far as they were given."""
    meta = ctx.meta
    return {name: meta[f"{_META}.{name}"] for name in _OPTIONS if f"{_META}.{name}" in meta}


def find_remote() -> Product | None:
    """Return the product that an option, the environment or a profile names, None if none does.

    Raises:
        ConfigurationError: The profile cannot be read.
        UsageError: What is given is no URL of a product, or a token without one.
    """
    # Each is imported only where it is used: a command with a URL needs few of them.
    from deploy.cli.profiles import DEFAULT, find_profile, read_profiles  # noqa: PLC0415

    given = given_options(click.get_current_context())
    variables = {name: os.environ.get(_VARIABLE + name.upper()) or None for name in _OPTIONS}
    profiles = read_profiles()
    token = find_token()
    stored = {profile.url: profile.token for profile in profiles.values()}
    if "url" in given:
        url = check_url(given["url"])
        return Product(url, token or stored.get(url))
    if "profile" in given:
        profile = find_profile(given["profile"], profiles)
        return Product(profile.url, token if "token" in given else profile.token)
    if variables["url"] is not None:
        url = check_url(variables["url"])
        return Product(url, token or stored.get(url))
    if variables["profile"] is not None:
        profile = find_profile(variables["profile"], profiles)
        return Product(profile.url, token or profile.token)
    if DEFAULT in profiles:
        return Product(profiles[DEFAULT].url, token or profiles[DEFAULT].token)
    return None


def find_token() -> str | None:
    """Return the token that an option or the environment gives, None if neither does.

    Raises:
        UsageError: It is none.
    """
    given = given_options(click.get_current_context()).get("token") or os.environ.get(_VARIABLE + "TOKEN")
    return check_token(given) if given else None


def check_token(text: str) -> str:
    """Return the token *text*, without the line break of the file that it may be from.

    Raises:
        UsageError: No token is written so.
    """
    token = text.strip()
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise click.UsageError("the token is not one: it has blanks, or characters that are not ASCII")
    return token


def check_url(text: str) -> str:
    """Return the URL of a product as it was written, without slashes at the end.

    Raises:
        UsageError: It is not one.
    """
    url = parse_url(text)
    if url is None:
        raise click.UsageError(f"{text!r} is not the URL of a signal-broker, like https://signals.example.com")
    if url.user is not None or url.query_string or url.fragment:
        raise click.UsageError("the URL of a signal-broker has no credentials, no query and no fragment: pass --token")
    return text.rstrip("/")


def parse_url(text: str) -> URL | None:
    """Return the URL *text*, None if it is none of HTTP with a host."""
    from yarl import URL  # noqa: PLC0415

    try:
        url = URL(text)
    except ValueError:
        return None
    return url if url.scheme in {"http", "https"} and url.host else None
