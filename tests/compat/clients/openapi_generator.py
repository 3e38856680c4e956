"""A client in Go by openapi-generator, which is fetched for this from PyPI."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.compat.clients.making import PROGRAMS, Skipped, Throw, document

_FETCHED = Path(__file__).parents[3] / "build" / "openapi-generator"
_PINNED = (
    "openapi-generator-cli==7.26.0 --hash=sha256:e6305fbbf91aa41b3b7fcd8bf2124880ab0bb9e32efad95b3dfe71f9313d856c\n"
)
_SOURCES_ALONE = "apis,models,supportingFiles,apiDocs=false,apiTests=false,modelDocs=false,modelTests=false"
_GO_MODULE = """module broker

go 1.19

require gopkg.in/validator.v2 v2.0.0

replace gopkg.in/validator.v2 => ./validator
"""


def go(directory: Path, openapi: Mapping[str, Any]) -> Throw:
    """Generate a client in Go, and compile all of it with the standard library alone.

    Its unions check patterns by a module that is not fetched: an empty one stands for it.
    """
    compiler = _found("go", "golang-go")
    generated = directory / "generated"
    generate = ["generate", "-g", "go", "-i", document(directory, openapi), "-o", generated]
    generate += ["--global-property", _SOURCES_ALONE, "--additional-properties", "withGoMod=false,packageName=broker"]
    _run(_found("java", "default-jre-headless"), "-jar", _jar(), *generate, cwd=directory)
    (generated / "go.mod").write_text(_GO_MODULE)
    (generated / "validator").mkdir()
    (generated / "validator" / "go.mod").write_text("module gopkg.in/validator.v2\n\ngo 1.19\n")
    (generated / "validator" / "validator.go").write_text(
        "package validator\n\nfunc Validate(any) error { return nil }\n"
    )
    (generated / "throw").mkdir()
    shutil.copy(PROGRAMS / "generated_go.go", generated / "throw" / "main.go")
    _run(compiler, "build", "-o", directory / "program", "./throw", cwd=generated)
    return lambda *arguments: int(_run(directory / "program", *arguments, cwd=directory))


def _jar() -> Path:
    """Return the generator's jar, which is fetched if it is not there."""
    jar = _FETCHED / "openapi_generator_cli" / "openapi-generator.jar"
    if jar.exists():
        return jar
    _FETCHED.mkdir(parents=True, exist_ok=True)
    (_FETCHED / "requirements.txt").write_text(_PINNED)
    fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    fetch += ["--require-hashes", "-r", str(_FETCHED / "requirements.txt"), "-d", str(_FETCHED)]
    done = subprocess.run(fetch, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise Skipped(f"openapi-generator-cli cannot be fetched from PyPI: {done.stderr.strip().splitlines()[-1]}")
    (wheel,) = _FETCHED.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extract("openapi_generator_cli/openapi-generator.jar", _FETCHED)
    return jar


def _found(program: str, package: str) -> Path:
    found = shutil.which(program)
    if found is None:
        raise Skipped(f"there is no {program} (Debian's {package})")
    return Path(found)


def _run(*command: object, cwd: Path) -> str:
    environment = os.environ | {"GOCACHE": str(cwd / "cache"), "GOFLAGS": "-mod=mod", "GOPROXY": "off"}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    return done.stdout
