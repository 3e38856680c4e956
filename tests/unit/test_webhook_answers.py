"""Answers of receivers: the same however the bytes are cut, and never more of them than the limits."""

from __future__ import annotations

import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.webhooks.answers import EXCERPT_LIMIT, HEAD_LIMIT, READ_LIMIT, AnswerReader, Endless, Unreadable

ANSWERS = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nhe\r\n003\r\nllo\r\n0\r\nX: y\r\n\r\n",
    "informational": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: a\r\n\r\n"
    b"HTTP/1.1 200 OK\r\ncontent-length:5\r\n\r\nhello",
    "line feeds": b"HTTP/1.1 200 OK\nTransfer-Encoding: Chunked\n\n5\nhello\n0\n\n",
    "1.0": b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 5\r\n\r\nhello",
    "folded": b"HTTP/1.1 200 OK\r\nX: a\r\n  b\r\nContent-Length:\r\n 5\r\n\r\nhello",
}


def read(*pieces):
    reader = AnswerReader()
    for piece in pieces:
        reader.feed(piece)
    return reader


def outcome(reader):
    return reader.head.status, bytes(reader.body), reader.ended, reader.fault, reader.clean, reader.head.persistent


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_is_read_the_same_wherever_it_is_cut(answer):
    expected = (200, b"hello", True, None, True, True)
    assert outcome(read(answer)) == expected
    assert outcome(read(*(bytes([byte]) for byte in answer))) == expected
    for position in range(1, len(answer)):
        reader = read(answer[:position])
        assert not reader.ended
        reader.feed(answer[position:])
        assert outcome(reader) == expected


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_what_comes_behind_an_answer_is_noticed(answer):
    reader = read(answer + b"H")
    assert (reader.ended, reader.clean) == (True, False)


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_that_is_cut_off_counts_from_the_end_of_its_head_on(answer):
    end_of_head = answer.rindex(b"\n\n" if b"\r" not in answer else b"\r\n\r\n", 0, answer.index(b"he")) + 2
    for position in range(1, len(answer)):
        reader = read(answer[:position])
        if reader.head is None:
            assert position <= end_of_head + 2
            with pytest.raises(Unreadable):
                reader.close(properly=True)
        else:
            reader.close(properly=True)
            assert (reader.head.status, reader.fault, reader.clean) == (200, "was cut off", False)


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        (b"HTTP/1.1 200 OK", 200, "OK"),
        (b"HTTP/1.1 200", 200, ""),
        (b"HTTP/1.1 200 ", 200, ""),
        (b"HTTP/1.1  200   All  right ", 200, "All  right"),
        (b"HTTP/1.0 299 x", 299, "x"),
        (b"HTTP/2 200", 200, ""),
        (b"HTTP/1.1 000 none", 0, "none"),
        (b"HTTP/1.1 999 Odd", 999, "Odd"),
        (b"HTTP/1.1 404 f\xfcr", 404, "für"),
        (b"HTTP/1.1 404 f\xc3\xbcr", 404, "für"),
        (b"\r\n\nHTTP/1.1 200 OK", 200, "OK"),
        (b"HTTP/1.1 101 Switching", 101, "Switching"),
    ],
)
def test_status_lines_are_read_tolerantly(line, status, reason):
    head = read(line + b"\r\nContent-Length: 0\r\n\r\n").head
    assert (head.status, head.reason) == (status, reason)


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 OK",
        b"HTTP/1.1",
        b"http/1.1 200 OK",
        b"HTTP1.1 200",
        b"ICY 200",
    ],
)
def test_what_is_no_status_line_is_refused(line):
    with pytest.raises(Unreadable):
        read(line + b"\r\n\r\n")


@pytest.mark.parametrize(
    ("headers", "body", "clean"),
    [
        (b"Content-Length: 2, 2", b"ok", True),
        (b"Content-Length: 2\r\nContent-Length: 2", b"ok", True),
        (b"Content-Length: 2\r\nTransfer-Encoding: chunked", b"2\r\nok\r\n0\r\n\r\n", False),
        (b"Transfer-Encoding: identity\r\nContent-Length: 2", b"ok", True),
        (b"Content-Length : 2", b"ok", False),
        (b"no header\r\nContent-Length: 2", b"ok", False),
        (b"X: a\rContent-Length: 9\r\nContent-Length: 2", b"ok", False),
        (b" X: a\r\nContent-Length: 2", b"ok", False),
    ],
)
def test_odd_headers_are_read_and_their_connection_is_not_used_again(headers, body, clean):
    reader = read(b"HTTP/1.1 200 OK\r\n" + headers + b"\r\n\r\n" + body)
    assert (bytes(reader.body), reader.ended, reader.fault, reader.clean) == (b"ok", True, None, clean)


def test_a_header_may_be_folded_or_there_more_than_once():
    head = read(b"HTTP/1.1 200 OK\r\nX:\r\n 60\r\nY: a\r\n\tb\r\n \r\nx: 7\r\n\r\n").head
    assert (head.all(b"x"), head.get(b"x"), head.all(b"y"), head.all(b"z")) == (["60", "7"], "60", ["a b"], [])


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n",
        b"Content-Length: -2\r\n\r\n",
        b"Content-Length: 2x\r\n\r\n",
        b"Content-Length: " + b"9" * 30 + b"\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 17 + b"\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 20_000,
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"x: y\r\n" * 70_000,
    ],
)
def test_a_body_whose_framing_is_broken_ends_at_once(framing):
    reader = read(b"HTTP/1.1 200 OK\r\n" + framing)
    assert reader.ended
    assert reader.fault is not None
    assert not reader.clean


