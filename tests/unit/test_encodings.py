"""What a compressed body holds is read up to the limit, and no further."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from gateway.encodings import inflate, read_encoding
from gateway.http_errors import BadRequest, TooLarge, UnsupportedMediaType

BODY = b'{"a": 1}' * 100
BARE = zlib.compress(BODY)[2:-4]
EMPTY = gzip.compress(b"", mtime=0)
MEMBERS = b"".join(gzip.compress(BODY[at : at + 300], mtime=0) for at in range(0, len(BODY), 300))
NAMED = b"\x1f\x8b\x08\x1c" + bytes(6) + b"\x02\x00xxname\0comment\0" + gzip.compress(BODY[300:], mtime=0)[10:]


READ = [
    ([], None),
    (["gzip"], "gzip"),
    ([" X-GZip "], "gzip"),
    (["Deflate"], "deflate"),
    (["", "x-gzip,"], "gzip"),
    (["Identity"], None),
    ([""], None),
]


@pytest.mark.parametrize(("lines", "encoding"), READ)
def test_one_encoding_is_read_however_it_is_written(lines, encoding):
    headers = CIMultiDict(("Content-Encoding", line) for line in lines)
    assert read_encoding(make_mocked_request("POST", "/", headers=headers)) == encoding


@pytest.mark.parametrize(
    "lines",
    [
        ["gzip", "gzip"],
        ["gzip, deflate"],
        ["identity", "br"],
        ["gzip, identity"],
        ["identity", "identity"],
        ["gzip;q=1"],
        ["*"],
    ],
)
def test_other_encodings_and_several_are_refused(lines):
    headers = CIMultiDict(("Content-Encoding", line) for line in lines)
    with pytest.raises(UnsupportedMediaType, match="unsupported content encoding") as refused:
        read_encoding(make_mocked_request("POST", "/", headers=headers))
    assert refused.value.headers["Accept-Encoding"] == "deflate, gzip"


@pytest.mark.parametrize(
    ("encoding", "compressed"),
    [
        ("gzip", gzip.compress(BODY, mtime=0)),
        ("gzip", gzip.compress(BODY, 0, mtime=0)),
        ("gzip", MEMBERS),
        ("gzip", gzip.compress(BODY[:300], mtime=0) + NAMED),
        ("gzip", EMPTY + MEMBERS + EMPTY),
        ("gzip", MEMBERS + bytes(10_000)),
        ("deflate", zlib.compress(BODY)),
        ("deflate", BARE),
    ],
)
def test_it_is_inflated_up_to_exactly_the_limit(encoding, compressed):
    assert inflate(compressed, encoding, len(BODY)) == BODY
    with pytest.raises(TooLarge, match="799 bytes"):
        inflate(compressed, encoding, len(BODY) - 1)


@pytest.mark.parametrize(
    "bomb",
    [gzip.compress(bytes(64 << 20)), gzip.compress(bytes(600)) * 50_000, EMPTY * 9 + gzip.compress(bytes(64 << 20))],
    ids=["one member", "many members", "the last of several members"],
)
def test_a_bomb_is_cut_off_and_not_inflated(bomb):
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
    "one, zeros and something else": gzip.compress(BODY, mtime=0) + bytes(512) + b"x",
    "one and the beginning of another": MEMBERS[:-3],
    "one and a member's first byte": gzip.compress(BODY, mtime=0) + b"\x1f",
    "several with a wrong checksum": MEMBERS[:-8] + bytes(8),
    "zeros": bytes(100),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_not_gzip_from_its_beginning_to_its_end_is_refused(case):
    with pytest.raises(BadRequest):
        inflate(BROKEN[case], "gzip", 10_000)


@pytest.mark.parametrize(
    ("compressed", "message"),
    [
        (zlib.compress(BODY)[:-1], "ends before its deflate data does"),
        (BARE[:-1], "ends before its deflate data does"),
        (zlib.compress(BODY) * 2, "follows the deflate data"),
        (BARE + b"\0", "follows the deflate data"),
        (gzip.compress(BODY, mtime=0), "not encoded as its header says: deflate"),
    ],
)
def test_deflate_is_one_stream(compressed, message):
    with pytest.raises(BadRequest, match=message):
        inflate(compressed, "deflate", 10_000)


def test_many_members_take_a_time_that_grows_with_their_number_only():
    """What follows each member must not be copied: 100,000 of them would copy 100 GB."""
    assert inflate(EMPTY * 100_000, "gzip", 1000) == b""
