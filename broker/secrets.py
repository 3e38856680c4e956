"""Secrets and keys that sign webhooks, as Standard Webhooks writes them, and the key ring that seals them at rest.

whsec_...   the secret of one subscription, which its receiver shares (``v1``)
whsk_...    the private half of the product's own key (``v1a``), which never leaves the store
whpk_...    its public half, which is published
"""

from __future__ import annotations

import base64
import os
import secrets
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.errors import ConfigurationError, SecretUnreadable

PREFIX = "whsec_"
PRIVATE_PREFIX = "whsk_"
PUBLIC_PREFIX = "whpk_"
_OPENED = 1000
"""How many secrets a box knows without opening them again: that takes longer than all else about an attempt."""


def make_secret() -> str:
    """Return a fresh webhook secret: ``whsec_`` and 32 random bytes in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def decode_secret(secret: str) -> bytes:
    """Return the bytes that a webhook secret signs with, 24 to 64 of them.

    Raises:
        SecretUnreadable: *secret* is no webhook secret. The message does not repeat it.
    """
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError:
        key = b""
    if not (secret.startswith(PREFIX) and 24 <= len(key) <= 64):
        raise SecretUnreadable(f"a webhook secret is {PREFIX!r} and 24 to 64 bytes in base64")
    return key


def make_key_pair() -> tuple[str, str]:
    """Return a fresh Ed25519 key pair: the private half (``whsk_...``) and the public one (``whpk_...``)."""
    key = Ed25519PrivateKey.generate()
    private, public = key.private_bytes_raw(), key.public_key().public_bytes_raw()
    return PRIVATE_PREFIX + base64.b64encode(private).decode(), PUBLIC_PREFIX + base64.b64encode(public).decode()


def decode_private_key(text: str) -> Ed25519PrivateKey:
    """Return the private key in *text*, which has the form of `make_key_pair`.

    Raises:
        SecretUnreadable: *text* is no private key. The message does not repeat it.
    """
    try:
        return Ed25519PrivateKey.from_private_bytes(base64.b64decode(text.removeprefix(PRIVATE_PREFIX), validate=True))
    except ValueError:
        raise SecretUnreadable(f"a private key is {PRIVATE_PREFIX!r} and 32 bytes in base64") from None


def make_key() -> str:
    """Return a fresh key for the ring."""
    return Fernet.generate_key().decode()


def load_or_make_key(path: Path) -> str:
    """Return the key in the file *path*; the first call creates the file, readable by its owner only.

    Of concurrent first calls, one makes the key and all return it.
    """
    try:
        return path.read_text("ascii").strip()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="ascii", dir=path.parent) as draft:  # created with mode 0600
        draft.write(make_key() + "\n")
        draft.flush()
        os.fsync(draft.fileno())
        try:
            # Unlike a rename, a link never replaces a key, which may have sealed secrets already.
            path.hardlink_to(draft.name)
        except FileExistsError:
            pass
        else:
            _sync_directory(path.parent)
    return path.read_text("ascii").strip()


class SecretBox:
    """Seals texts for the store with a ring of Fernet keys: the first key seals, any key opens.

    To rotate, put a new key in front; remove the old one once `signal-broker reseal` has sealed everything anew.

    Raises:
        ConfigurationError: There is no key, or one of them is not a Fernet key.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys:
            raise ConfigurationError("SIGNAL_BROKER_SECRET_KEYS: at least one key is needed to seal webhook secrets")
        try:
            self._ring = MultiFernet([Fernet(key) for key in keys])
            self._decrypt = lru_cache(maxsize=_OPENED)(self._ring.decrypt)  # of what signs, or goes to, each webhook
        except ValueError:
            raise ConfigurationError(
                "SIGNAL_BROKER_SECRET_KEYS: a key is 32 bytes in URL-safe base64 (44 characters)"
            ) from None

    def seal(self, text: str) -> bytes:
        """Return *text* encrypted with the first key."""
        return self._ring.encrypt(text.encode())

    def open(self, sealed: bytes) -> str:
        """Return the text in *sealed*.

        Raises:
            SecretUnreadable: It was sealed with a key that is not in the ring, or it was altered.
        """
        try:
            return self._decrypt(sealed).decode()
        except InvalidToken:
            raise SecretUnreadable(
                "no key in SIGNAL_BROKER_SECRET_KEYS opens the secret; was the key that sealed it removed?"
                " `signal-broker doctor` says which secrets need it"
            ) from None

    def opens(self, sealed: bytes) -> bool:
        """Return whether a key of the ring opens *sealed*."""
        try:
            self.open(sealed)
        except SecretUnreadable:
            return False
        return True

    def open_some(self, sealed: Sequence[bytes]) -> list[str]:
        """Return the texts in those of *sealed* that a key opens, each of which will do.

        Raises:
            SecretUnreadable: There are some, and no key opens any of them.
        """
        readable = [one for one in sealed if self.opens(one)]
        return [self.open(one) for one in readable or sealed]

    def reseal(self, sealed: bytes) -> bytes:
        """Return what is *sealed*, sealed with the first key.

        Raises:
            SecretUnreadable: As `open` does.
        """
        return self.seal(self.open(sealed))


def sealing_moment(sealed: bytes) -> datetime:
    """Return when *sealed* was sealed, to the second: a Fernet token says so in clear (Fernet spec, Token Format)."""
    return datetime.fromtimestamp(int.from_bytes(base64.urlsafe_b64decode(sealed)[1:9]), UTC)


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
