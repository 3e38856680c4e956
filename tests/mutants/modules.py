"""Which modules are pure: those that do not reach outside, neither themselves nor through a module they import."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("broker", "gateway", "workers")
OUTSIDE = {
    "aio_pika",
    "aiohttp",
    "aiormq",
    "alembic",
    "asyncpg",
    "prometheus_client",
    "pydantic_settings",
    "socket",
    "sqlalchemy",
    "structlog",
    "subprocess",
}
"""Libraries with which a module reaches a network, a store, a process, the environment or a log."""


def name_of(path: Path) -> str:
    """Return the name under which the module at *path*, seen from the project's root, is imported."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def find_pure_modules(root: Path) -> dict[str, Path]:
    """Return the files, seen from *root*, of the modules that do not reach outside, by their names."""
    paths = (path.relative_to(root) for package in PACKAGES for path in sorted((root / package).rglob("*.py")))
    modules = {name_of(path): path for path in paths}
    imports = {name: set(_imports((root / path).read_text(), modules)) for name, path in modules.items()}
    impure = {name for name, imported in imports.items() if any(i.partition(".")[0] in OUTSIDE for i in imported)}
    while reaching := {name for name, imported in imports.items() if imported & impure} - impure:
        impure |= reaching
    return {name: path for name, path in modules.items() if name not in impure}


def _imports(source: str, modules: dict[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in modules else str(node.module)