@pytest.mark.parametrize("status", [204, 304, 101])
def test_answers_without_a_body_end_with_their_head(status):
    reader = read(b"HTTP/1.1 %d x\r\nContent-Length: 5\r\n\r\n" % status)
    assert (reader.ended, bytes(reader.body)) == (True, b"")


def test_a_body_without_a_length_ends_with_its_connection():
    reader = read(b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo")
    assert not reader.ended
    reader.close(properly=True)
    assert outcome(reader) == (200, b"hello", True, None, False, True)


def test_such_a_body_is_cut_off_if_the_connection_was_lost():
    reader = read(b"HTTP/1.0 200 OK\r\n\r\nhel")
    reader.close(properly=False)
    assert reader.fault == "was cut off"


@pytest.mark.parametrize(
    "beginning",
    [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 100_000, b"\r\n" * 200_000],
    ids=["long", "many", "blank"],
)
def test_a_head_without_an_end_is_read_up_to_its_limit(beginning):
    endless = beginning.ljust(HEAD_LIMIT + 1000, b"x")
    reader = read(*(endless[at : at + 1000] for at in range(0, HEAD_LIMIT - 1000, 1000)))
    with pytest.raises(Unreadable, match="more than 300 KiB"):
        reader.feed(endless[HEAD_LIMIT - 1000 :])


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"Content-Length: 100000000", b"x" * 1000),
        (b"Transfer-Encoding: chunked", b"3e8\r\n" + b"x" * 1000 + b"\r\n"),
        (b"Connection: close", b"x" * 1000),
    ],
    ids=["length", "chunks", "rest"],
)
def test_a_large_body_is_read_up_to_its_limit(head, piece):
    reader = read(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
    for _ in range(READ_LIMIT // 1000):
        reader.feed(piece)
    assert not reader.ended
    reader.feed(piece)
    assert (reader.ended, reader.fault, reader.clean, len(reader.body)) == (True, None, False, EXCERPT_LIMIT)


def test_nothing_of_what_comes_behind_an_answer_is_kept():
    """It may come for long: the receiver did not take the whole request yet, which may take as long as the attempt."""
    reader = read(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    for _ in range(1000):
        reader.feed(b"x" * 1000)
    assert not reader.clean
    assert sys.getsizeof(reader._buffer) < 1000  # noqa: SLF001


@given(st.lists(st.binary(max_size=200), max_size=20), st.booleans())
def test_no_bytes_break_the_reader(pieces, begun):
    reader = AnswerReader()
    try:
        if begun:
            reader.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in pieces:
            reader.feed(piece)
        reader.close(properly=True)
    except Unreadable:
        assert reader.head is None
    else:
        assert reader.ended


@pytest.mark.parametrize(
    ("charset", "body", "shown"),
    [
        ("utf-16", b"h\x00i\x00", "h i"),
        ("utf-16", b"\xff\xfeh\x00i\x00", "hi"),
        ("utf-32", b"late", "late"),
        ("utf-16le", b"h\x00i\x00", "hi"),
        ("iso-8859-99", b"late", "late"),
    ],
)
def test_an_excerpt_is_shown_whatever_the_charset_of_its_answer(charset, body, shown):
    reader = read(b"HTTP/1.1 500 Oh\r\nContent-Type: text/plain; charset=%b\r\n\r\n" % charset.encode() + body)
    assert reader.head.excerpt(reader.body) == shown


@pytest.mark.parametrize(
    ("raw", "excerpt"),
    [
        (b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 70_000, "x" * 1000),
        (b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n" + b"a:b\r\n" * 50_000, "x"),
        (b"Transfer-Encoding: chunked\r\n\r\n" + (b"1;" + b"e" * 16_000 + b"\r\nx\r\n") * 100, "xxxx"),
        (b"Transfer-Encoding: " + b"," * 200_000 + b"chunked\r\n\r\n5\r\nhello\r\n", None),
    ],
)
def test_an_answer_of_many_small_parts_takes_few_steps(raw, excerpt):
    """Each step takes time of the event loop, which all deliveries share."""
    began = time.process_time()
    reader = AnswerReader()
    reader.feed(b"HTTP/1.1 500 No\r\n" + raw)
    assert time.process_time() - began < 0.5
    assert (reader.head.status, reader.head.excerpt(reader.body), reader.clean) == (500, excerpt, False)


@pytest.mark.parametrize("part", [b"a:b\r\n", b"\r\n\r\nHTTP/1.1 100 Continue"])
def test_a_head_of_many_lines_is_too_large(part):
    began = time.process_time()
    with pytest.raises(Endless, match="more than 5,000 lines"):
        AnswerReader().feed(b"HTTP/1.1 100 Continue\r\n" + part * 10_000 + b"\r\n")
    assert time.process_time() - began < 0.5
