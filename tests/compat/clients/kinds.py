"""Kinds of clients: each is built or generated in a folder, compiled, and throws a signal by a program of its own."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.compat.clients import openapi_generator
from tests.compat.clients.making import PROGRAMS, Kind, Throw, document
from tests.support import python_client, typescript_client

_TSC = ("--strict", "--module", "nodenext", "--target", "es2022", "--lib", "es2022,dom,dom.iterable")


def our_python(directory: Path, _openapi: Mapping[str, Any]) -> Throw:
    """Build the wheel, and install it in an environment of its own."""
    python, _ = python_client.install(directory)
    return _python(python, _copy("our_python.py", directory))


def our_typescript(directory: Path, openapi: Mapping[str, Any]) -> Throw:
    """Pack the package, and install it in a project of its own."""
    package = typescript_client.build(directory, openapi)
    project = typescript_client.project(directory / "project", package)
    return _node(_copy("our_typescript.mjs", project))


def openapi_python_client(directory: Path, openapi: Mapping[str, Any]) -> Throw:
    """Generate a client by openapi-python-client, and import all of it."""
    (directory / "config.yml").write_text("post_hooks: []")
    generate = ["-m", "openapi_python_client", "generate", "--fail-on-warning", "--meta", "none"]
    generate += ["--config", directory / "config.yml", "--path", document(directory, openapi)]
    generate += ["--output-path", directory / "generated"]
    python_client.run(Path(sys.executable), *generate, cwd=directory)
    python_client.run(Path(sys.executable), "-m", "compileall", "-q", directory / "generated", cwd=directory)
    return _python(Path(sys.executable), _copy("generated_python.py", directory))


def openapi_typescript(directory: Path, openapi: Mapping[str, Any]) -> Throw:
    """Generate types by openapi-typescript, for a program that calls `fetch`."""
    tools, project = _typescript_project(directory)
    types, options = project / "generated" / "api.ts", ["--default-non-nullable=false"]
    typescript_client.run_tool(tools, "openapi-typescript", document(directory, openapi), "-o", types, *options)
    return _compiled(tools, _copy("generated_types.ts", project))


def hey_api(directory: Path, openapi: Mapping[str, Any]) -> Throw:
    """Generate a client by @hey-api/openapi-ts."""
    tools, project = _typescript_project(directory)
    config = {"input": str(document(directory, openapi)), "output": {"path": str(project / "generated")}}
    config["output"] |= {"tsConfigPath": None, "importFileExtension": ".js"}
    (directory / "config.json").write_text(json.dumps(config))
    typescript_client.run_tool(tools, "@hey-api/openapi-ts", "-f", directory / "config.json")
    return _compiled(tools, _copy("generated_typescript.ts", project))


KINDS: Mapping[str, Kind] = {
    "signal-broker-client": our_python,
    "@signal-broker/client": our_typescript,
    "openapi-python-client": openapi_python_client,
    "openapi-typescript": openapi_typescript,
    "@hey-api/openapi-ts": hey_api,
    "openapi-generator: go": openapi_generator.go,
    "openapi-generator: java": openapi_generator.java,
}


def _copy(program: str, directory: Path) -> Path:
    return Path(shutil.copy(PROGRAMS / program, directory / program))


def _typescript_project(directory: Path) -> tuple[Path, Path]:
    project = directory / "project"
    (project / "generated").mkdir(parents=True)
    (project / "package.json").write_text('{"private": true, "type": "module"}')
    return typescript_client.tools(directory / "tools"), project


def _compiled(tools: Path, program: Path) -> Throw:
    typescript_client.run_tool(tools, "typescript", *_TSC, program, binary="tsc")
    return _node(program.with_suffix(".js"))


def _node(program: Path) -> Throw:
    return lambda *arguments: int(typescript_client.run(program, *arguments, cwd=program.parent))


def _python(python: Path, program: Path) -> Throw:
    return lambda *arguments: int(python_client.run(python, program, *arguments, cwd=program.parent))
