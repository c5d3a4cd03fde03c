"""No field that anybody writes can add a header or a recipient, or begin the body early.

Each field of a digest is set to each way of breaking out of a line, and the finished message is read again:
by hand, and by the standard library. Where nothing can be composed the mistake is one line long and concerns
that message alone.
"""

import email
import email.policy
import re
from base64 import b64encode
from email.header import decode_header

import pytest

from syndicate.deliver.wire import encode_path
from syndicate.digest.compile import compile_edition
from syndicate.digest.compose import compose_message
from syndicate.digest.letters import build_letter
from syndicate.errors import AddressError, OperationError, SyndicateError
from syndicate.model import Author
from tests.digest_builders import (
    OPENED_AT,
    SITE,
    TEMPLATES,
    make_article,
    make_edition,
    make_message,
    make_newsletter,
    make_reader,
)

HEADERS = [
    "To", "Message-ID", "List-Unsubscribe", "Subject", "From", "Date", "List-Id", "List-Unsubscribe-Post",
    "List-Post", "List-Archive", "Feedback-ID", "Precedence", "Auto-Submitted", "MIME-Version",
    "Content-Type",
]  # fmt: skip
LETTER_HEADERS = [
    "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type",
]  # fmt: skip
READER = "ada@example.com"

BREAKS = ["\r", "\n", "\r\n", "\0", "\x85", "\u2028", "\u2029", "\ud800"]
SMUGGLED = "Bcc: eve@evil.example"


def encoded_q(text):
    return "=?utf-8?q?" + "".join(f"={b:02X}" for b in text.encode("utf-8", "surrogatepass")) + "?="


def encoded_b(text):
    return f"=?utf-8?b?{b64encode(text.encode('utf-8', 'surrogatepass')).decode()}?="


#: What is tried with each break: in the middle, at both ends, as two line ends; as encoded words, which a
#: careless program decodes; and where long lines are folded and cut.
SHAPES = {
    "within": lambda b: f"Tide{b}{SMUGGLED}{b} {SMUGGLED}{b}\tX-Own: yes",
    "at both ends": lambda b: f"{b}{SMUGGLED}{b}",
    "empty line": lambda b: f"Tide{b}{b}<script>alert(1)</script>",
    "q": lambda b: encoded_q(f"Tide{b}{SMUGGLED}"),
    "b": lambda b: f"Tide {encoded_b(f'{b}{SMUGGLED}')}",
    "10 kB": lambda b: f"wörd{b}{SMUGGLED} " * 200 + "x" * 5_000,
}


def attacks(shape):
    return [SHAPES[shape](b) for b in BREAKS]


#: Fields that are text: whatever is in them, there is a message.
TEXTS = {
    "title of the newsletter": lambda text: {"newsletter": make_newsletter(title=text)},
    "description": lambda text: {"newsletter": make_newsletter(description=text)},
    "name of the sender": lambda text: {"newsletter": make_newsletter(from_name=text)},
    "postal address": lambda text: {"newsletter": make_newsletter(postal_address=text)},
    "topic": lambda text: {"newsletter": make_newsletter(topics=("Coast", text))},
    "subject": lambda text: {"newsletter": make_newsletter(subject_template="{{ title }}: " + text)},
    "title of an article": lambda text: {"articles": [make_article(title=text)]},
    "summary": lambda text: {"articles": [make_article(summary=text)]},
    "author": lambda text: {"articles": [make_article(authors=(Author(name=text),))]},
    "tag": lambda text: {"articles": [make_article(tags=("Coast", text))]},
}
#: Links in the pages alone: they are checked where they come in, and are shown or refused here.
LINKS = {
    "address of an article": lambda text: {"article_urls": {1: SITE + "/" + text}},
    "archive": lambda text: {"archive_url": SITE + "/" + text},
}
#: Fields in which nothing but one plain address or link can stand: whatever else is in them, there is none.
ADDRESSES = {
    "address of the sender": lambda text: {"newsletter": make_newsletter(from_email=text)},
    "address for answers": lambda text: {"newsletter": make_newsletter(reply_to=text)},
    "address for answers, behind a good one": lambda text: {
        "newsletter": make_newsletter(reply_to="help@example.org" + text)
    },
    "home page": lambda text: {"home_url": SITE + "/" + text},
}

