"""Builds the documentation's site: ``python -m docs.site.build build/site``.

It asks a product that it starts for its OpenAPI document. A link that leads nowhere, and whatever else Sphinx warns of,
is an error.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from docs.site.pages import Source, stage
from docs.site.reference import generate

_READY = re.compile(r"ready (?P<url>\S+)")
_PATIENCE = 60.0
"""How long (seconds) the product may take to start, and to stop."""


def build(directory: Path, openapi: Mapping[str, Any], source: Source) -> None:
    """Build the site in *directory*.

    Raises:
        CalledProcessError: A page is wrong; Sphinx has said how, on standard error.
    """
    with tempfile.TemporaryDirectory(prefix="signal-broker-site-") as name:
        pages = Path(name)
        stage(pages, generate(openapi), source)
        options = ("-b", "html", "-W", "--keep-going", "-q", "-j", "auto", "-d", str(pages / ".doctrees"))
        configuration = str(Path(__file__).parent)
        subprocess.run(
            [sys.executable, "-m", "sphinx", *options, "-c", configuration, str(pages), str(directory)], check=True
        )
    (directory / ".nojekyll").touch()


@contextmanager
def product() -> Iterator[str]:
    """Run the product on a data directory of its own, and yield its URL."""
    with tempfile.TemporaryDirectory(prefix="signal-broker-site-") as data:
        environment = os.environ | {"SIGNAL_BROKER_HTTP_PORT": "0", "SIGNAL_BROKER_DATA_DIR": data}
        command = [sys.executable, "-m", "deploy.cli.main", "run"]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield next(found["url"] for line in process.stdout or () if (found := _READY.search(line)))
            finally:
                process.terminate()
                process.wait(_PATIENCE)


def read_openapi() -> dict[str, Any]:
    """Return the OpenAPI document of a product that runs meanwhile."""
    with product() as url, urllib.request.urlopen(f"{url}/openapi.json", timeout=_PATIENCE) as answer:
        document: dict[str, Any] = json.load(answer)
    return document


def main() -> None:
    """Build the site where the command line says."""
    parser = argparse.ArgumentParser(description="Build the documentation's site.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--source-url", default="", help="where the repository can be read, for links to its files")
    parser.add_argument("--version", default="main", help="the tag or commit that those links lead to")
    given = parser.parse_args()
    build(given.directory, read_openapi(), Source(given.source_url, given.version))
    print(f"{given.directory}/index.html")


if __name__ == "__main__":
    main()
