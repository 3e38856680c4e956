"""Profiles are stored for their owner alone, and read as they were stored."""

from __future__ import annotations

import stat

import click
import pytest

from broker.errors import ConfigurationError
from deploy.cli.main import main
from deploy.cli.products import Product, find_remote
from deploy.cli.profiles import Profile, profiles_path, read_profiles, store_profile

A, B = Profile("https://a.example", "sb_a"), Profile("https://b.example/path", 'sb_"\\')


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("URL", "TOKEN", "PROFILE"):
        monkeypatch.delenv(f"SIGNAL_BROKER_{name}", raising=False)
    return tmp_path


def found(*arguments):
    """Return the product that a command with *arguments* before its name is about."""
    with main.make_context("signal-broker", [*arguments, "ledger"]):
        return find_remote()


def test_what_is_stored_is_read_and_the_others_stay():
    store_profile("default", A)
    path = store_profile("b-2_C", B)
    assert read_profiles() == {"default": A, "b-2_C": B}
    assert (path, stat.S_IMODE(path.stat().st_mode)) == (profiles_path(), 0o600)
    store_profile("default", B)
    assert read_profiles() == {"default": B, "b-2_C": B}
    assert list(path.parent.iterdir()) == [path], "no draft is left"


@pytest.mark.parametrize("name", ["", "a b", "a.b", "[", "x" * 65])
def test_a_name_that_a_table_cannot_have_is_refused(name):
    with pytest.raises(ConfigurationError, match="letters, digits"):
        store_profile(name, A)


@pytest.mark.parametrize("text", ["[profiles", "profiles = 1", "[profiles.a]\nurl = 'x'", "[profiles]\na = 1"])
def test_a_file_that_is_something_else_is_told_by_name(text):
    store_profile("default", A)
    profiles_path().write_text(text)
    with pytest.raises(ConfigurationError, match=r"config\.toml"):
        read_profiles()


def test_what_is_said_nearest_to_the_command_counts(monkeypatch):
    assert found() is None
    store_profile("default", A)
    store_profile("b", B)
    assert found() == Product(A.url, A.token)
    monkeypatch.setenv("SIGNAL_BROKER_PROFILE", "b")
    assert found() == Product(B.url, B.token)
    monkeypatch.setenv("SIGNAL_BROKER_TOKEN", "sb_variable")
    assert found() == Product(B.url, "sb_variable")
    monkeypatch.setenv("SIGNAL_BROKER_URL", "https://variable.example/")
    assert found() == Product("https://variable.example", "sb_variable")
    assert found("--profile", "default") == Product(A.url, A.token)
    assert found("--url", "https://option.example") == Product("https://option.example", "sb_variable")
    assert found("--url", "https://option.example", "--token", "sb_o") == Product("https://option.example", "sb_o")


def test_a_url_takes_the_token_of_the_profile_that_has_it_and_of_no_other():
    store_profile("default", A)
    assert found("--url", A.url + "/") == Product(A.url, A.token)
    assert found("--url", "https://other.example") == Product("https://other.example", None)


def test_a_token_from_a_file_loses_its_line_break_and_what_is_none_is_refused():
    url = ("--url", "https://option.example")
    assert found(*url, "--token", "sb_x\n") == Product("https://option.example", "sb_x")
    for token in ("sb_a b", "sb_a\nb", "sb_ä"):
        with pytest.raises(click.UsageError, match="the token is not one"):
            found(*url, "--token", token)
