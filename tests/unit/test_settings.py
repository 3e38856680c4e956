from __future__ import annotations

import os

import pytest
from pydantic import SecretStr

from broker.errors import ConfigurationError
from broker.settings import PREFIX, Settings, read_settings, unknown_variables


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)


def http_error_for(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    """Return the line that refuses *variables*."""
    for name, value in variables.items():
        monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(ConfigurationError) as refused:
        read_settings()
    return str(refused.value)


def test_without_any_variable_everything_has_a_default():
    settings = read_settings()
    assert (settings.http_port, settings.store_url, settings.transport_url) == (8080, "embedded:", "embedded:")
    assert settings.admin_token is None


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("HTTP_PORT", "99999", "HTTP_PORT: input should be less than or equal to 65535 (got '99999')"),
        (
            "HTTP_PORT",
            "http",
            "HTTP_PORT: input should be a valid integer, unable to parse string as an integer (got 'http')",
        ),
        ("LOG_FORMAT", "xml", "LOG_FORMAT: input should be 'auto', 'json' or 'console' (got 'xml')"),
        ("DRAIN_TIMEOUT_SECONDS", "0", "DRAIN_TIMEOUT_SECONDS: input should be greater than 0 (got '0')"),
        (
            "EGRESS_ALLOW",
            "10.0.0.0/8,300.0.0.0/8",
            "EGRESS_ALLOW: '300.0.0.0/8' does not appear to be an IPv4 or IPv6 network (got '10.0.0.0/8,300.0.0.0/8')",
        ),
        ("EGRESS_ALLOW", "10.0.0.1/8", "EGRESS_ALLOW: 10.0.0.1/8 has host bits set (got '10.0.0.1/8')"),
        ("TRANSPORT_URL", "http://rabbit", "TRANSPORT_URL: must be `embedded:`, amqp://... or amqps://..."),
        ("STORE_URL", "mysql://root@db/x", "STORE_URL: must be `embedded:` or postgresql://..."),
        ("ADMIN_TOKEN", "hunter2hunter2", "ADMIN_TOKEN: must have at least 16 characters, and has 14"),
    ],
)
def test_a_wrong_value_is_refused_with_one_line_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, line: str
):
    assert http_error_for(monkeypatch, **{name: value}) == PREFIX + line


def test_an_unknown_option_of_the_transport_is_refused_with_the_known_ones(monkeypatch: pytest.MonkeyPatch):
    line = http_error_for(monkeypatch, TRANSPORT_URL="amqps://rabbit?ca_file=/x")
    assert line.startswith("SIGNAL_BROKER_TRANSPORT_URL: has an unknown option; allowed are auth, cafile, capath, ")


def test_every_wrong_value_is_named_in_the_same_line(monkeypatch: pytest.MonkeyPatch):
    line = http_error_for(monkeypatch, HTTP_PORT="-1", LOG_LEVEL="loud")
    assert "SIGNAL_BROKER_HTTP_PORT: " in line
    assert "SIGNAL_BROKER_LOG_LEVEL: " in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ADMIN_TOKEN", "hunter2"),
        ("EGRESS_PROXY", "https://me:hunter2@proxy:3128"),
        ("EGRESS_PROXY", "me:hunter2@proxy:3128"),
        ("EGRESS_PROXY", "http://me:hunter2@proxy:99999"),
        ("EGRESS_PROXY", "http://me:hunter2/@proxy"),
        ("EGRESS_PROXY", "http://me:hunter2@"),
        ("EGRESS_PROXY", "http://me:hunter2@one,two:x"),
        ("EGRESS_PROXY", "http://me%3Ahunter2:x@proxy"),
        ("EGRESS_PROXY", "http://proxy/hunter2"),
        ("TRANSPORT_URL", "ftp://me:hunter2@rabbit"),
        ("TRANSPORT_URL", "amqp://me:hunter2/@rabbit"),
        ("TRANSPORT_URL", "amqp://me:hunter2#@rabbit"),
        ("TRANSPORT_URL", "amqp://me:hunter2@rabbit:99999"),
        ("TRANSPORT_URL", "amqp://me:hunter2@"),
        ("TRANSPORT_URL", "amqps://me:hunter2@one:5671,two:x/vhost"),
        ("STORE_URL", "me:hunter2@db"),
        ("STORE_URL", "postgresql://me:hunter2/@db/name"),
        ("STORE_URL", "postgresql://me:hunter2@db:port/name"),
    ],
)
def test_no_secret_is_repeated_in_a_refusal(monkeypatch: pytest.MonkeyPatch, name: str, value: str):
    line = http_error_for(monkeypatch, **{name: value})
    assert line.startswith(f"SIGNAL_BROKER_{name}: must ")
    assert "hunter" not in line


