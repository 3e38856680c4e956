"""Clients in Go and Java by openapi-generator, which is fetched for this from PyPI."""

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
_JRE = "default-jre-headless"
_SOURCES_ALONE = "apis,models,supportingFiles,apiDocs=false,apiTests=false,modelDocs=false,modelTests=false"
_GO_MODULE = """module broker

go 1.19

require gopkg.in/validator.v2 v2.0.0

replace gopkg.in/validator.v2 => ./validator
"""
_GO_PACKAGES = Path("/usr/share/gocode/src/gopkg.in")
_JAVA_PACKAGES = Path("/usr/share/java")
_JAVA_NAMES = "invokerPackage=broker,apiPackage=broker.api,modelPackage=broker.model"
_GENERATED = """package javax.annotation;

public @interface Generated {
    String[] value();
    String comments() default "";
}
"""
"""An annotation of Java EE that says who wrote the code, and that Java no longer brings along."""


def go(directory: Path, openapi: Mapping[str, Any]) -> Throw:
    """Generate a client in Go, and compile all of it."""
    compiler, validator = _found("go", "golang-go"), _GO_PACKAGES / "validator.v2"
    if not validator.exists():
        raise Skipped("there is no gopkg.in/validator.v2 (Debian's golang-gopkg-validator.v2-dev)")
    generated = _generate("go", directory, openapi, "withGoMod=false,packageName=broker")
    (generated / "go.mod").write_text(_GO_MODULE)
    shutil.copytree(validator, generated / "validator", ignore=shutil.ignore_patterns("*_test.go"))
    (generated / "validator" / "go.mod").write_text("module gopkg.in/validator.v2\n\ngo 1.19\n")
    (generated / "throw").mkdir()
    shutil.copy(PROGRAMS / "generated_go.go", generated / "throw" / "main.go")
    _run(compiler, "build", "-o", directory / "program", "./throw", cwd=generated)
    return lambda *arguments: int(_run(directory / "program", *arguments, cwd=directory))


def java(directory: Path, openapi: Mapping[str, Any]) -> Throw:
    """Generate a client in Java for Apache's HTTP client, and compile it; Jackson comes with the generator's jar.

    Of the generator's libraries, this one makes valid Java of unions that have lists among them.
    """
    compiler = _found("javac", "default-jdk-headless")
    packages = [_JAVA_PACKAGES / f"{name}.jar" for name in ("httpclient5", "httpcore5", "httpcore5-h2", "slf4j-api")]
    if not all(package.exists() for package in packages):
        raise Skipped("there is no Apache HttpClient 5 (Debian's libhttpclient5-java)")
    options = f"{_JAVA_NAMES},openApiNullable=false,hideGenerationTimestamp=true"
    generated = _generate("java", directory, openapi, options, "--library", "apache-httpclient")
    annotation = generated / "src" / "main" / "java" / "javax" / "annotation" / "Generated.java"
    annotation.parent.mkdir(parents=True)
    annotation.write_text(_GENERATED)
    shutil.copy(PROGRAMS / "GeneratedJava.java", generated / "src" / "main" / "java")
    sources = directory / "sources"
    sources.write_text("\n".join(map(str, (generated / "src" / "main").rglob("*.java"))))
    compiled = directory / "compiled"
    path = ":".join(map(str, (compiled, _jar(), *packages)))
    _run(compiler, "-nowarn", "-d", compiled, "-cp", path, f"@{sources}", cwd=directory)
    return lambda *arguments: int(_run(_found("java", _JRE), "-cp", path, "GeneratedJava", *arguments, cwd=directory))


def _generate(language: str, directory: Path, openapi: Mapping[str, Any], options: str, *more: str) -> Path:
    """Return where the sources are that the generator makes of the document."""
    generated = directory / "generated"
    generate = ["generate", "-g", language, "-i", document(directory, openapi), "-o", generated, *more]
    generate += ["--global-property", _SOURCES_ALONE, "--additional-properties", options]
    _run(_found("java", _JRE), "-jar", _jar(), *generate, cwd=directory)
    return generated


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
