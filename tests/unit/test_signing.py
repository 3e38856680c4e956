"""Signatures, judged by the Standard Webhooks project's own verifier."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from broker.errors import SecretUnreadable
from broker.secrets import decode_private_key, make_key_pair, make_secret
from workers.webhooks.signing import signature_headers

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


def test_a_private_key_signs_as_v1a_what_its_public_half_verifies():
    private, public = make_key_pair()
    headers = sign(private)
    version, signature = headers["webhook-signature"].split(",")
    assert version == "v1a"
    content = f"7-3.{headers['webhook-timestamp']}.".encode() + BODY
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_")))
    key.verify(base64.b64decode(signature), content)
    with pytest.raises(InvalidSignature):
        key.verify(base64.b64decode(signature), content + b" ")


def test_a_v1a_signature_is_the_one_of_rfc_8032():
    """The second test vector of RFC 8032, 7.1: the key and its public half."""
    seed = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    public = decode_private_key("whsk_" + base64.b64encode(seed).decode()).public_key().public_bytes_raw()
    assert public.hex() == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"


def test_a_verifier_of_v1_passes_over_v1a_signatures():
    private, _ = make_key_pair()
    Webhook(SECRET).verify(BODY, sign(private, SECRET))


@pytest.mark.parametrize("text", ["whsec_short", "whsk_short", "whsk_" + "A" * 43, "whpk_" + "A" * 43 + "=", ""])
def test_a_text_that_is_no_secret_does_not_sign(text):
    with pytest.raises(SecretUnreadable) as caught:
        sign(SECRET, text)
    assert "AAAA" not in str(caught.value)
