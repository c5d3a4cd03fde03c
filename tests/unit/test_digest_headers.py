import email
import email.policy
from datetime import UTC, datetime, timedelta, timezone
from email.header import decode_header, make_header
from email.utils import parseaddr

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from syndicate.digest.headers import (
    date_header,
    encode_address,
    fixed,
    from_header,
    list_id,
    message_id,
    text_header,
    uri_header,
)
from syndicate.digest.plain import clean_line, excerpt
from syndicate.errors import AddressError, OperationError

ATTACKS = [
    "\r\nBcc: e@e.example",
    "a\nB: c",
    "a\0b",
    "a\x85Bcc: b",
    "a\u2028Bcc: b",
    "=?utf-8?q?=0ABcc:_e=40e?=",
    "\ud800",
    "x" * 10_000,
]
texts = st.one_of(st.sampled_from(ATTACKS), st.text(max_size=120))


def decoded(value: str) -> str:
    return str(make_header(decode_header(value.replace("\r\n", ""))))


@given(texts)
@example("=?utf-8?b?ZQ==?=")
@example("ä" * 300)
def test_a_subject_is_one_header_that_decodes_to_its_text(text):
    line = text_header("Subject", text)
    parsed = email.message_from_string(line + "\r\n", policy=email.policy.compat32)
    assert parsed.keys() == ["Subject"]
    assert line.isascii()
    assert all(len(part) <= 76 for part in line.split("\r\n") if "=?" in part)
    assert decoded(line.removeprefix("Subject: ").removesuffix("\r\n")) == excerpt(text, 200)


@given(texts)
def test_any_sender_name_leaves_one_mailbox(name):
    line = from_header("From", name, "letters@example.org")
    parsed = email.message_from_string(line + "\r\n", policy=email.policy.compat32)
    assert parsed.keys() == ["From"]
    shown, address = parseaddr(parsed["From"].replace("\r\n", ""))
    assert address == "letters@example.org"
    assert clean_line(decoded(shown)) == excerpt(name, 200)


@given(texts)
def test_any_title_leaves_an_ascii_list_id(title):
    line = list_id(title, "tide", "example.org")
    assert line.isascii()
    assert line.endswith("<tide.example.org>\r\n")
    assert line.count("\r\n") == 1
    assert "=?" not in line


def test_a_slug_beyond_ascii_has_a_stable_list_id():
    assert list_id("", "بحر", "example.org") == list_id("", "بحر", "example.org")
    assert list_id("", "بحر", "example.org").isascii()


def test_an_international_domain_goes_out_as_a_labels():
    assert encode_address("a@bücher.example") == "a@xn--bcher-kva.example"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "a",
        "a@",
        "@b.example",
        "a b@c.example",
        "a@b>\r\nRCPT TO:<x@y.example",
        "a@b.example\n",
        "a,b@c.example",
        "<a@b.example>",
        "a@b..example",
        "=?utf-8?q?a?=@b.example",
        "a\0@b.example",
        "a@b.example a@c.example",
    ],
)
def test_what_is_not_one_plain_address_is_refused(address):
    with pytest.raises(AddressError):
        encode_address(address)


def test_a_local_part_beyond_ascii_is_refused_with_the_reason():
    with pytest.raises(AddressError, match="before the @"):
        encode_address("zoë@example.org")


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "mailto:a@b.example",
        "https://e.example/a b",
        "https://e.example/>",
        "https://é.example/",
        "https://e.example/\r\nX: y",
    ],
)
def test_a_uri_header_takes_only_a_whole_ascii_http_address(uri):
    with pytest.raises(OperationError):
        uri_header("List-Unsubscribe", uri)


def test_a_long_uri_is_not_folded():
    uri = "https://e.example/" + "a" * 300
    assert uri_header("List-Unsubscribe", uri) == f"List-Unsubscribe: <{uri}>\r\n"


def test_a_fixed_header_refuses_line_breaks():
    with pytest.raises(OperationError):
        fixed("X", "a\r\nBcc: b")


def test_a_date_has_a_numeric_zone():
    assert (
        date_header(datetime(2026, 3, 14, 9, 26, tzinfo=UTC)) == "Date: Sat, 14 Mar 2026 09:26:00 +0000\r\n"
    )
    assert "+0200" in date_header(datetime(2026, 3, 14, tzinfo=timezone(timedelta(hours=2))))


def test_message_ids_differ_by_edition_and_reader_and_are_stable():
    made = {message_id(e, s, b"k" * 32, "example.org") for e in range(3) for s in range(3) for _ in range(2)}
    assert len(made) == 9
