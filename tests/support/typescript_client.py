"""The built TypeScript client, and clean projects that have it installed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support import node

SOURCE = Path(__file__).parents[2] / "clients" / "typescript"
SNIPPETS = dict(re.findall(r"```ts (\S+)\n(.*?)```", (SOURCE / "README.md").read_text(), re.DOTALL))
"""The programs in the README, by their names."""
PRELUDE = "import * as sb from '@signal-broker/client'\nconst [url, token, name] = process.argv.slice(2)\n"
PRELUDE += "const broker = new sb.Client(url, token, { patience: 20, ...JSON.parse(process.argv[5] ?? '{}') })\n"
"""The beginning of a program of tests; its arguments are a URL, a token, a name, and options of the client."""
_NODE = """
declare const process: {
  env: Record<string, string | undefined>
  exitCode?: number
  on(name: string, listener: () => void): void
}
"""
"""What the programs need of @types/node."""


def tools(directory: Path) -> Path:
    """Return a copy of the client in *directory*, with the packages that build it."""
    installed = node.install(SOURCE)
    shutil.copytree(SOURCE, directory, ignore=shutil.ignore_patterns("node_modules", "dist", "api.ts"))
    (directory / "node_modules").symlink_to(installed / "node_modules")
    return directory


def build(directory: Path, openapi: Mapping[str, Any]) -> Path:
    """Build the client in *directory*, with the types of *openapi*, and return its package."""
    source = tools(directory / "typescript")
    document, types = directory / "openapi.json", source / "src" / "api.ts"
    document.write_text(json.dumps(openapi))
    # A member with a default may be left out of a request.
    run_tool(source, "openapi-typescript", document, "-o", types, "--default-non-nullable=false")
    run_tool(source, "typescript", binary="tsc")
    _drop_scripts(source / "package.json")
    name = node.npm("pack", "--silent", "--ignore-scripts", "--pack-destination", str(directory), cwd=source).strip()
    return directory / name


def _drop_scripts(package: Path) -> None:
    """Remove what npm would run at each installation: it refuses the sources, of which the package has none."""
    described = json.loads(package.read_text())
    del described["scripts"]
    package.write_text(json.dumps(described, indent=2) + "\n")


def run_tool(source: Path, package: str, *arguments: object, binary: str | None = None, cwd: Path | None = None) -> str:
    """Run a program of a package that *source* has, to its end; return what it printed if it succeeds."""
    root = source / "node_modules" / package
    programs = json.loads((root / "package.json").read_text())["bin"]
    program = programs if isinstance(programs, str) else programs[binary or package.rpartition("/")[2]]
    return run(root / program, *arguments, cwd=cwd or source)


def compile_programs(source: Path, directory: Path, programs: Mapping[str, str]) -> None:
    """Compile TypeScript *programs* in *directory*, strictly, beside their sources, with the tools of *source*."""
    for name, text in programs.items():
        (directory / name).write_text(text)
    (directory / "node.d.ts").write_text(_NODE)
    options = ["--strict", "--module", "nodenext", "--target", "es2022", "--lib", "es2022,dom", "node.d.ts"]
    run_tool(source, "typescript", *options, *programs, binary="tsc", cwd=directory)


def project(directory: Path, package: Path) -> Path:
    """Return a new project that has *package* installed and nothing else."""
    directory.mkdir(parents=True)
    (directory / "package.json").write_text('{"private": true, "type": "module"}')
    node.npm("install", "--offline", "--ignore-scripts", "--no-audit", "--no-fund", str(package), cwd=directory)
    return directory


def run(*arguments: object, cwd: Path, **environment: str) -> str:
    """Run Node to its end; return what it printed if it succeeds."""
    done = subprocess.run(
        [node.NODE, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
