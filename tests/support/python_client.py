"""The built Python client in an environment that has what it depends on, and nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

SOURCE = Path(__file__).parents[2] / "clients" / "python"
README = (SOURCE / "README.md").read_text()
SNIPPETS = dict(re.findall(r"```python (\S+)\n(.*?)```", README, re.DOTALL))
"""The programs in the README, by their names."""
IMPORTABLE = {"PYTHONPATH": str(SOURCE / "src")}
"""The environment of a Python that imports the client from its source."""
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
"""A program that builds the project in its directory as a wheel in another one."""


def required(requirements: list[str], found: dict[str, list[str]] | None = None) -> dict[str, list[str]]:
    """Return the files of all distributions that *requirements* come to here, by name."""
    found = {} if found is None else found
    for text in requirements:
        requirement = Requirement(text)
        name = requirement.name.lower()
        if name in found or (requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})):
            continue
        there = distribution(name)
        found[name] = [str(file) for file in there.files or []]
        required(there.requires or [], found)
    return found


def install(directory: Path, *requirements: str) -> tuple[Path, int]:
    """Build the client, install it in an environment in *directory*, and return its Python and its packages' number.

    What it depends on, and *requirements* besides, are borrowed from this environment.
    """
    source, environment = directory / "source", directory / "environment"
    subprocess.run(["cp", "-rL", SOURCE, source], check=True)
    subprocess.run([sys.executable, "-c", BUILD, directory], cwd=source, check=True, capture_output=True, timeout=60)
    (wheel,) = directory.glob("*.whl")
    venv.create(environment, symlinks=True)
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-index", "--no-deps", "--no-compile", wheel], check=True, timeout=60)
    (packages,) = environment.glob("lib/python3*/site-packages")
    (metadata,) = packages.glob("signal_broker_client-*.dist-info/METADATA")
    wanted = [line.partition(": ")[2] for line in metadata.read_text().splitlines() if line.startswith("Requires-Dist")]
    borrowed = required([*wanted, *requirements])
    here = Path(sysconfig.get_path("purelib"))
    for name in {Path(file).parts[0] for files in borrowed.values() for file in files} - {"..", "__pycache__"}:
        (packages / name).symlink_to(here / name)
    return python, len(borrowed) + 1


def run(python: Path, *arguments: object, cwd: Path, **environment: str) -> str:
    """Run *python* to its end, without this tree's modules; return what it printed if it succeeds."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | environment
    done = subprocess.run(
        [python, *arguments], cwd=cwd, env=variables, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
