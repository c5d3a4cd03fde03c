import email
import email.policy
import html

from hypothesis import given, settings
from hypothesis import strategies as st

from syndicate.digest.letters import build_letter
from syndicate.digest.selfcheck import check_message, read_parts
from tests.digest_builders import OPENED_AT, TEMPLATES, make_newsletter

CONFIRM_URL = "https://letters.example.org/confirm/abcdefghijklmnopqrstuvwxyz234567"


def confirmation(name="", **changes):
    arguments = {
        "template": "confirm",
        "newsletter": make_newsletter(),
        "to": "ada@example.com",
        "subject": "Please confirm: Tide & Timber",
        "values": {"confirm_url": CONFIRM_URL, "home_url": "https://letters.example.org/tide/", "name": name},
        "date": OPENED_AT,
        "message_id": "<abc@example.org>",
        "template_folders": [TEMPLATES],
    }
    return build_letter(**arguments | changes)


def test_a_confirmation_asks_in_both_parts_and_belongs_to_no_list():
    letter = confirmation()
    headers = email.message_from_bytes(letter, policy=email.policy.compat32)
    assert headers["To"] == "ada@example.com"
    assert headers["Auto-Submitted"] == "auto-generated"
    assert not any(name.startswith("List-") for name in headers)
    for part in read_parts(letter).values():
        assert CONFIRM_URL in part
        assert "ada@example.com" in part
    assert check_message(letter, unsubscribe_url=None) == []


def test_equal_input_gives_an_equal_letter():
    assert confirmation() == confirmation()


def test_answers_go_where_the_newsletter_says():
    assert b"\r\nReply-To: help@example.org\r\n" in confirmation(
        newsletter=make_newsletter(reply_to="help@example.org")
    )


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=60))
def test_whatever_is_typed_as_a_name_stays_text(name):
    letter = confirmation(name)
    headers = email.message_from_bytes(letter, policy=email.policy.compat32)
    assert headers.keys() == [
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "Auto-Submitted",
        "MIME-Version",
        "Content-Type",
    ]
    assert html.unescape(read_parts(letter)["html"]).count("<script") == name.count("<script")
    assert "<script" not in read_parts(letter)["html"]
