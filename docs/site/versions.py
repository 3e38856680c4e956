"""Builds a site of all versions: ``python -m docs.site.versions build/versions``.

    0.1.0/  0.2.0/  ...   the site of each tag (v0.1.0, v0.2.0), as its own `make docs` builds it
    index.html            leads to the newest one, and names all
    versions.json         their names, the newest first

A version whose folder is there is not built again, so a site that is published grows by what is new.
"""

from __future__ import annotations

import argparse
import html
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_TAG = re.compile(r"v(\d+)\.(\d+)\.(\d+)")
_MAKES_OWN = frozenset({"MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "PYTHONPATH", "VIRTUAL_ENV"})
"""Variables that the `make` of another version must not inherit."""
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url={newest}/">
<title>signal-broker</title>
<h1>signal-broker</h1>
<ul>
{links}
</ul>
</html>
"""


def build_versions(repository: Path, directory: Path) -> Sequence[str]:
    """Build what is missing of the site in *directory*; return the versions, the newest first.

    Raises:
        LookupError: There is no tag of a version.
        CalledProcessError: A version's site cannot be built.
    """
    tags = _tags(repository)
    if not tags:
        raise LookupError("there is no tag of a version, such as v0.2.0")
    for tag in tags:
        target = directory / tag.removeprefix("v")
        if not target.exists():
            with _checkout(repository, tag) as checkout:
                environment = {name: value for name, value in os.environ.items() if name not in _MAKES_OWN}
                _run("make", "-C", checkout, "docs", env=environment)
                shutil.copytree(checkout / "build" / "site", target)
    versions = [tag.removeprefix("v") for tag in tags]
    links = "\n".join(f'<li><a href="{one}/">{one}</a></li>' for one in map(html.escape, versions))
    (directory / "index.html").write_text(_PAGE.format(newest=html.escape(versions[0]), links=links))
    (directory / "versions.json").write_text(json.dumps(versions) + "\n")
    (directory / ".nojekyll").touch()
    return versions


def _tags(repository: Path) -> Sequence[str]:
    """Return the tags of versions, the newest first."""
    listed = _run("git", "-C", repository, "tag", "--list", "v*", stdout=subprocess.PIPE).stdout.split()
    found = [match for match in map(_TAG.fullmatch, listed) if match]
    return [match.string for match in sorted(found, key=lambda match: tuple(map(int, match.groups())), reverse=True)]


@contextmanager
def _checkout(repository: Path, tag: str) -> Iterator[Path]:
    """Yield a working tree of *tag*, which ends with the block."""
    with tempfile.TemporaryDirectory(prefix="signal-broker-site-") as name:
        checkout = Path(name) / tag
        worktree = ("git", "-C", repository, "worktree")
        _run(*worktree, "add", "--quiet", "--detach", checkout, tag)
        try:
            yield checkout
        finally:
            _run(*worktree, "remove", "--force", checkout)


def _run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), text=True, check=True, **options)


def main() -> None:
    """Build the site where the command line says."""
    parser = argparse.ArgumentParser(description="Build a site of all versions that have a tag.")
    parser.add_argument("directory", type=Path)
    given = parser.parse_args()
    try:
        versions = build_versions(Path(__file__).parents[2], given.directory)
    except (LookupError, subprocess.CalledProcessError) as error:
        parser.exit(1, f"Error: {error}\n")
    print(f"{given.directory}/index.html: {', '.join(versions)}")


if __name__ == "__main__":
    main()
