"""What a compressed body holds is read up to the limit, and no further."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest

from gateway.encodings import inflate
from gateway.http_errors import BadRequest, TooLarge

BODY = b'{"a": 1}' * 100
BARE = zlib.compress(BODY)[2:-4]


@pytest.mark.parametrize(
    ("encoding", "compressed"),
    [
        ("gzip", gzip.compress(BODY, mtime=0)),
        ("gzip", gzip.compress(BODY, 0, mtime=0)),
        ("deflate", zlib.compress(BODY)),
        ("deflate", BARE),
    ],
)
def test_it_is_inflated_up_to_exactly_the_limit(encoding, compressed):
    assert inflate(compressed, encoding, len(BODY)) == BODY
    with pytest.raises(TooLarge, match="799 bytes"):
        inflate(compressed, encoding, len(BODY) - 1)


def test_a_bomb_is_cut_off_and_not_inflated():
    bomb = gzip.compress(bytes(64 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            inflate(bomb, "gzip", 1000)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


BROKEN = {
    "none at all": b'{"a": 1}',
    "another encoding": zlib.compress(BODY),
    "the beginning of one": gzip.compress(BODY, mtime=0)[:-3],
    "one with a wrong checksum": gzip.compress(BODY, mtime=0)[:-8] + bytes(8),
    "one and something else": gzip.compress(BODY, mtime=0) + b"x",
    "two": gzip.compress(BODY, mtime=0) * 2,
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_not_exactly_one_stream_is_refused(case):
    with pytest.raises(BadRequest):
        inflate(BROKEN[case], "gzip", 10_000)
