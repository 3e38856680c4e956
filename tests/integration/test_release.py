"""What `make release` builds, but for the image: it is complete, says what is in it, and is the same each time."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
EXCLUDED = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", ".venv", ".git", "node_modules")
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
DATA = re.compile(r"\.(sql|html|css|js)$|/py\.typed$|/vendor/")


def release(directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it in a copy of the repository."""
    command = [directory / ".ci" / "release"]
    variables = os.environ | {"IMAGE": "no", "SOURCE_DATE_EPOCH": "1800000000"} | environment
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=390)


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A copy of the repository, as it is now, with an environment that is not its own."""
    directory = tmp_path_factory.mktemp("release") / "repository"
    shutil.copytree(ROOT, directory, ignore=EXCLUDED)
    (directory / ".venv").symlink_to(sys.prefix)
    return directory


@pytest.fixture(scope="module")
def built(repository) -> Path:
    """The directory with what was built."""
    done = release(repository)
    assert done.returncode == 0, done.stderr
    return repository / "build" / "release"


def only(directory: Path, pattern: str) -> Path:
    (path,) = directory.glob(pattern)
    return path


def test_wheel_and_sdist_have_every_file_of_the_product(built):
    names = {
        path.relative_to(ROOT).as_posix()
        for package in ("broker", "gateway", "workers", "deploy/cli")
        for path in (ROOT / package).rglob("*")
        if path.suffix == ".py" or DATA.search(path.relative_to(ROOT).as_posix())
    }
    names = {name for name in names if "__pycache__" not in name}
    with zipfile.ZipFile(only(built, "signal_broker-*.whl")) as wheel:
        assert names <= set(wheel.namelist())
    with tarfile.open(only(built, "signal_broker-*.tar.gz")) as sdist:
        assert names <= {name.partition("/")[2] for name in sdist.getnames()}


def test_the_bill_of_materials_lists_what_the_image_installs(built):
    document = json.loads(only(built, "*.cdx.json").read_text())
    locked = re.findall(r"^([a-z0-9.-]+)==(\S+)", (ROOT / "deploy" / "requirements.lock").read_text(), re.MULTILINE)
    listed = {(component["name"], component["version"]) for component in document["components"]}
    assert {name for name, _ in listed} == {name for name, _ in locked}
    assert ("aiohttp", dict(locked)["aiohttp"]) in listed
    assert document["metadata"]["component"]["name"] == "signal-broker"


def test_the_site_describes_this_version(built):
    with tarfile.open(only(built, "signal-broker-site-*.tar.gz")) as site:
        names = {name.partition("/")[2] for name in site.getnames()}
        index = site.extractfile(f"signal-broker-site-{VERSION}/index.html").read().decode()
    assert {"README.html", "docs/delivery.html", "reference/routes.html"} <= names
    assert f"<title>signal-broker {VERSION}</title>" in index


def test_checksums_are_those_of_all_files(built):
    files = sorted(path for path in built.iterdir() if path.name != "SHA256SUMS")
    lines = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)
    assert [path.name.replace(VERSION, "1") for path in files] == [
        "signal-broker-1.cdx.json",
        "signal-broker-client-1.tgz",
        "signal-broker-site-1.tar.gz",
        "signal_broker-1-py3-none-any.whl",
        "signal_broker-1.tar.gz",
        "signal_broker_client-1-py3-none-any.whl",
        "signal_broker_client-1.tar.gz",
    ]
    assert (built / "SHA256SUMS").read_text() == lines


def test_what_the_pages_say_to_install_is_what_was_built(built):
    pages = ("docs/commands.md", "clients/python/README.md", "clients/typescript/README.md")
    texts = {page: (ROOT / page).read_text() for page in pages}
    named = {page: set(re.findall(r"build/(?:clients|release)/([\w*.-]+)", text)) for page, text in texts.items()}
    assert all(named.values()), named
    for pattern in set.union(*named.values()):
        assert only(built, pattern).suffix in {".whl", ".tgz"}


def test_the_same_commit_gives_the_same_bytes(built, repository):
    before = (built / "SHA256SUMS").read_text()
    for path in (repository / "broker").rglob("*.py"):
        path.touch()
    assert release(repository).returncode == 0
    assert (built / "SHA256SUMS").read_text() == before


def test_a_tag_of_another_version_is_refused(repository):
    done = release(repository, TAG="v9.9.9")
    assert done.returncode == 1
    assert re.match(r"the tag is v9.9.9, but the version in pyproject.toml is \d", done.stderr)
