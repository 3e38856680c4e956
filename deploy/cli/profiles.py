"""Profiles: URLs with their tokens, which ``login`` stores for later commands.

~/.config/signal-broker/config.toml      or below $XDG_CONFIG_HOME; readable by its owner only

[profiles.default]
url = "https://signals.example.com"
token = "sb_..."
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from broker.errors import ConfigurationError

DEFAULT = "default"

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HEAD = "# Written by `signal-broker login`.\n"


@dataclass(frozen=True, slots=True)
class Profile:
    """A URL, and what opens it."""

    url: str
    token: str


def profiles_path() -> Path | None:
    """Return where the profiles are stored; None: nowhere, without a home directory."""
    home = os.environ.get("XDG_CONFIG_HOME", "")
    try:
        directory = Path(home) if home.startswith("/") else Path.home() / ".config"
    except RuntimeError:
        return None
    return directory / "signal-broker" / "config.toml"


def check_profile_name(name: str) -> str:
    """Return *name* if a profile can have it.

    Raises:
        ConfigurationError: It cannot.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"profile {name!r}: a name is 1 to 64 letters, digits, - and _")
    return name


def read_profiles() -> dict[str, Profile]:
    """Return the stored profiles.

    Raises:
        ConfigurationError: The file cannot be read.
    """
    path = profiles_path()
    if path is None:
        return {}
    try:
        tables = tomllib.loads(path.read_text("utf-8")).get("profiles", {})
        return {name: Profile(table["url"], table["token"]) for name, table in tables.items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}: {error}") from None
    except (AttributeError, KeyError, TypeError):
        raise ConfigurationError(
            f"{path}: each profile has a url and a token; `signal-broker login` writes it"
        ) from None


def store_profile(name: str, profile: Profile) -> Path:
    """Store *profile* under *name*, in place of the one that it named; return the file.

    Raises:
        ConfigurationError: The file cannot be read or written.
    """
    profiles = read_profiles() | {check_profile_name(name): profile}
    path = profiles_path()
    if path is None:
        raise ConfigurationError("there is no home directory to store a profile in: set XDG_CONFIG_HOME")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as draft:  # mode 0600
            draft.write(_HEAD + "".join(_table(*one) for one in profiles.items()))
        Path(draft.name).replace(path)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    return path


def find_profile(name: str, profiles: Mapping[str, Profile]) -> Profile:
    """Return the profile *name*.

    Raises:
        ConfigurationError: There is none.
    """
    if name not in profiles:
        known = f"there are {', '.join(sorted(profiles))}" if profiles else "there is none"
        raise ConfigurationError(f"there is no profile {name!r} ({known}): run `signal-broker login --profile {name}`")
    return profiles[name]


def _table(name: str, profile: Profile) -> str:
    # A JSON string without surrogates is a TOML string, too.
    return f"\n[profiles.{name}]\nurl = {json.dumps(profile.url)}\ntoken = {json.dumps(profile.token)}\n"
