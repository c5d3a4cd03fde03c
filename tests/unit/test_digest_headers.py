import base64
import email
import email.policy
import hmac
from datetime import UTC, datetime, timedelta, timezone
from email.header import decode_header, make_header
from email.utils import parseaddr

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from syndicate.digest.headers import (
    date_header,
    encode_address,
    feedback_id,
    fixed,
    from_header,
    list_id,
    text_header,
    to_header,
    uri_header,
)
from syndicate.digest.message_ids import message_id
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


def test_a_local_part_beyond_ascii_goes_out_in_utf8_before_a_domain_in_ascii():
    assert encode_address("zoë@bücher.example") == "zoë@xn--bcher-kva.example"
    assert to_header("zoë@example.org") == "To: zoë@example.org\r\n"


@pytest.mark.parametrize(
    "local",
    ["zoë\x85x", "zoë\u2028x", "zoë x", "zoë\r\nBcc: x", "zoë,x", "zoë<x", "zo\ud800ë", "ë" * 33, "=?ë?="],
)
def test_a_local_part_beyond_ascii_that_is_not_plain_is_refused(local):
    with pytest.raises(AddressError):
        encode_address(f"{local}@example.org")


def test_a_sender_needs_an_address_that_every_reader_s_server_takes():
    with pytest.raises(AddressError, match="before the @"):
        from_header("From", "Zoë", "zoë@example.org")


@pytest.mark.parametrize(
    ("slug", "cadence"),
    [("tide", "weekly"), ("weekly", "weekly"), ("7", "daily"), ("بحر", "monthly"), ("a" * 60, "immediate")],
)
def test_a_feedback_id_has_four_different_fields_and_a_stable_sender(slug, cadence):
    line = feedback_id(7, slug, cadence, "example.org")
    edition, newsletter, third, sender = line.removeprefix("Feedback-ID: ").removesuffix("\r\n").split(":")
    assert len({edition, newsletter, third, sender}) == 4
    assert (edition, third) == ("edition.7", f"cadence.{cadence}")
    assert sender == "3a6dc6c698ad"
    assert len(line.removesuffix("\r\n")) <= 78


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


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1), st.binary(min_size=1, max_size=80))
def test_a_message_id_is_an_hmac_in_base32(edition_id, subscriber_id, secret):
    key = hmac.digest(secret, f"message-id\0{edition_id}".encode(), "sha256")
    code = hmac.digest(key, str(subscriber_id).encode(), "sha256")
    local = base64.b32encode(code[:20]).decode().lower()
    assert message_id(edition_id, subscriber_id, secret, "example.org") == f"<{local}@example.org>"
