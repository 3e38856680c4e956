"""The keys of callbacks: only those that the product made are known, for a day, and say whose permission they are."""

from datetime import UTC, datetime, timedelta

import pytest

from broker.callbacks import KEY_LIMIT, PATH, VALID_FOR, Callbacks, Receiver
from broker.secrets import SecretBox, make_key, make_secret

OURS, OTHERS = make_key(), make_key()
RECEIVER = Receiver.at("https://example.com/hook", "broker.example.com", subscription_id=7)
BOX = SecretBox([OURS])


def key_of(url):
    return url.partition("?key=")[2]


def now():
    return datetime.now(UTC)


def test_a_key_tells_every_process_with_the_key_ring_whose_permission_it_is():
    url = Callbacks(BOX, "https://signals.example/broker").url_for(RECEIVER)

    assert url.startswith(f"https://signals.example/broker{PATH}?key=")
    assert key_of(url).replace("-", "").replace("_", "").isalnum()
    assert len(key_of(url)) <= KEY_LIMIT
    assert Callbacks(SecretBox([OTHERS, OURS]), "").read(key_of(url), now=now()) == RECEIVER


def test_without_a_public_url_there_is_no_callback():
    assert Callbacks(BOX, "").url_for(RECEIVER) is None


def test_a_key_expires():
    callbacks = Callbacks(BOX, "https://signals.example")
    key = key_of(callbacks.url_for(RECEIVER))

    assert callbacks.read(key, now=now() + VALID_FOR - timedelta(minutes=1)) == RECEIVER
    assert callbacks.read(key, now=now() + VALID_FOR + timedelta(minutes=1)) is None


@pytest.mark.parametrize(
    "key",
    [
        "",
        "x",
        "é" * 100,
        "\ud800",
        "7",
        key_of(Callbacks(SecretBox([OTHERS]), "https://a").url_for(RECEIVER)),
        key_of(Callbacks(BOX, "https://a").url_for(RECEIVER))[:-2],
        BOX.seal(make_secret()).decode(),
        BOX.seal(f"x webhook permission 7 {RECEIVER.digest}").decode(),
    ],
)
def test_what_is_no_key_is_not_read(key):
    assert Callbacks(BOX, "https://a").read(key, now=now()) is None


@pytest.mark.parametrize(
    "other",
    [
        Receiver.at("https://example.com/hooks", "broker.example.com", subscription_id=7),
        Receiver.at("https://example.com/hook", "other.example.com", subscription_id=7),
        Receiver.at("https://example.com/hook", "broker.example.com", subscription_id=8),
    ],
)
def test_a_permission_is_for_one_url_origin_and_subscription(other):
    assert other != RECEIVER


def test_origins_are_the_same_in_any_letter_case():
    assert Receiver.at("https://example.com/hook", "Broker.Example.com", subscription_id=7) == RECEIVER
