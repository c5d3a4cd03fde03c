import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syndicate.deliver.replies import Extensions, ReplyParser, parse_extensions


def parse(data: bytes, size: int = 0) -> list[tuple[int, str]]:
    """All replies in the data, which come in slices of this size, or at once."""
    parser = ReplyParser()
    step = size or len(data)
    replies = [
        (reply.code, reply.text)
        for start in range(0, len(data), step)
        for reply in parser.feed(data[start : start + step])
    ]
    assert parser.is_empty
    return replies


@pytest.mark.parametrize(
    ("data", "replies"),
    [
        (b"250 2.0.0 queued\r\n", [(250, "2.0.0 queued")]),
        (b"250-one\r\n250-two\r\n250 three\r\n", [(250, "one\ntwo\nthree")]),
        (b"250-one\r\n250 \r\n", [(250, "one\n")]),
        (b"250-one\r\n250\r\n", [(250, "one\n")]),
        (b"550\r\n", [(550, "")]),
        (b"550\n", [(550, "")]),
        (b"550 \r\n", [(550, "")]),
        (b"250 ok\n354 go\n", [(250, "ok"), (354, "go")]),
        (b"200 low\r\n599 high\r\n", [(200, "low"), (599, "high")]),
        (b"250 caf\xe9 \xc3\xa9\r\n", [(250, "caf\ufffd é")]),
        (
            b"".join(b"250-%d\r\n" % n for n in range(99)) + b"250 99\r\n",
            [(250, "\n".join(map(str, range(100))))],
        ),
        (b"250 " + b"x" * 4090 + b"\r\n", [(250, "x" * 4090)]),
    ],
)
def test_a_reply_is_its_code_and_its_lines(data: bytes, replies: list[tuple[int, str]]) -> None:
    assert parse(data) == replies
    assert parse(data, 1) == replies


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "no reply: HTTP/1.1 400"),
        (b"\r\n", "no reply"),
        (b"3\n", "no reply"),
        (b"25\n", "no reply"),
        (b"199 low\r\n", "no reply"),
        (b"600 high\r\n", "no reply"),
        (b"2500 long\r\n", "no reply"),
        (b"250ok\r\n", "no reply"),
        ("²50 ok\r\n".encode(), "no reply"),
        (b" 250 ok\r\n", "no reply"),
        (b"250-one\r\n251 two\r\n", "two codes, 250 and 251"),
        (b"250-one\r\n251-two\r\n", "two codes, 250 and 251"),
        (b"250-one\r\n" * 101, "more than 100 lines"),
        (b"250-one\r\n" * 100 + b"250 last\r\n", "more than 100 lines"),
        (b"250 " + b"x" * 4092 + b"\r\n", "4096 bytes"),
        (b"250 " + b"x" * 4092, "4096 bytes"),
        (b"x" * 100_000, "4096 bytes"),
    ],
)
def test_what_is_no_reply_ends_the_reading(data: bytes, words: str) -> None:
    parser = ReplyParser()
    parser.feed(data)
    assert words in parser.complaint
    assert not parser.is_empty


def test_what_came_before_the_unreadable_is_still_given() -> None:
    parser = ReplyParser()
    assert [(reply.code, reply.text) for reply in parser.feed(b"250 queued\r\ngarbage\r\n")] == [
        (250, "queued")
    ]
    assert "no reply" in parser.complaint


@pytest.mark.parametrize("data", [b"2", b"250 o", b"250 ok\r", b"250-one\r\n", b"250-one\r\n25"])
def test_half_a_reply_is_kept_and_seen(data: bytes) -> None:
    parser = ReplyParser()
    assert parser.feed(data) == []
    assert not parser.is_empty
    assert not parser.complaint


texts = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), max_size=20)
replies_strategy = st.lists(
    st.tuples(st.integers(200, 599), st.lists(texts, min_size=1, max_size=4)), min_size=1, max_size=5
)


@settings(deadline=None)
@given(replies=replies_strategy, size=st.integers(1, 50))
def test_it_does_not_matter_how_the_bytes_are_sliced(replies: list[tuple[int, list[str]]], size: int) -> None:
    data = b"".join(
        b"%d%b%b\r\n" % (code, b" " if last else b"-", line.encode())
        for code, lines in replies
        for line, last in zip(lines, [False] * (len(lines) - 1) + [True], strict=True)
    )
    assert parse(data, size) == [(code, "\n".join(lines)) for code, lines in replies]


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text("2345 -\r\n", max_size=40).map(str.encode))
def test_no_bytes_break_the_parser_in_any_other_way(data: bytes) -> None:
    assert all(200 <= reply.code <= 599 for reply in ReplyParser().feed(data))


def test_extensions_are_found_whatever_their_case_and_company() -> None:
    text = "relay.example\npipelining\nSize 52428800\nVRFY\n\nstarttls\nAUTH PLAIN cram-md5\n"
    text += "AUTH=LOGIN\n8BITMIME\nsmtputf8\n"
    assert parse_extensions(text) == Extensions(
        has_pipelining=True,
        has_starttls=True,
        has_8bitmime=True,
        has_smtputf8=True,
        has_size=True,
        max_bytes=52428800,
        mechanisms=frozenset({"PLAIN", "CRAM-MD5", "LOGIN"}),
    )


def test_the_greeting_of_ehlo_is_no_extension() -> None:
    assert parse_extensions("PIPELINING") == Extensions()
    assert parse_extensions("pipelining.example greets you\n") == Extensions()


@pytest.mark.parametrize("size", ["SIZE", "SIZE 0", "SIZE many", "SIZE ²"])
def test_a_size_without_a_number_is_no_limit(size: str) -> None:
    extensions = parse_extensions(f"relay.example\n{size}")
    assert extensions.has_size
    assert extensions.max_bytes == 0
