"""The pages of the documentation's site: those of the repository, laid out as there, and those generated from code."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[2]
WRITTEN = (
    "README.md",
    "docs/*.md",
    "docs/decisions/*.md",
    "deploy/runbook.md",
    "deploy/chart/README.md",
    "clients/python/README.md",
    "clients/typescript/README.md",
    ".github/CONTRIBUTING.md",
    ".github/SECURITY.md",
)
"""The pages that people write, as patterns below the repository."""
_LINK = re.compile(r"\[(?P<text>[^\]]+)\]\((?P<target>[^)#\s:]+)(?P<fragment>#[^)\s]*)?\)")


@dataclass(frozen=True)
class Source:
    """Where files of the repository can be read: they are no pages of the site, and pages link to them.

    Args:
        url: ``https://host/owner/repository``; empty: nowhere, and links to files become their names.
        version: The tag or commit that the site describes.
    """

    url: str = ""
    version: str = "main"

    def link(self, text: str, path: PurePosixPath, *, is_directory: bool) -> str:
        """Return the link to a file or directory."""
        if not self.url:
            return text
        return f"[{text}]({self.url}/{'tree' if is_directory else 'blob'}/{self.version}/{path})"


def stage(directory: Path, generated: Mapping[str, str], source: Source) -> None:
    """Write every page into *directory*; those *generated* are Markdown by their paths below it."""
    for path in written():
        _write(directory / path, link_files((ROOT / path).read_text("utf-8"), path, source))
    for page in ("index.md", "decisions.md"):
        shutil.copy(ROOT / "docs" / "site" / page, directory / page)
    for picture in pictures():
        (directory / picture).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / picture, directory / picture)
    for name, text in generated.items():
        _write(directory / name, text)


def _write(page: Path, text: str) -> None:
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text, "utf-8")


def written() -> list[PurePosixPath]:
    """Return the paths of the pages that people write, below the repository."""
    return _found(*WRITTEN)


def pictures() -> list[PurePosixPath]:
    """Return the paths of the pictures that pages show, below the repository."""
    return _found("docs/pictures/*.svg")


def _found(*patterns: str) -> list[PurePosixPath]:
    found = (path for pattern in patterns for path in sorted(ROOT.glob(pattern)))
    return [PurePosixPath(path.relative_to(ROOT).as_posix()) for path in found]


def link_files(text: str, page: PurePosixPath, source: Source) -> str:
    """Return *text*, which is that of *page*, with its links to files that are no pages turned into links to *source*.

    Raises:
        FileNotFoundError: There is no such file.
    """
    there = {*written(), *pictures()}

    def replaced(link: re.Match[str]) -> str:
        path = PurePosixPath((ROOT / page.parent / link["target"]).resolve().relative_to(ROOT).as_posix())
        if path in there:
            return link[0]
        if not (ROOT / path).exists():
            raise FileNotFoundError(f"{page} links to {link['target']}, which does not exist")
        return source.link(link["text"], path, is_directory=(ROOT / path).is_dir())

    return _LINK.sub(replaced, text)