HTML = """<!DOCTYPE html><html lang="en"><head><title>{{ variant.subject }}</title></head><body>
<p>{{ variant.preheader }}</p><h1>{{ title }}</h1><p>{{ description }} for {{ reader.name }}</p>
{% for section in sections %}<h2>{{ section.label }}</h2>{% for article in section.articles %}
{% call only_with(article) %}
<p><a href="{{ article.url }}" title="{{ article.authors }}">{{ article.title }}</a> {{ article.summary }}
{{ article.also_in }}</p>{% endcall %}{% endfor %}{% endfor %}
<p><a href="{{ archive_url }}">Web</a> <a href="{{ reader.unsubscribe_url }}">Unsubscribe</a>
<a href="{{ reader.preferences_url }}">You</a> {{ reader.address }} {{ postal_address }}</p></body></html>
"""
TEXT = """{{ variant.subject }}
{{ title }} {{ description }} {{ reader.name }} {{ postal_address }}
{% for section in sections %}{{ section.label }}{% for article in section.articles %}
{% call only_with(article) %}
{{ article.title }} {{ article.authors }} {{ article.summary }} {{ article.url }}
{% endcall %}{% endfor %}{% endfor %}
{{ archive_url }} {{ reader.unsubscribe_url }} {{ reader.preferences_url }} {{ reader.address }}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Templates with every value in them and little else: they are rendered hundreds of times."""
    email_folder = tmp_path_factory.mktemp("templates") / "email"
    email_folder.mkdir()
    (email_folder / "digest.html").write_text(HTML, "utf-8")
    (email_folder / "digest.txt").write_text(TEXT, "utf-8")
    return email_folder.parent


@pytest.fixture(scope="module")
def compiled():
    return compile_edition(make_edition([make_article()]))


def read_by_hand(message):
    """The names of the headers and their unfolded values, by the rules of RFC 5322 section 2.2 alone."""
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\0", message)
    head, _, body = message.partition(b"\r\n\r\n")
    assert re.match(rb"--=_[0-9a-f]{24}\r\nContent-Type: text/plain; charset=utf-8\r\n", body)
    found = []
    for line in head.split(b"\r\n"):
        if line[:1] in b" \t":
            found[-1][1] += line
        else:
            name, colon, value = line.partition(b":")
            assert colon
            assert re.fullmatch(rb"[A-Za-z-]+", name)
            found.append([name.decode(), value])
    return found


def decoded(value):
    """A header as a careless program sees it: unfolded, every encoded word taken apart."""
    parts = decode_header(re.sub(r"\r?\n(?=[ \t])", "", value))
    return "".join(p.decode(charset or "ascii") if isinstance(p, bytes) else p for p, charset in parts)


def assert_untouched(message, names=HEADERS):
    by_hand = read_by_hand(message)
    assert [name for name, _ in by_hand] == names
    assert [value for name, value in by_hand if name == "To"] == [f" {READER}".encode()]
    for policy in (email.policy.compat32, email.policy.default):
        parsed = email.message_from_bytes(message, policy=policy)
        assert parsed.keys() == names
        assert parsed.get_all("To") == [READER]
        assert [p.get_content_type() for p in parsed.get_payload()] == ["text/plain", "text/html"]
        assert not any(part.defects for part in parsed.walk())
    # What an archive makes of it: CVE-2024-6923 is about writing down again what was read.
    again = email.message_from_bytes(email.message_from_bytes(message).as_bytes())
    assert again.keys() == names
    for name, value in again.items():
        assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", decoded(value)), name


def assert_one_line(error):
    assert isinstance(error, SyndicateError)
    assert str(error).isprintable()
    assert "Traceback" not in str(error)


def make(folder, **changes):
    values = {"articles": [make_article()], "template_folders": (folder,)}
    return compile_edition(make_edition(**values | changes))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("field", TEXTS)
def test_no_text_reaches_beyond_its_header(folder, field, shape):
    for text in attacks(shape):
        assert_untouched(make_message(make(folder, **TEXTS[field](text)), [1]))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("field", LINKS)
def test_a_link_in_a_page_is_shown_or_refused(folder, field, shape):
    for text in attacks(shape):
        try:
            edition = make(folder, **LINKS[field](text))
        except OperationError as error:
            assert_one_line(error)
        else:
            assert_untouched(make_message(edition, [1]))


