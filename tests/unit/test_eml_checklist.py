import re

import pytest

from syndicate.digest.compile import compile_edition
from syndicate.digest.mime import closing, part_head, qp_piece
from syndicate.digest.selfcheck import read_parts
from tests.digest_builders import make_edition, make_message, make_reader
from tests.eml_checklist import RULES, check_eml

UNSUBSCRIBE = make_reader().unsubscribe_url
POST = b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"


@pytest.fixture(scope="module")
def message():
    return make_message(compile_edition(make_edition()), [1, 2, 3, 4, 5])


def in_bytes(old, new):
    def change(message):
        assert old in message
        return message.replace(old, new, 1)

    return change


def in_part(kind, pattern, new, count=0):
    def change(message):
        parts = read_parts(message)
        changed = re.sub(pattern, new, parts[kind], count=count, flags=re.DOTALL)
        assert changed != parts[kind]
        parts[kind] = changed
        boundary = re.search(rb'boundary="([^"]+)"', message)[1].decode()
        bodies = (part_head(boundary, k) + qp_piece(parts[k] + "\n") for k in ("plain", "html"))
        return message.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + b"".join(bodies) + closing(boundary)

    return change


def in_html(pattern, new, count=0):
    return in_part("html", pattern, new, count)


COUNTER_EXAMPLES = [
    (1, in_bytes(b"\r\nDate:", b"\nDate:")),
    (1, in_bytes(b"--\r\n", b"--")),
    (2, in_bytes(b"Precedence: bulk", b"Precedence: bulk" + b"k" * 80)),
    (2, in_bytes(b"charset=utf-8\r\nContent-Tr", b"charset=utf-8\r\nX-A: " + b"k" * 80 + b"\r\nContent-Tr")),
    (3, in_bytes(b"Hello", b"H\xe4llo")),
    (4, in_bytes(b"Date:", b"Bcc: a@b.example\r\nDate:")),
    (4, in_bytes(b"Date:", b"Subject: again\r\nDate:")),
    (5, in_bytes(b"<letters@example.org>", b"<letters@example.org>, b@c.example")),
    (5, in_bytes(b"Date:", b"Reply-To: nobody\r\nDate:")),
    (6, in_bytes(b"+0000", b"GMT")),
    (7, in_bytes(b"@example.org>\r\nList-Unsub", b"@elsewhere.example>\r\nList-Unsub")),
    (8, in_bytes(b"Subject: ", b"Subject: =?utf-8?q?" + b"a" * 70 + b"?= ")),
    (8, in_bytes(b"To: ada@", "To: zoë x@".encode())),
    (8, in_bytes(b"From: Tide", "From: Tíde".encode())),
    (8, in_bytes(b"List-Id: Tide & Timber", b"List-Id: =?utf-8?q?T?=")),
    (9, in_bytes(b"Date:", b"X-Injected: yes\r\nDate:")),
    (10, in_bytes(b"<tide.example.org>", b"<tide example>")),
    (11, in_bytes(b"<https://letters.example.org/unsub", b"<http://letters.example.org/unsub")),
    (11, in_bytes(b"List-Unsubscribe: ", b"List-Unsubscribe: <mailto:a@b.example>, ")),
    (12, in_bytes(POST, b"")),
    (13, in_bytes(b"abcdefghijklmnopqrstuvwxyz234567>", b"ada@example.com>")),
    (13, in_bytes(b"abcdefghijklmnopqrstuvwxyz234567>", b"42>")),
    (15, in_bytes(b"List-Post: NO\r\n", b"")),
    (15, in_bytes(b"List-Archive: <", b"List-Archive: x<")),
    (16, in_bytes(b"Precedence: bulk\r\n", b"")),
    (16, in_bytes(b"auto-generated", b"auto-replied")),
    (17, in_bytes(b"Feedback-ID: ", b"X-Feedback: ")),
    (17, in_bytes(b"Feedback-ID: edition.7:", b"Feedback-ID: a:edition.7:")),
    (17, in_bytes(b":cadence.any:", b":tide:")),
    (17, in_bytes(b":cadence.any:", b":cadence.any:x:")),
    (17, in_bytes(b"Feedback-ID: ", b"Feedback-ID: a:b:c:abcdef\r\nFeedback-ID: ")),
    (18, in_bytes(b"Date:", b"X-Reader: ada@example.com\r\nDate:")),
    (23, in_bytes(b"text/plain", b"text/enriched")),
    (24, in_part("plain", r".*(Unsubscribe: \S+).*", r"\1")),
    (24, in_part("plain", "Unsubscribe: ", "Unsubscribe:")),
    (24, in_part("plain", "Hello", "<p>Hello</p> &amp;")),
    (25, in_part("plain", ".*", "", count=1)),
    (25, in_bytes(b'boundary="=_', b'boundary="x')),
    (27, in_html("</body>", "<p>" + "a" * 102_400 + "</p></body>")),
    (28, in_html("Unsubscribe</a>", "</a>")),
    (29, in_html("<!DOCTYPE html>", "")),
    (29, in_html('lang="en"', 'lang="en_GB.utf8"')),
    (29, in_html(' dir="ltr"', "", 1)),
    (29, in_html("<title>.*?</title>", "<title> </title>")),
    (30, in_html('role="presentation"', "", 1)),
    (30, in_html("<td", "<th", 1)),
    (31, in_html('alt=""', "")),
    (31, in_html("https://img", "data:img")),
    (32, in_html(f'href="{UNSUBSCRIBE}"', 'href="javascript:x"')),
    (32, in_html(">Your preferences<", ">click here<")),
    (32, in_html("Your preferences", "zq0123456789X00zq")),
    (33, in_html(">letters.example.org<", ">elsewhere.example<")),
    (34, in_html("mso-hide:all", "mso-hide:none")),
    (34, in_html('(class="preheader"[^>]*>).*?</div>', r"\1Hi</div>")),
    (35, in_html("(</?)h2", r"\1h4")),
    (36, in_html("</body>", "<script></script></body>")),
    (36, in_html("<p ", '<p onclick="x" ', 1)),
    (36, in_html("<style>", "<style>@import 'x';")),
    (37, in_html('<p class="tagline" style="', r"\g<0>color:red !important;")),
    (37, in_html("padding: 0 !important", "padding: 0")),
    (38, in_html(r"\[data-ogsb\]", "[data-x]")),
    (38, in_html('name="color-scheme"', 'name="x"')),
    (39, in_html("<style>", "<style>" + " " * 8_192)),
    (39, in_html("(@media print {)", r"\1 @media screen {} ")),
    (39, in_html("</style>", "}</style>")),
    (40, in_html(r"<!\[endif\]-->", "-->", 1)),
    (41, in_html("font-size:13px", "font-size:11px", 1)),
    (41, in_html("max-width:640px", "max-width:900px", 1)),
    (42, in_html("You get this because", "Hello because")),
]  # fmt: skip


@pytest.mark.parametrize(("number", "change"), COUNTER_EXAMPLES)
def test_a_rule_finds_its_counter_example(message, number, change):
    findings = check_eml(change(message))
    assert number in {int(f.partition(":")[0]) for f in findings}, findings


def test_the_message_without_a_change_breaks_no_rule(message):
    assert check_eml(message) == []


def test_every_rule_has_a_counter_example():
    assert {number for number, _ in COUNTER_EXAMPLES} == set(RULES)
