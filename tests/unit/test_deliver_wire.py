import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from syndicate.deliver.wire import encode_content, encode_path
from syndicate.errors import AddressError, OperationError


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("reader@example.org", b"<reader@example.org>"),
        ("o'brien+news@example.org", b"<o'brien+news@example.org>"),
        ("odd(comment)@example.org", b"<odd(comment)@example.org>"),
        ('"a@b"@example.org', b'<"a@b"@example.org>'),
        ("reader@localhost", b"<reader@localhost>"),
        ("reader@[127.0.0.1]", b"<reader@[127.0.0.1]>"),
        ("reader@bücher.example", b"<reader@xn--bcher-kva.example>"),
        ("reader@straße.de", b"<reader@xn--strae-oqa.de>"),
    ],
)
def test_an_address_becomes_a_path_as_it_is(address: str, path: bytes) -> None:
    assert encode_path(address) == path


@pytest.mark.parametrize(
    "address",
    [
        "",
        "reader",
        "@example.org",
        "reader@",
        "a b@example.org",
        "reader@example.org ",
        "<reader@example.org>",
        "reader@example.org> SIZE=1",
        "reader@example.org\r\nDATA",
        "reader@example.org\n",
        "reader\0@example.org",
        "reader\x7f@example.org",
        "reader@exam\u2028ple.org",
        "reader@example.org\u0085",
        "räder@example.org",
        "reader@\ud800.example",
    ],
)
def test_an_address_that_could_speak_to_the_server_is_refused(address: str) -> None:
    with pytest.raises(AddressError):
        encode_path(address)


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("röder@example.org", "<röder@example.org>"),
        ("röder@bücher.example", "<röder@bücher.example>"),
        ("用户@例子.example", "<用户@例子.example>"),
        ("reader@example.org", "<reader@example.org>"),
    ],
)
def test_for_a_server_with_smtputf8_an_address_goes_out_as_it_is(address: str, path: str) -> None:
    assert encode_path(address, is_utf8=True) == path.encode("utf-8")


@pytest.mark.parametrize(
    "address",
    [
        "ä b@example.org",
        "ä\u2028@example.org",
        "ä>@example.org",
        "ä\r\n@example.org",
        "ä",
        "ä@b@",
        "\ud800@a.example",
    ],
)
def test_smtputf8_lets_nobody_speak_to_the_server(address: str) -> None:
    with pytest.raises(AddressError):
        encode_path(address, is_utf8=True)


def test_an_address_counts_in_octets() -> None:
    assert encode_path("ä" * 121 + "@example.org", is_utf8=True)
    with pytest.raises(AddressError, match="254 octets"):
        encode_path("ä" * 122 + "@example.org", is_utf8=True)
    with pytest.raises(AddressError, match="254 octets"):
        encode_path("a" * 243 + "@example.org")


@given(st.text(max_size=40), st.booleans())
@example("a@b\x1f", False)
@example("ä@b\x85", True)
def test_a_path_never_holds_more_than_one_printable_word(
    address: str,
    is_utf8: bool,  # noqa: FBT001 - drawn
) -> None:
    try:
        path = encode_path(address, is_utf8=is_utf8).decode("utf-8")
    except AddressError:
        return
    assert path.count("<") == path.count(">") == 1
    assert path.isprintable()
    assert len(path.split()) == 1
    assert is_utf8 or path.isascii()


lines = st.lists(
    st.binary(max_size=12).map(lambda b: b.translate(None, b"\r\n\0")) | st.sampled_from([b".", b"..", b""]),
    min_size=1,
    max_size=8,
)


@given(lines)
@example([b".", b"..", b"..."])
def test_the_receiver_gets_back_exactly_what_was_given(content_lines: list[bytes]) -> None:
    message = b"".join(line + b"\r\n" for line in content_lines)
    received = encode_content(message).split(b"\r\n")
    assert received[-2:] == [b".", b""]
    assert b"." not in received[:-2]
    assert b"".join(line.removeprefix(b".") + b"\r\n" for line in received[:-2]) == message


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"no end",
        b"bare\nline feed\r\n",
        b"bare\rreturn\r\n",
        b"smuggled\n.\r\nMAIL FROM:<x@example.org>\r\n",
        b"smuggled\r.\r\n",
        b"end\r\n\r",
        b"end\r",
        b"\n\r\r\n",
        b"nul\0\r\n",
    ],
)
def test_a_message_over_whose_end_servers_differ_is_refused(message: bytes) -> None:
    with pytest.raises(OperationError):
        encode_content(message)
