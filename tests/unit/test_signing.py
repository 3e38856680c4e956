"""Signatures, judged by the Standard Webhooks project's own verifier."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from broker.errors import SecretUnreadable
from broker.secrets import make_secret
from workers.signing import signature_headers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = '{"name":"Prüfung","payload":null}'.encode()


def sign(*secrets, body=BODY, age=timedelta()):
    return signature_headers(secrets, message_id="7-3", timestamp=datetime.now(UTC) - age, body=body)


def test_the_signature_is_the_one_of_the_specification():
    """The example of the Standard Webhooks reference libraries."""
    headers = signature_headers(
        [SECRET],
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=datetime.fromtimestamp(1614265330.9, UTC),
        body=b'{"test": 2432232314}',
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_the_reference_verifier_accepts_what_we_sign():
    assert Webhook(SECRET).verify(BODY, sign(SECRET)) == {"name": "Prüfung", "payload": None}


def test_during_a_rotation_the_old_and_the_new_secret_both_verify():
    old, new = make_secret(), make_secret()
    headers = sign(new, old)
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (old, new):
        Webhook(secret).verify(BODY, headers)


@pytest.mark.parametrize("header", ["webhook-id", "webhook-timestamp"])
def test_an_altered_header_is_detected(header):
    headers = sign(SECRET)
    altered = {"webhook-id": "7-4", "webhook-timestamp": str(int(headers["webhook-timestamp"]) - 60)}[header]
    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        Webhook(SECRET).verify(BODY, headers | {header: altered})


def test_an_altered_body_is_detected():
    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        Webhook(SECRET).verify(BODY.replace(b"null", b"true"), sign(SECRET))


def test_another_secret_does_not_verify():
    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        Webhook(make_secret()).verify(BODY, sign(SECRET))


def test_a_replayed_request_is_recognised_by_its_age():
    with pytest.raises(WebhookVerificationError, match="too old"):
        Webhook(SECRET).verify(BODY, sign(SECRET, age=timedelta(minutes=6)))


def test_a_text_that_is_no_secret_does_not_sign():
    with pytest.raises(SecretUnreadable):
        sign(SECRET, "whsec_short")
