"""What TLS adds to the bytes of an answer."""

from __future__ import annotations

import re
import ssl

_HEADER = 5
"""How many bytes each record begins with."""
_SHORT_TAG = re.compile(r"CCM_?8")


def least_added(encryption: ssl.SSLObject | None) -> int:
    """Return how many bytes TLS adds to what is sent, at the least, in a record: 0 without TLS.

    That is exact for the ciphers that are authenticated by themselves (GCM, ChaCha20, CCM), the only ones of TLS 1.3.
    """
    cipher = None if encryption is None else encryption.cipher()
    if cipher is None:
        return 0
    name, version, _ = cipher
    tag = 8 if _SHORT_TAG.search(name) else 16
    if version == "TLSv1.3":
        return _HEADER + 1 + tag  # the record's type is within it
    if "GCM" in name or "CCM" in name:
        return _HEADER + 8 + tag
    return _HEADER + tag
