"""A wrong parameter in the URL of a server is refused by its name, and nothing secret is repeated."""

import pytest

from broker.errors import ConfigurationError
from broker.server_urls import store_hosts
from broker.settings import PREFIX, read_settings
from tests.support.certificates import Authority

STORE = "postgresql://me:hunter2@db/signals?"
SESSIONS = "any, primary, standby, prefer-standby, read-write, read-only"
AMQP = "amqp://me:hunter2@rabbit/vhost?"
AMQPS = "amqps://me:hunter2@rabbit/vhost?"


@pytest.fixture
def files(tmp_path):
    """A directory with `authority.pem`, `client.pem` (a certificate with its key), and `text`, which is neither."""
    Authority(tmp_path).serving("client")
    (tmp_path / "text").write_text("no certificate")
    return tmp_path


def refuse(monkeypatch, name, url):
    monkeypatch.setenv(PREFIX + name, url)
    with pytest.raises(ConfigurationError) as refused:
        read_settings()
    assert "hunter" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    ("name", "url", "sentence"),
    [
        (
            "STORE_URL",
            STORE + "target_session_attrs=bogus",
            f"`target_session_attrs` is 'bogus', and must be one of {SESSIONS}",
        ),
        (
            "STORE_URL",
            STORE + "sslmode=",
            "`sslmode` is '', and must be one of disable, allow, prefer, require, verify-ca, verify-full",
        ),
        ("STORE_URL", STORE + "sslnegotiation=x", "`sslnegotiation` is 'x', and must be one of postgres, direct"),
        (
            "STORE_URL",
            STORE + "ssl_min_protocol_version=TLSv9",
            "`ssl_min_protocol_version` is 'TLSv9', and must be one of TLSv1, TLSv1.1, TLSv1.2, TLSv1.3",
        ),
        ("TRANSPORT_URL", AMQP + "auth=x", "`auth` is 'x', and must be one of plain, external"),
        ("TRANSPORT_URL", AMQPS + "no_verify_ssl=yes", "`no_verify_ssl` is 'yes', and must be one of 0, 1"),
        *(
            (
                "TRANSPORT_URL",
                f"{AMQP}heartbeat={wrong}",
                f"`heartbeat` is '{wrong}', and must be a whole number of seconds, at most 65535",
            )
            for wrong in ("soon", "-1", "1.5", "65536", "")
        ),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_with_those_that_are(monkeypatch, name, url, sentence):
    assert refuse(monkeypatch, name, url) == f"{PREFIX}{name}: {sentence}"


@pytest.mark.parametrize(
    ("name", "url", "parameter"),
    [
        ("STORE_URL", STORE + "sslmode=verify-full&", "sslrootcert"),
        ("STORE_URL", STORE + "sslmode=verify-ca&", "sslcrl"),
        ("STORE_URL", STORE + "sslmode=require&", "sslcert"),
        ("STORE_URL", STORE, "sslcert"),
        ("TRANSPORT_URL", AMQPS, "cafile"),
        ("TRANSPORT_URL", AMQPS, "certfile"),
    ],
)
def test_a_file_that_is_missing_or_no_certificate_is_refused(monkeypatch, files, name, url, parameter):
    missing = refuse(monkeypatch, name, f"{url}{parameter}={files}/gone.pem")
    assert missing == f"{PREFIX}{name}: `{parameter}`: '{files}/gone.pem' cannot be read: No such file or directory"
    wrong = refuse(monkeypatch, name, f"{url}{parameter}={files}/text")
    assert wrong.startswith(f"{PREFIX}{name}: `{parameter}`: '{files}/text' must be ")


def test_a_missing_directory_of_authorities_is_refused(monkeypatch, files):
    line = refuse(monkeypatch, "TRANSPORT_URL", f"{AMQPS}capath={files}/gone")
    assert line.endswith(f"`capath`: '{files}/gone' cannot be read: No such file or directory")


def test_a_key_that_does_not_belong_to_its_certificate_is_refused(monkeypatch, files):
    line = refuse(monkeypatch, "STORE_URL", f"{STORE}sslmode=require&sslcert={files}/client.pem&sslkey={files}/gone")
    assert f"`sslcert`: '{files}/client.pem' with `sslkey`: '{files}/gone' cannot be read" in line


@pytest.mark.parametrize("rest", ["foo=1", "wrod@db/signals", "sslmod=require", "foo"])
def test_an_unknown_option_of_the_store_is_refused_with_those_that_are_allowed(monkeypatch, rest):
    line = refuse(monkeypatch, "STORE_URL", f"postgresql://me:hunter2@db/signals?{rest}")
    assert line.startswith(f"{PREFIX}STORE_URL: has an unknown option; allowed are database, dbname, gsslib, host, ")
    assert line.endswith(
        "target_session_attrs, user, and settings of a session, such as statement_timeout or search_path"
    )
    assert rest not in line


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (
            "connect_timeout=3",
            "`connect_timeout` is not supported: SIGNAL_BROKER_STORE_TIMEOUT_SECONDS says how long connecting may take",
        ),
        ("port=x", "`port` is 'x', and must be a number from 1 to 65535, or one for each host"),
        ("port=1,70000", "`port` is '1,70000', and must be a number from 1 to 65535, or one for each host"),
        ("port=1,2", "`port` must be one number for all hosts, or one for each"),
        ("keepalives=1", "`keepalives` is an option of libpq that is not supported here: remove it"),
        ("channel_binding=require", "`channel_binding` is an option of libpq that is not supported here: remove it"),
    ],
)
def test_an_option_of_libpq_that_has_no_effect_here_is_refused_by_its_name(monkeypatch, option, sentence):
    assert refuse(monkeypatch, "STORE_URL", STORE + option) == f"{PREFIX}STORE_URL: {sentence}"


