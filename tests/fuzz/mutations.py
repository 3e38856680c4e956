"""Inputs without a guide: seeds that are cut, repeated, spliced and changed, as libFuzzer changes them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

_PIECES = [
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"\xc2\x85",
    b"\r\n",
    b"{{",
    b"}}",
    b"[",
    b"]",
    b'{"',
    b'"',
    b"\\",
]
_PIECES += [
    b"1e999",
    b"-0",
    b"9" * 25,
    b"%00",
    b"%",
    b"..",
    b";",
    b"null",
    b"true",
    b"\\ud800",
    b"anyOf",
    b"[*]",
    b"#",
    b"*",
]


def inputs(seeds: Sequence[bytes], rng: random.Random) -> Iterator[bytes]:
    """Yield the *seeds*, and then without end inputs that grow out of them."""
    yield from seeds
    while True:
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 6)):
            _change(data, seeds, rng)
        yield bytes(data)


def _change(data: bytearray, seeds: Sequence[bytes], rng: random.Random) -> None:
    start = rng.randint(0, len(data))
    end = min(len(data), start + rng.randint(0, 8))
    match rng.randrange(5):
        case 0:
            data[start:end] = rng.randbytes(rng.randint(0, 4))
        case 1:
            del data[start:end]
        case 2:
            data[start:start] = rng.choice(_PIECES)
        case 3:
            data[start:] = rng.choice(seeds)[start:]
        case _:
            data[start:start] = data[start:end] * rng.randint(1, 40)
