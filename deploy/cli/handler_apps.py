"""The apps of handlers that a command line names: ``--app package.module:handlers``."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterable
from importlib import import_module
from types import ModuleType

from broker.errors import ConfigurationError, WrongHandler
from workers.handlers import Handlers, check_app


def load_apps(places: Iterable[str]) -> dict[str, Handlers]:
    """Import the handlers at *places*, from the current directory too; return them by their apps' names.

    Raises:
        ConfigurationError: There are none at one of them, or it cannot be imported; the message is one line.
    """
    apps: dict[str, Handlers] = {}
    if os.getcwd() not in sys.path:  # noqa: PTH109  (what is on the path is text)
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    for place in dict.fromkeys(places):
        module, separator, name = place.partition(":")
        if not (separator and all(part.isidentifier() for part in (*module.split("."), *name.split(".")))):
            raise ConfigurationError(f"--app {place}: is not a module and a name in it, like shop.billing:handlers")
        try:
            handlers: object = _import(module)
            for part in name.split("."):
                handlers = getattr(handlers, part)
            if not isinstance(handlers, Handlers):
                raise ConfigurationError(f"--app {place}: is not `Handlers`, but {type(handlers).__name__}")
            app = handlers.name or check_app(module)
        except (AttributeError, WrongHandler) as error:
            raise ConfigurationError(f"--app {place}: {error}") from error
        if not list(handlers):
            raise ConfigurationError(f"--app {place}: has no handlers")
        if app in apps:
            raise ConfigurationError(f"--app {place}: there is an app {app!r} already; give one of them another name")
        apps[app] = handlers
    return apps


def _import(module: str) -> ModuleType:
    try:
        return import_module(module)
    except WrongHandler:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            raise ConfigurationError(f"--app {module}: there is no module {error.name!r}") from error
        raise _broken(module, error) from error
    except (Exception, SystemExit) as error:
        raise _broken(module, error) from error


def _broken(module: str, error: BaseException) -> ConfigurationError:
    last = traceback.extract_tb(error.__traceback__)[-1]
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return ConfigurationError(f"--app {module}: cannot be imported: {what} ({last.filename}, line {last.lineno})")