def test_whatever_may_hold_a_secret_is_never_repeated(monkeypatch: pytest.MonkeyPatch):
    """A new setting of that kind has to be named among the confidential ones."""
    for field, info in Settings.model_fields.items():
        if SecretStr.__name__ in repr(info.annotation) or field.endswith("_url"):
            with pytest.raises(ConfigurationError) as refused:
                read_settings(**{field: object()})
            assert "object" not in str(refused.value), field


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRANSPORT_URL", "amqp://me:p%2Fw@one:5672,two,[::1]:5673/vhost"),
        ("TRANSPORT_URL", "amqp://rabbit"),
        ("TRANSPORT_URL", "amqps://one,two?no_verify_ssl=1&heartbeat=5"),
        ("TRANSPORT_URL", "embedded:"),
        ("STORE_URL", "postgresql://me:p%2Fw@db.internal:5432/signals?sslmode=require"),
        ("STORE_URL", "postgresql://one:5432,two:5432/signals"),
        ("STORE_URL", "postgresql://postgres:@/postgres?host=/run/postgresql"),
    ],
)
def test_a_url_that_names_its_hosts_is_taken(monkeypatch: pytest.MonkeyPatch, name: str, value: str):
    monkeypatch.setenv(PREFIX + name, value)
    assert getattr(read_settings(), name.lower()) == value


@pytest.mark.parametrize("url", ["http://proxy", "http://proxy:3128/", "http://me:p%2Fw@[::1]:3128", "http://me@proxy"])
def test_a_proxy_is_taken_with_and_without_credentials(monkeypatch: pytest.MonkeyPatch, url: str):
    monkeypatch.setenv(PREFIX + "EGRESS_PROXY", url)
    assert read_settings().egress_proxy == SecretStr(url)


def test_an_unknown_variable_is_told_with_the_nearest_setting():
    names = ["SIGNAL_BROKER_HTPP_PORT", "SIGNAL_BROKER_WHATEVER", "SIGNAL_BROKER_HTTP_PORT", "HTTP_PROT"]
    assert unknown_variables(names) == [
        "SIGNAL_BROKER_HTPP_PORT is not a setting; did you mean SIGNAL_BROKER_HTTP_PORT?",
        "SIGNAL_BROKER_WHATEVER is not a setting",
    ]


def test_what_says_which_product_a_command_is_about_is_known():
    assert unknown_variables(["SIGNAL_BROKER_URL", "SIGNAL_BROKER_TOKEN", "SIGNAL_BROKER_PROFILE"]) == []
    assert unknown_variables(["SIGNAL_BROKER_PROFIL"]) == [
        "SIGNAL_BROKER_PROFIL is not a setting; did you mean SIGNAL_BROKER_PROFILE?"
    ]


def test_the_case_of_a_variable_does_not_matter(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("signal_broker_http_port", "9090")
    assert read_settings().http_port == 9090
    assert unknown_variables(["signal_broker_http_port"]) == []


def test_origins_are_written_as_browsers_write_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(PREFIX + "CORS_ORIGINS", " HTTPS://App.example:443,http://[::1]:3000 ,http://localhost:80,")
    assert read_settings().cors_origins == ("https://app.example", "http://[::1]:3000", "http://localhost")


@pytest.mark.parametrize(
    "origin", ["app.example", "https://app.example/", "null", "https://*.example", "https://ä.example", "https://"]
)
def test_what_no_browser_sends_is_no_origin(monkeypatch: pytest.MonkeyPatch, origin: str):
    line = http_error_for(monkeypatch, CORS_ORIGINS=f"https://a,{origin}")
    assert line.startswith(f"SIGNAL_BROKER_CORS_ORIGINS: '{origin}' is not an origin, like https://app.example")


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("https://signals.example", "https://signals.example"),
        ("https://signals.example/", "https://signals.example"),
        ("http://[::1]:8080/broker/", "http://[::1]:8080/broker"),
        ("", ""),
    ],
)
def test_the_public_url_has_no_slash_at_its_end(monkeypatch: pytest.MonkeyPatch, given: str, url: str):
    monkeypatch.setenv(PREFIX + "PUBLIC_URL", given)
    assert read_settings().public_url == url


@pytest.mark.parametrize(
    "url",
    [
        "signals.example",
        "ftp://signals.example",
        "https://",
        "https://me:hunter2@x",
        "https://x:99999",
        "https://x/?a",
        "https://x/#a",
        "https://x y",
    ],
)
def test_what_callers_cannot_call_is_no_public_url(monkeypatch: pytest.MonkeyPatch, url: str):
    line = http_error_for(monkeypatch, PUBLIC_URL=url)
    assert line == "SIGNAL_BROKER_PUBLIC_URL: must be https://host or http://host, perhaps with a port and a path"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"OIDC_ISSUER": "login.example", "OIDC_AUDIENCE": "a"}, "SIGNAL_BROKER_OIDC_ISSUER: must be https://..."),
        ({"OIDC_ISSUER": "https://a:b@c", "OIDC_AUDIENCE": "a"}, "SIGNAL_BROKER_OIDC_ISSUER: must be https://..."),
        ({"OIDC_ISSUER": "https://login.example"}, "SIGNAL_BROKER_OIDC_AUDIENCE: must be set with"),
        ({"OIDC_JWKS_URL": "file:///keys"}, "SIGNAL_BROKER_OIDC_JWKS_URL: must be https://..."),
        ({"OIDC_PERMISSIONS_CLAIM": ""}, "SIGNAL_BROKER_OIDC_PERMISSIONS_CLAIM: string should have"),
    ],
)
def test_an_issuer_needs_a_url_and_an_audience(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], said: str):
    assert http_error_for(monkeypatch, **settings).startswith(said)
