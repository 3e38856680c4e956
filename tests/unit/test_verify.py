"""``signal-broker verify`` accepts what the reference implementation and the product sign, and nothing else."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner
from standardwebhooks import Webhook

from broker.secrets import make_key_pair, make_secret
from deploy.cli.main import main
from workers.webhooks.signing import signature_headers

BODY = '{"id": 34, "payload": {"n": 1.50}}'
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqrTwjU"


def verify(*arguments, body=BODY):
    done = CliRunner().invoke(main, ["verify", *arguments], input=body)
    return done.exit_code, done.output


def options(headers):
    return [f"--{name}={headers[f'webhook-{name}']}" for name in ("id", "timestamp", "signature")]


def signed(*secrets, at=None, body=BODY):
    moment = at or datetime.now(UTC)
    return signature_headers(secrets or (SECRET,), message_id="34-7", timestamp=moment, body=body.encode())


def test_what_the_reference_signs_is_valid():
    now = datetime.now(UTC)
    signature = Webhook(SECRET).sign("msg_1", now, BODY)
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}
    code, shown = verify("--secret", SECRET, *options(headers))
    assert (code, shown.splitlines()[:2]) == (0, ["valid  yes", "id     msg_1"])


def test_one_of_several_signatures_and_one_of_several_secrets_suffice():
    private, public = make_key_pair()
    headers = signed(make_secret(), private, SECRET)
    for secret in (SECRET, public):
        assert verify("--secret", secret, *options(headers))[0] == 0
    assert verify("--secret", make_secret(), "--secret", SECRET, *options(headers), "--json")[0] == 0
    _, other = make_key_pair()
    assert verify("--secret", other, *options(headers))[0] == 1


@pytest.mark.parametrize("body", [BODY + "\n", BODY.replace("1.50", "1.5"), ""])
def test_another_body_is_not_valid(body):
    code, shown = verify("--secret", SECRET, *options(signed()), body=body)
    assert (code, "byte for byte" in shown) == (1, True)


@pytest.mark.parametrize(
    "write",
    [
        lambda headers: "POST /hook HTTP/1.1\r\n" + "".join(f"{name}: {text}\r\n" for name, text in headers.items()),
        lambda headers: "".join(f"> {name.title()}:   {text}\n" for name, text in headers.items()),
        json.dumps,
    ],
    ids=["request", "curl", "json"],
)
def test_headers_come_from_a_file_and_the_body_from_another(tmp_path, write):
    (tmp_path / "headers").write_text(write(signed()))
    (tmp_path / "body").write_text(BODY)
    files = ("--headers", str(tmp_path / "headers"), str(tmp_path / "body"))
    assert verify("--secret", SECRET, *files)[0] == 0


def test_an_old_webhook_is_refused_if_that_is_asked_for():
    old = options(signed(at=datetime.now(UTC) - timedelta(minutes=10)))
    assert verify("--secret", SECRET, *old)[0] == 0
    code, shown = verify("--secret", SECRET, *old, "--tolerance", "5m")
    assert (code, "old: a receiver refuses that" in shown) == (1, True)
    ahead = options(signed(at=datetime.now(UTC) + timedelta(minutes=10)))
    assert "ahead" in verify("--secret", SECRET, *ahead, "--tolerance", "5m")[1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--secret", SECRET), "no webhook-id, no webhook-timestamp, no webhook-signature"),
        (("--secret", "secret", *options(signed())), "a webhook secret is 'whsec_'"),
        (("--secret", "whpk_x", *options(signed())), "a public key is 'whpk_'"),
        (("--secret", SECRET, "--id=a", "--timestamp=soon", "--signature=v1,x"), "not seconds since 1970"),
        (("--secret", SECRET, "--id=a", "--timestamp=1", "--signature=v1,x"), "the signature is not of this body"),
    ],
)
def test_what_cannot_be_checked_is_told(arguments, told):
    code, shown = verify(*arguments)
    assert code != 0
    assert told in shown
    assert "Traceback" not in shown
