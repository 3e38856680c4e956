"""Where the tests' Prometheus comes from."""

from __future__ import annotations

import pytest

from tests.support import prometheus


@pytest.fixture
def machine(monkeypatch):
    """A machine with some programs, where packages are installed if a list for them is given."""

    def make(*there, installed=None):
        found = set(there)

        def install(package, *, is_there):
            assert not is_there()
            installed.append(package)
            found.update(prometheus.PROGRAMS)

        monkeypatch.setattr(prometheus.shutil, "which", lambda name: f"/usr/bin/{name}" if name in found else None)
        monkeypatch.setattr(prometheus, "can_install", lambda: installed is not None)
        monkeypatch.setattr(prometheus, "install", install)

    return make


def test_what_is_there_is_taken(machine):
    machine("prometheus", "promtool", installed=(packages := []))
    prometheus.provide_prometheus()
    assert packages == []


@pytest.mark.parametrize("there", [(), ("prometheus",)])
def test_if_one_of_them_is_missing_debians_package_is_installed(machine, there):
    machine(*there, installed=(packages := []))
    prometheus.provide_prometheus()
    assert packages == ["prometheus"]


def test_where_it_cannot_be_installed_the_error_says_what_is_needed(machine):
    machine("prometheus")
    with pytest.raises(RuntimeError, match=r"programs of Prometheus on PATH: prometheus, promtool"):
        prometheus.provide_prometheus()
