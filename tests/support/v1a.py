"""A webhook with a signature `v1a`, and each way in which it can be wrong: what both clients are tried with."""

from __future__ import annotations

from typing import Any

_UNSIGNED = "has no signature by this secret or public key"
_SIGNATURE = "hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
_MALLEATED = "hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe4uSqIfPdj8uUcPkfU4/Y4udpXwVLPo3mNl8EM+m7TBEg=="
"""The same with the order of the group added to its second half, which RFC 8032, 5.1.7, refuses."""
_FOREIGN = "whpk_PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw="
"""The public key of the second test vector of RFC 8032, 7.1."""


def _signed(signature: str) -> dict[str, str]:
    return {"webhook-signature": signature}


V1A: dict[str, Any] = {
    # The signature of the specification's example of headers, and what the reference server signs for it in its tests.
    "publicKey": "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=",
    "body": '{"test": 2432232314}',
    "now": 1614265330,
    "headers": {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": f"v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4= v1a,{_SIGNATURE}",
    },
    "wrong": [
        {"why": "another body", "body": '{"test": 2432232315}', "told": _UNSIGNED},
        {"why": "another id", "headers": {"webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJel"}, "told": _UNSIGNED},
        {"why": "another time", "headers": {"webhook-timestamp": "1614265331"}, "told": _UNSIGNED},
        {"why": "another key", "keys": [_FOREIGN], "told": _UNSIGNED},
        {"why": "no key", "keys": [], "told": _UNSIGNED},
        {"why": "only a secret", "keys": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], "told": _UNSIGNED},
        {"why": "too old", "now": 1614265330 + 301, "told": "301 s ago"},
        {"why": "of the future", "now": 1614265330 - 301, "told": "301 s ahead"},
        {"why": "under v1", "headers": _signed(f"v1,{_SIGNATURE}"), "told": _UNSIGNED},
        {"why": "under no version", "headers": _signed(_SIGNATURE), "told": _UNSIGNED},
        {"why": "under a longer version", "headers": _signed(f"v1ab,{_SIGNATURE}"), "told": _UNSIGNED},
        {"why": "shorter", "headers": _signed(f"v1a,{_SIGNATURE[:84]}"), "told": _UNSIGNED},
        {"why": "longer", "headers": _signed(f"v1a,AAAA{_SIGNATURE}"), "told": _UNSIGNED},
        {"why": "empty", "headers": _signed("v1a,"), "told": _UNSIGNED},
        {"why": "no base64", "headers": _signed("v1a,\u00fc!"), "told": _UNSIGNED},
        {"why": "a bit changed", "headers": _signed(f"v1a,i{_SIGNATURE[1:]}"), "told": _UNSIGNED},
        {"why": "malleated", "headers": _signed(f"v1a,{_MALLEATED}"), "told": _UNSIGNED},
        {"why": "no signature", "headers": _signed(""), "told": "there is no header webhook-signature"},
    ],
}
