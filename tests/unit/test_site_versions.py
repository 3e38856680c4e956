"""The site of all versions has a folder for each tag, as that version itself builds it."""

from __future__ import annotations

import json
import subprocess

import pytest

from docs.site.versions import build_versions

MAKEFILE = "docs:\n\t@mkdir -p build/site\n\t@echo '<title>{version}</title>' > build/site/index.html\n"


@pytest.fixture
def git(tmp_path):
    """Return what calls git in a repository."""

    def git(*arguments):
        named = ("-C", tmp_path / "repository", "-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", *named, *arguments], check=True)

    return git


@pytest.fixture
def repository(tmp_path, git):
    """Return what makes a repository with these tags, each of a version that can build its own site."""
    path = tmp_path / "repository"

    def make(*tags):
        path.mkdir()
        git("init", "--quiet")
        for tag in ("", *tags):
            (path / "Makefile").write_text(MAKEFILE.format(version=tag))
            git("add", "Makefile")
            git("commit", "--quiet", "--message", f"Version {tag}")
            if tag:
                git("tag", tag)
        return path

    return make


def test_each_tag_has_a_folder_and_the_newest_is_first(repository, tmp_path):
    path, site = repository("v0.2.0", "v0.10.0", "v0.9.1", "vague", "v1.0.0-rc1"), tmp_path / "site"
    assert build_versions(path, site) == ["0.10.0", "0.9.1", "0.2.0"]
    assert (site / "0.9.1" / "index.html").read_text() == "<title>v0.9.1</title>\n"
    assert json.loads((site / "versions.json").read_text()) == ["0.10.0", "0.9.1", "0.2.0"]
    index = (site / "index.html").read_text()
    assert 'content="0; url=0.10.0/"' in index
    assert '<a href="0.2.0/">0.2.0</a>' in index
    listed = subprocess.run(["git", "-C", path, "worktree", "list"], capture_output=True, text=True, check=True)
    assert len(listed.stdout.splitlines()) == 1, "no working tree is left"


def test_a_version_that_is_there_is_not_built_again(repository, tmp_path):
    site = tmp_path / "site"
    (site / "0.1.0").mkdir(parents=True)
    assert build_versions(repository("v0.1.0", "v0.2.0"), site) == ["0.2.0", "0.1.0"]
    assert not list((site / "0.1.0").iterdir())


def test_without_a_tag_there_is_nothing_to_build(repository, tmp_path):
    with pytest.raises(LookupError, match="no tag of a version"):
        build_versions(repository(), tmp_path / "site")


def test_a_version_that_cannot_be_built_ends_it(repository, git, tmp_path):
    path = repository("v0.1.0")
    (path / "Makefile").write_text("docs:\n\t@false\n")
    git("commit", "--quiet", "--all", "--message", "Break it")
    git("tag", "v0.2.0")
    with pytest.raises(subprocess.CalledProcessError):
        build_versions(path, tmp_path / "site")
