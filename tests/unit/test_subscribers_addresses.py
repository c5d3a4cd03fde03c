from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subscribers.addresses import parse_address
from subscribers.errors import InvalidAddress


@pytest.mark.parametrize(
    ("text", "email", "key"),
    [
        ("reader@example.com", "reader@example.com", "reader@example.com"),
        ("  Reader.One@EXAMPLE.Com ", "Reader.One@example.com", "reader.one@example.com"),
        ("x@BÜCHER.example", "x@bücher.example", "x@xn--bcher-kva.example"),
        ("x@xn--bcher-kva.example", "x@bücher.example", "x@xn--bcher-kva.example"),
        ("reader+tag@example.org", "reader+tag@example.org", "reader+tag@example.org"),
        ("o'hara@example.net", "o'hara@example.net", "o'hara@example.net"),
    ],
)
def test_an_address_keeps_its_owner_s_spelling_and_has_a_key(text: str, email: str, key: str) -> None:
    address = parse_address(text)
    assert (address.email, address.key) == (email, key)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "@ is missing"),
        ("reader", "@ is missing"),
        ("é@example.com", "before the @"),
        ("a@b>\r\nRCPT TO:<x>@example.com", "line breaks"),
        ("a@example.com\n", "line breaks"),
        ("a\x00@example.com", "line breaks"),
        ("a@exam\u200bple.com", "line breaks"),
        ("a@example.com\u2028", "line breaks"),
        ("<a@example.com>", "angle brackets"),
        ("A <a@example.com>", "angle brackets"),
        ("a@b@example.com", "invalid characters"),
        ("=?utf-8?q?a=0ABcc=3A?=@example.com", "'=?'"),
        ('"a b"@example.com', "Quoting"),
        ("a@[127.0.0.1]", "IP address"),
        ("a@example", "period"),
        ("a@mail.test", "special-use"),
        ("a@x.invalid", "special-use"),
        ("a" * 65 + "@example.com", "too long"),
        ("a@" + "b." * 200 + "com", "at most 254"),
        ("\udc80@example.com", "line breaks"),
    ],
)
def test_what_mail_cannot_be_sent_to_is_refused_with_a_sentence(text: str, says: str) -> None:
    with pytest.raises(InvalidAddress) as caught:
        parse_address(text)
    assert says in caught.value.detail
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", ["a@localhost", "a@mail.test", "A@box.LOCAL"])
def test_private_domains_pass_only_where_the_operator_wants_them(text: str) -> None:
    with pytest.raises(InvalidAddress):
        parse_address(text)
    assert parse_address(text, allow_private=True).key == text.lower()


def test_private_domains_are_checked_as_strictly_as_others() -> None:
    for text in ("a b@localhost", "a@-x.local", "a@b>.test", "a@.local", "é@localhost"):
        with pytest.raises(InvalidAddress):
            parse_address(text, allow_private=True)


@pytest.mark.parametrize("allow_private", [False, True])
@given(
    local=st.text("abAZ09.+-_'éß<>@\"\\ =?\r\n\u200b", min_size=1, max_size=12),
    domain=st.text("abAZ09.-éßü１＠<>@ _\n\u200b", min_size=1, max_size=8),
)
def test_whatever_passes_is_one_printable_mailbox_and_parses_to_itself(
    *, local: str, domain: str, allow_private: bool
) -> None:
    try:
        address = parse_address(f"{local}@{domain}.com", allow_private=allow_private)
    except InvalidAddress:
        return
    assert address.key.isascii()
    assert address.email.isprintable()
    assert address.email.count("@") == 1
    assert not set(address.email) & set(' <>"\\')
    assert parse_address(address.email, allow_private=allow_private) == address
    assert parse_address(address.key, allow_private=allow_private).key == address.key
