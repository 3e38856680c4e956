"""The apps of handlers that ``--app`` names: ``package.module:handlers`` or ``path/to/file.py:handlers``."""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback
from collections.abc import Iterable
from hashlib import sha256
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from broker.errors import ConfigurationError
from deploy.signal_broker_command import PACKAGES
from workers.handlers import Handlers, WrongHandler, check_app

_ROOT = Path(__file__).parents[2]
_LIBRARIES = (
    *(f"{sysconfig.get_path(kind)}{os.sep}" for kind in ("stdlib", "platstdlib", "purelib", "platlib")),
    *(f"{_ROOT / name}{os.sep}" for name in PACKAGES),
    "<",
)
"""Prefixes of the files in a traceback that are not the user's code; ``<`` is code without a file."""


def load_apps(places: Iterable[str]) -> dict[str, Handlers]:
    """Import the handlers at *places*, from the current directory too; return them by their apps' names.

    A place is a module or the path of a file, and a name in it. A file is loaded as ``python FILE`` would run it: what
    is beside it can be imported.

    Raises:
        ConfigurationError: There are none at one of them, or it cannot be imported; the message is one line.
    """
    apps: dict[str, Handlers] = {}
    _make_importable(os.getcwd())  # noqa: PTH109  (what is on the path is text)
    for place in dict.fromkeys(places):
        app, handlers = _find(place)
        if apps.setdefault(app, handlers) is not handlers:
            raise ConfigurationError(f"--app {place}: there is an app {app!r} already; give one of them another name")
    return apps


def _find(place: str) -> tuple[str, Handlers]:
    """Return the name of the app at *place*, and its handlers."""
    source, _, name = place.rpartition(":")
    is_file = source.endswith(".py") or "/" in source
    if not (_is_dotted(name) and (is_file or _is_dotted(source))):
        raise ConfigurationError(
            f"--app {place}: is not a module or a file and a name in it,"
            " like shop.billing:handlers or shop/billing.py:handlers"
        )
    handlers: object = _load(Path(source)) if is_file else _import(source, name)
    for part in name.split("."):
        if not hasattr(handlers, part):
            raise ConfigurationError(f"--app {place}: there is no {name!r} in {source}")
        handlers = getattr(handlers, part)
    if not isinstance(handlers, Handlers):
        raise ConfigurationError(f"--app {place}: is not `Handlers`, but {type(handlers).__name__}")
    if not list(handlers):
        raise ConfigurationError(f"--app {place}: has no handlers")
    return handlers.name or _name_app(place, source, is_file=is_file), handlers


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _make_importable(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)


def _name_app(place: str, source: str, *, is_file: bool) -> str:
    """Return the name of an app that has none of its own: its module's."""
    if is_file:
        # The path differs from one checkout to the next, and another folder may have a file with the same name.
        raise ConfigurationError(
            f"--app {place}: the app of a file needs a name, for its queue:"
            f" {source} should say Handlers({Path(source).stem!r})"
        )
    try:
        return check_app(source)
    except WrongHandler as error:
        raise ConfigurationError(f"--app {place}: {error}") from error


def _import(module: str, name: str) -> ModuleType:
    """Import *module* by its dotted name."""
    first = module.partition(".")[0]
    if first in PACKAGES:
        raise ConfigurationError(
            f"--app {module}:{name}: the module {first!r} is signal-broker's own;"
            f" name the file instead: --app {_file_of(module)}:{name}"
        )
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            raise ConfigurationError(f"--app {module}: there is no module {error.name!r}") from error
        raise _broken(module, error) from error
    except (Exception, SystemExit) as error:
        raise _broken(module, error) from error


def _file_of(module: str) -> str:
    """Return the path at which *module* is in a project."""
    path = Path(*module.split("."))
    return str(path / "__init__.py" if path.is_dir() else path.with_suffix(".py"))


def _load(path: Path) -> ModuleType:
    """Load the file at *path*, once, as a module of a package that stands for its folder and has a name of its own."""
    real = path.resolve()
    if not real.is_file():
        raise ConfigurationError(f"--app {path}: there is no file {real}")
    package = ModuleType(f"{real.parent.name}-{sha256(os.fsencode(real.parent)).hexdigest()[:8]}")
    package.__path__ = [str(real.parent)]
    name = f"{package.__name__}.{real.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, real)
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"--app {path}: is not a Python file: its name does not end with .py")
    _make_importable(str(real.parent))
    module = module_from_spec(spec)
    sys.modules.setdefault(package.__name__, package)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _broken(str(path), error) from error
    return module


def _broken(source: str, error: BaseException) -> ConfigurationError:
    """Return the error for *error*, raised while *source* was imported, with the user's line."""
    if isinstance(error, WrongHandler):
        return ConfigurationError(f"--app {source}: {error}{_line(error)}")
    what = f"{type(error).__name__}: {error.msg if isinstance(error, SyntaxError) else error}"
    first = (error.name or "").partition(".")[0] if isinstance(error, ImportError) else ""
    ours = f"; {first!r} is signal-broker's own here" if first in PACKAGES else ""
    return ConfigurationError(f"--app {source}: cannot be imported: {' '.join(what.split())}{ours}{_line(error)}")


def _line(error: BaseException) -> str:
    """Return where *error* was raised: the last line of the user's, if there is one."""
    lines = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename is not None:
        lines.append((error.filename, error.lineno))
    theirs = [(file, line) for file, line in lines if not file.startswith(_LIBRARIES)]
    return f" ({theirs[-1][0]}, line {theirs[-1][1]})" if theirs else ""
