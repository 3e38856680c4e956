"""Webhook secrets and the key ring."""

from __future__ import annotations

import base64
import stat
import threading

import pytest

from broker.errors import ConfigurationError, SecretUnreadable
from broker.secrets import (
    SecretBox,
    decode_private_key,
    decode_secret,
    load_or_make_key,
    make_key,
    make_key_pair,
    make_secret,
)


def test_a_made_secret_holds_32_bytes_and_is_never_the_same():
    first, second = make_secret(), make_secret()
    assert first.startswith("whsec_")
    assert len(decode_secret(first)) == 32
    assert first != second


@pytest.mark.parametrize("size", [24, 64])
def test_a_secret_of_24_to_64_bytes_is_read(size):
    assert decode_secret("whsec_" + base64.b64encode(b"k" * size).decode()) == b"k" * size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "whsec_",
        base64.b64encode(b"k" * 32).decode(),
        "whsec_" + base64.b64encode(b"k" * 23).decode(),
        "whsec_" + base64.b64encode(b"k" * 65).decode(),
        "whsec_" + base64.b64encode(b"k" * 32).decode()[:-1],
        "whsec_" + "*" * 44,
        "whsec_" + base64.b64encode(b"k" * 32).decode().replace("a2", "a2\n", 1),
        "whsec_" + "ü" * 44,
    ],
)
def test_anything_else_is_not_a_secret(text):
    with pytest.raises(SecretUnreadable, match="24 to 64 bytes"):
        decode_secret(text)


def test_the_complaint_about_a_secret_does_not_repeat_it():
    with pytest.raises(SecretUnreadable) as caught:
        decode_secret("whsec_aGFsZi1zZWNyZXQ=")
    assert "aGFsZi1zZWNyZXQ" not in str(caught.value)


def test_a_sealed_text_is_unreadable_but_opens():
    box = SecretBox([make_key()])
    sealed = box.seal("whsec_ü")
    assert b"whsec" not in sealed
    assert box.open(sealed) == "whsec_ü"


def test_after_a_rotation_the_new_key_seals_and_the_old_one_still_opens():
    old, new = make_key(), make_key()
    sealed_before = SecretBox([old]).seal("before")
    rotated = SecretBox([new, old])
    assert rotated.open(sealed_before) == "before"
    assert SecretBox([new]).open(rotated.seal("after")) == "after"


def test_without_the_key_that_sealed_it_a_text_is_unreadable():
    sealed = SecretBox([make_key()]).seal("text")
    with pytest.raises(SecretUnreadable, match="SECRET_KEYS"):
        SecretBox([make_key()]).open(sealed)


def test_of_several_texts_those_that_open_will_do_and_one_has_to():
    box, other = SecretBox([make_key()]), SecretBox([make_key()])
    sealed = [other.seal("lost"), box.seal("one"), box.seal("two")]
    assert box.open_some(sealed) == ["one", "two"]
    assert box.open_some([]) == []
    assert (box.opens(sealed[1]), box.opens(sealed[0])) == (True, False)
    with pytest.raises(SecretUnreadable, match="SECRET_KEYS"):
        box.open_some(sealed[:1])


def test_an_altered_text_is_unreadable():
    box = SecretBox([make_key()])
    sealed = bytearray(box.seal("text"))
    sealed[20] ^= 1
    with pytest.raises(SecretUnreadable):
        box.open(bytes(sealed))


@pytest.mark.parametrize("keys", [[], ["short"], [make_key(), "ü" * 44], ["A" * 43 + "!"]])
def test_a_ring_without_usable_keys_is_a_wrong_setting(keys):
    with pytest.raises(ConfigurationError, match="SIGNAL_BROKER_SECRET_KEYS"):
        SecretBox(keys)


def test_a_key_file_is_made_once_and_only_its_owner_may_read_it(tmp_path):
    path = tmp_path / "data" / "secret.key"
    key = load_or_make_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_make_key(path) == key
    assert SecretBox([key]).open(SecretBox([key]).seal("text")) == "text"
    assert [file.name for file in path.parent.iterdir()] == ["secret.key"]


def test_processes_that_start_together_agree_on_the_key(tmp_path):
    """Were the loser to keep its own key, what it seals could not be opened after a restart."""
    for round_ in range(20):
        path, keys, together = tmp_path / str(round_), [], threading.Barrier(8)

        def start(path=path, keys=keys, together=together):
            together.wait()
            keys.append(load_or_make_key(path))

        threads = [threading.Thread(target=start) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert keys == [path.read_text().strip()] * 8


def test_the_public_half_of_a_key_pair_belongs_to_the_private_one():
    private, public = make_key_pair()
    key = decode_private_key(private).public_key().public_bytes_raw()
    assert private.startswith("whsk_")
    assert public == "whpk_" + base64.b64encode(key).decode()


def test_a_private_key_with_anything_but_base64_is_refused():
    private, _ = make_key_pair()
    with pytest.raises(SecretUnreadable, match="32 bytes in base64"):
        decode_private_key(f"{private[:10]}*{private[10:]}")
