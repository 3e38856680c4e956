"""The groups of the benchmark: every module of this package that has a ``GROUP``."""

from __future__ import annotations

import pkgutil
from importlib import import_module

import tests.bench
from tests.bench.rows import Group


def find_groups() -> list[Group]:
    """Return all groups, by their names."""
    names = [module.name for module in pkgutil.iter_modules(tests.bench.__path__) if not module.ispkg]
    modules = [import_module(f"tests.bench.{name}") for name in names if name != "__main__"]
    groups = [module.GROUP for module in modules if isinstance(getattr(module, "GROUP", None), Group)]
    return sorted(groups, key=lambda group: group.name)