def test_what_a_connection_takes_is_taken(monkeypatch, files):
    for name, url in (
        ("STORE_URL", f"{STORE}sslmode=verify-full&sslrootcert={files}/authority.pem&sslcert={files}/client.pem"),
        ("STORE_URL", f"{STORE}sslmode=require&sslrootcert={files}/gone.pem"),  # not read unless it verifies
        ("STORE_URL", f"{STORE}sslmode=disable&sslcert={files}/gone.pem"),
        ("STORE_URL", f"postgresql:///signals?host=/run/postgresql&sslcert={files}/gone.pem"),
        ("TRANSPORT_URL", f"{AMQPS}cafile={files}/authority.pem&certfile={files}/client.pem&auth=EXTERNAL"),
        ("STORE_URL", f"{STORE}application_name=me&options=-c%20work_mem%3D8MB&target_session_attrs=primary"),
        ("STORE_URL", f"{STORE}statement_timeout=5s&search_path=mine&TimeZone=UTC&role=app&plpgsql.extra_errors=all"),
        ("STORE_URL", "postgresql:///?host=db&port=5432&dbname=signals&user=me&passfile=/x&service=signals"),
        ("TRANSPORT_URL", f"{AMQPS}capath={files}&heartbeat=0"),
    ):
        monkeypatch.setenv(PREFIX + name, url)
        assert getattr(read_settings(), name.lower()) == url


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("postgresql://me:hunter2@db/signals", "db:5432"),
        ("postgresql://me:hunter2@one,two:6000/signals?sslmode=require", "one:5432, two:6000"),
        ("postgresql://me:hunter2@[fd00::1]/signals?port=6000", "[fd00::1]:6000"),
        ("postgresql://me:hunter2@/signals?host=/run/postgresql", "/run/postgresql"),
        ("postgresql:///signals?host=one,two&port=6000,7000", "one:6000, two:7000"),
        ("postgresql:///signals", "localhost:5432"),
    ],
)
def test_where_a_store_is_is_told_without_its_password(url, where, monkeypatch):
    monkeypatch.delenv("PGHOST", raising=False)
    monkeypatch.delenv("PGPORT", raising=False)
    assert store_hosts(url) == where
