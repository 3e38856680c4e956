"""Where the tests' browser comes from."""

from __future__ import annotations

import pytest

from tests.support import chromium


@pytest.fixture
def machine(monkeypatch):
    """A machine with the browsers in a set, where packages are installed if a list for them is given."""

    def make(*there, installed=None):
        found = set(there)

        def install(package, *, is_there):
            assert not is_there()
            installed.append(package)
            found.add(package)

        monkeypatch.setattr(chromium.shutil, "which", lambda name: f"/usr/bin/{name}" if name in found else None)
        monkeypatch.setattr(chromium, "can_install", lambda: installed is not None)
        monkeypatch.setattr(chromium, "install", install)

    return make


@pytest.mark.parametrize(
    ("there", "path"),
    [(["google-chrome", "chromium"], "/usr/bin/chromium"), (["google-chrome"], "/usr/bin/google-chrome")],
)
def test_a_browser_that_is_there_is_taken(machine, there, path):
    machine(*there, installed=None)
    assert chromium.provide_chromium() == path


def test_without_one_debians_package_is_installed(machine):
    machine(installed=(packages := []))
    assert (chromium.provide_chromium(), packages) == ("/usr/bin/chromium", ["chromium"])


def test_where_it_cannot_be_installed_the_error_says_what_is_needed(machine):
    machine()
    with pytest.raises(RuntimeError, match=r"a browser on PATH: one of chromium, chromium-browser, google-chrome"):
        chromium.provide_chromium()
