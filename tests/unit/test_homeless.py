"""Without HOME, and with a user ID that is not in the password database, as containers have it."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from broker.errors import ConfigurationError
from broker.server_urls import check_store_parameters
from broker.settings import read_settings
from deploy.cli.profiles import Profile, read_profiles, store_profile

_RUN = """
import pwd
def find_no_entry(user_id):
    raise KeyError(user_id)
pwd.getpwuid = find_no_entry
from deploy.cli.main import main
main()
"""


@pytest.fixture(autouse=True)
def _homeless(monkeypatch):
    def find_no_entry(user_id):
        raise KeyError(user_id)

    for name in ("HOME", "XDG_CONFIG_HOME", "PGUSER", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", find_no_entry)


@pytest.mark.parametrize("command", [["--version"], ["gateway", "--help"], ["topology"]])
def test_commands_start(command):
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *command], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_there_are_no_profiles_and_none_can_be_stored():
    assert read_profiles() == {}
    with pytest.raises(ConfigurationError, match="set XDG_CONFIG_HOME"):
        store_profile("default", Profile(url="http://127.0.0.1:8080", token="t"))


def test_a_data_directory_in_a_home_is_refused(monkeypatch):
    monkeypatch.setenv("SIGNAL_BROKER_DATA_DIR", "~/data")
    with pytest.raises(ConfigurationError, match=r"SIGNAL_BROKER_DATA_DIR.*~/data: there is no such home directory"):
        read_settings()


def test_a_store_url_has_to_name_its_user(monkeypatch):
    with pytest.raises(ValueError, match="put a user into the URL"):
        check_store_parameters("postgresql://127.0.0.1/signals")
    for url in ("postgresql://a@127.0.0.1/signals", "postgresql://127.0.0.1/signals?user=a"):
        check_store_parameters(url)
    monkeypatch.setenv("PGUSER", "a")
    check_store_parameters("postgresql://127.0.0.1/signals")


def test_a_certificate_without_its_key_is_looked_for_nowhere_else(tmp_path):
    (tmp_path / "certificate.pem").write_text("nothing")
    with pytest.raises(ValueError, match="sslcert"):
        check_store_parameters(f"postgresql://a@b/c?sslcert={tmp_path}/certificate.pem")