@pytest.mark.parametrize("shape", SHAPES)
def test_no_text_reaches_beyond_its_header_in_the_mail_that_we_ship(shape):
    for text in attacks(shape):
        newsletter = make_newsletter(
            title=text, description=text, from_name=text, postal_address=text, topics=(text,)
        )
        article = make_article(title=text, summary=text, authors=(Author(name=text),), tags=(text,))
        edition = compile_edition(make_edition([article], newsletter=newsletter))
        assert_untouched(make_message(edition, [1], name=text))


@pytest.mark.parametrize("shape", SHAPES)
def test_no_name_of_a_reader_reaches_a_header(compiled, shape):
    for text in attacks(shape):
        assert_untouched(make_message(compiled, [1], name=text))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("field", ADDRESSES)
def test_a_sender_or_a_home_page_is_one_plain_address_or_nothing_is_opened(folder, field, shape):
    for text in attacks(shape):
        with pytest.raises(OperationError) as caught:
            make(folder, **ADDRESSES[field](text))
        assert_one_line(caught.value)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("good", ["", READER, "zoë@example.org"])
def test_an_address_that_is_more_than_one_costs_its_own_message_and_no_other(compiled, good, shape):
    before = make_message(compiled, [1])
    for text in attacks(shape):
        for address in (good + text, text + good):
            with pytest.raises(AddressError) as caught:
                compose_message(compiled, [1], make_reader(address=address))
            assert_one_line(caught.value)
    assert make_message(compiled, [1]) == before
    assert_untouched(before)


@pytest.mark.parametrize("is_utf8", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_no_address_reaches_beyond_its_path_in_the_envelope(shape, is_utf8):
    for text in attacks(shape):
        for address in (READER + text, text + READER, "zoë@example.org" + text):
            try:
                path = encode_path(address, is_utf8=is_utf8)
            except AddressError as error:
                assert_one_line(error)
            else:
                assert re.fullmatch(rb"<[^\x00-\x20<>\x7f]+@[^\x00-\x20<>\x7f]+>", path)
                assert path.decode().isprintable()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("field", ["unsubscribe_url", "preferences_url"])
def test_a_link_that_is_more_than_one_costs_its_own_message_and_no_other(compiled, field, shape):
    before = make_message(compiled, [1])
    for text in attacks(shape):
        for url in (f"{SITE}/unsubscribe/ {text}", text, text + SITE):
            with pytest.raises(OperationError) as caught:
                compose_message(compiled, [1], make_reader(**{field: url}))
            assert_one_line(caught.value)
    assert make_message(compiled, [1]) == before


def letter(*, to=READER, subject="Please confirm", name="", title="Tide", from_name=""):
    return build_letter(
        template="confirm",
        newsletter=make_newsletter(title=title, from_name=from_name),
        to=to,
        subject=subject,
        values={"confirm_url": f"{SITE}/confirm/abc", "home_url": f"{SITE}/", "name": name},
        date=OPENED_AT,
        message_id="<abc@example.org>",
        template_folders=(TEMPLATES,),
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_no_text_of_a_letter_reaches_beyond_its_header(shape):
    for text in attacks(shape):
        message = letter(subject=text, name=text, title=text, from_name=text)
        assert_untouched(message, LETTER_HEADERS)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_letter_goes_to_one_address_or_nowhere(shape):
    for text in attacks(shape):
        with pytest.raises(AddressError) as caught:
            letter(to=READER + text)
        assert_one_line(caught.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Subject: ", b"Bcc: eve@evil.example\r\nSubject: "),
        (b"Subject: ", b"To: eve@evil.example\r\nSubject: "),
        (b"Subject: ", b"\r\nSubject: "),
        (b"Subject: ", b"Subject: a\nBcc: eve@evil.example\r\n "),
        (b"Subject: ", b"Subject: =?utf-8?q?a=0ABcc:_eve=40evil.example?= "),
        (b"To: ada@example.com", b"To: ada@example.com, eve@evil.example"),
    ],
)
def test_the_assertions_would_notice(compiled, old, new):
    message = make_message(compiled, [1])
    assert old in message
    with pytest.raises(AssertionError):
        assert_untouched(message.replace(old, new, 1))
