import email
import email.policy
import hashlib
import html
import re
import shutil
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syndicate.digest.compile import compile_edition
from syndicate.digest.compiled import CompiledEdition
from syndicate.digest.compose import compose_message, plan_variant
from syndicate.digest.preview import extract_part
from syndicate.digest.selfcheck import check_message, read_parts
from syndicate.errors import AddressError, OperationError, UsageError
from tests.digest_builders import (
    TEMPLATES,
    make_article,
    make_articles,
    make_edition,
    make_message,
    make_newsletter,
    make_reader,
)
from tests.eml_checklist import check_eml
from tests.plain_composer import compose_plainly

HEADERS = [
    "To",
    "Message-ID",
    "List-Unsubscribe",
    "Subject",
    "From",
    "Date",
    "List-Id",
    "List-Unsubscribe-Post",
    "List-Post",
    "List-Archive",
    "Feedback-ID",
    "Precedence",
    "Auto-Submitted",
    "MIME-Version",
    "Content-Type",
]
ATTACKS = [
    "\r\nBcc: e@e.example",
    "a\0b\x85c\u2028d",
    "=?utf-8?q?=0ABcc:_e=40e.example?=",
    "<script>",
    "🌊" * 99,
]
GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "digest"
#: The readers for whom edition-format-1.sha256 has the messages that were made when it was stored.
STORED_FOR = {
    "named": {},
    "unnamed": {"name": ""},
    "accents": {"name": "Zoë  Ångström"},
    "markup": {"name": "<b>&\"'=?x?="},
    "long": {"name": "word " * 90},
    "idn": {"address": "a@bücher.example"},
    "odd-address": {"address": "-a&b=c'd@example.com"},
    "query": {"unsubscribe_url": "https://letters.example.org/u?a=1&b='"},
}
hostile = st.one_of(st.sampled_from(ATTACKS), st.text(max_size=80))


@pytest.fixture(scope="module")
def compiled():
    return compile_edition(make_edition())


@pytest.fixture(scope="module")
def stored():
    return CompiledEdition.from_bytes((GOLDEN / "edition-format-1.json").read_bytes())


def golden(name, message):
    """Compares with the file; to renew it after reading the difference, delete it and run the test twice."""
    path = GOLDEN / name
    if not path.exists():
        path.write_bytes(message)
        pytest.fail(f"{name} was missing and has been written; read it before you keep it")
    assert message == path.read_bytes()


def headers_of(message):
    return email.message_from_bytes(message, policy=email.policy.compat32)


def titles_in(message):
    return re.findall(r'<h3 class="headline"[^>]*><a[^>]*>(.*?)</a>', read_parts(message)["html"])


def test_a_finished_message_passes_the_whole_checklist(compiled):
    assert check_eml(make_message(compiled, [1, 2, 3, 4, 5])) == []


def test_a_right_to_left_letter_with_one_untopical_article_passes_it_too():
    newsletter = make_newsletter(title="البحر والخشب", language="ar", description="", topics=())
    compiled = compile_edition(make_edition([make_article()], newsletter=newsletter))
    message = make_message(compiled, [1], name="")
    assert check_eml(message) == []
    assert '<html lang="ar" dir="rtl">' in read_parts(message)["html"]


@settings(deadline=None)
@given(st.sets(st.sampled_from([1, 2, 3, 4, 5]), min_size=1))
def test_every_choice_of_articles_composes_to_exactly_those(compiled, chosen):
    message = make_message(compiled, sorted(chosen, reverse=True))
    parts = read_parts(message)
    for article in compiled.articles:
        url = f"https://letters.example.org/tide/articles/{article.id}"
        assert (url in parts["html"]) == (url in parts["plain"].split()) == (article.id in chosen)
    assert len(titles_in(message)) == len(chosen)
    assert titles_in(message) == [
        html.escape(a.title, quote=False) for a in compiled.articles if a.id in chosen
    ]
    count = "1 article" if len(chosen) == 1 else f"{len(chosen)} articles"
    assert f" · {count}\n" in parts["plain"]
    assert check_eml(message) == []


def test_a_section_is_headed_only_if_one_of_its_articles_is_shown(compiled):
    shown = read_parts(make_message(compiled, [2]))
    assert "== Craft ==" in shown["plain"]
    assert "== Coast ==" not in shown["plain"]
    assert ">Coast</h2>" not in shown["html"]


@settings(max_examples=30, deadline=None)
@given(hostile, hostile)
def test_no_name_or_title_adds_a_header_or_a_recipient(compiled, name, title):
    edition = make_edition([make_article(title=title or "x")], newsletter=make_newsletter(from_name=name))
    for message in (
        make_message(compiled, [1], name=name),
        make_message(compile_edition(edition), [1], name=name),
    ):
        assert headers_of(message).keys() == HEADERS
        assert headers_of(message)["To"] == "ada@example.com"
        assert check_message(message, unsubscribe_url=make_reader().unsubscribe_url) == []


@settings(deadline=None)
@given(hostile)
def test_a_readers_name_is_shown_as_it_is_or_not_at_all(compiled, name):
    parts = read_parts(make_message(compiled, [1], name=name))
    line = " ".join(re.sub("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+", " ", name).split(" ")).strip(" ")
    line = re.sub(" +", " ", line)
    greeting = f"Hello {line}," if line else "Hello,"
    assert f"\n{greeting}\n" in parts["plain"]
    assert html.escape(greeting, quote=False) in parts["html"]


def test_a_compiled_edition_survives_storing_with_the_same_bytes(compiled):
    blob = compiled.to_bytes()
    again = CompiledEdition.from_bytes(blob)
    assert again.to_bytes() == blob
    assert again.digest == compiled.digest
    for chosen in ([1], [2, 3], [1, 2, 3, 4, 5]):
        assert make_message(again, chosen) == make_message(compiled, chosen)


def test_compiling_twice_gives_the_same_bytes(compiled):
    assert compile_edition(make_edition(make_articles()[::-1])).to_bytes() == compiled.to_bytes()


def test_the_secret_is_not_in_the_blob(compiled):
    assert make_edition().secret.hex().encode() not in compiled.to_bytes()
    assert make_edition().secret not in compiled.to_bytes()


@pytest.mark.parametrize("blob", [b"", b"{}", b"[]", b'{"format":2}', b"\xff"])
def test_a_damaged_blob_is_refused(blob):
    with pytest.raises(OperationError, match="compiled edition"):
        CompiledEdition.from_bytes(blob)


def test_articles_beyond_the_size_that_gmail_shows_are_left_out_from_the_end():
    articles = [make_article(n, summary="word " * 60, tags=("Coast",)) for n in range(1, 121)]
    compiled = compile_edition(make_edition(articles))
    ids = tuple(a.id for a in compiled.articles)
    plan = plan_variant(compiled, ids)
    message = make_message(compiled, ids, name="&" * 400)
    assert plan.article_ids + plan.left_out == ids
    assert len(plan.left_out) > 10
    assert f"And {len(plan.left_out)} more" in read_parts(message)["html"]
    assert f"And {len(plan.left_out)} more" in read_parts(message)["plain"]
    assert f"{ids[-1]}" in {str(i) for i in plan.left_out}
    assert len(titles_in(message)) == len(plan.article_ids)
    assert 95_000 < len(extract_part(message, "html").replace(b"\n", b"\r\n")) <= 102_400
    assert check_eml(message) == []
    reader = make_reader(name="&" * 400)
    assert message == compose_plainly(compiled, ids, reader, shown=len(plan.article_ids))


def test_subject_and_preheader_belong_to_the_readers_own_choice(compiled):
    first, second = plan_variant(compiled, (1, 2)), plan_variant(compiled, (4,))
    assert first.subject == "Tide & Timber: Why the Tide Comes Twice and 1 more"
    assert second.subject == "Tide & Timber: Keeping a Rain Gauge"
    assert "Walls & Weather" in first.preheader
    assert first.preheader != second.preheader


@pytest.mark.parametrize("chosen", [[], [1, 99]])
def test_no_article_or_an_unknown_one_is_the_callers_mistake(compiled, chosen):
    with pytest.raises(ValueError, match="articles"):
        make_message(compiled, chosen)


def test_an_address_or_link_that_cannot_be_is_refused_alone(compiled):
    for address in (
        "no address",
        "a" * 65 + "@b.example",
        f"a@{'b' * 64}.example",
        "a@b..example",
        "a@b.example-",
    ):
        with pytest.raises(AddressError):
            make_message(compiled, [1], address=address)
    with pytest.raises(OperationError, match="javascript"):
        make_message(compiled, [1], unsubscribe_url="javascript:alert(1)")
    with pytest.raises(OperationError, match="javascript"):
        make_message(compiled, [1], preferences_url="javascript:alert(1)")


def test_an_international_address_is_mailed_at_its_a_label(compiled):
    message = make_message(compiled, [1], address="a@bücher.example")
    assert headers_of(message)["To"] == "a@xn--bcher-kva.example"
    assert "It was sent to a@bücher.example." in read_parts(message)["plain"]


def test_a_local_part_beyond_ascii_stands_in_to_as_it_is_and_nothing_else_does(compiled):
    message = make_message(compiled, [1], address="zoë.ångström@bücher.example")
    assert message.startswith("To: zoë.ångström@xn--bcher-kva.example\r\nMessage-ID: <".encode())
    assert message.partition(b"\r\n")[2].isascii()
    assert "It was sent to zoë.ångström@bücher.example." in read_parts(message)["plain"]
    assert check_message(message, unsubscribe_url=make_reader().unsubscribe_url) == []
    assert check_eml(message) == []


def test_the_pieces_of_a_message_are_all_of_it(compiled):
    message = compose_message(compiled, [1, 2], make_reader())
    variant, whole = message.variant, make_message(compiled, [1, 2])
    assert message.own_head + variant.head + b"\r\n" + b"".join(message.body) == whole
    assert b"".join(message.pieces(b"DKIM-Signature: x\r\n")) == b"DKIM-Signature: x\r\n" + whole
    assert message.to_bytes(b"DKIM-Signature: x\r\n") == b"DKIM-Signature: x\r\n" + whole
    assert message.size == len(whole)
    assert message.body[0] == variant.prefix
    assert re.findall(rb"(?m)^([\w-]+):", message.own_head) == [b"To", b"Message-ID", b"List-Unsubscribe"]
    assert variant.head.startswith(b"Subject: ")
    assert variant.head.endswith(b"\r\n")


def test_readers_of_the_same_articles_share_a_variant_and_its_beginning_holds_nothing_of_them(compiled):
    ada, bob = (
        compose_message(
            compiled, (1, 2), make_reader(subscriber_id=n, name=name, address=f"{name}@example.com")
        )
        for n, name in enumerate(("ada", "bob"))
    )
    assert ada.variant is bob.variant
    assert len({ada.variant, bob.variant}) == 1
    assert ada.body[0] is bob.body[0]
    assert compose_message(compiled, (1, 3), make_reader()).variant != ada.variant
    nameless = compose_message(compiled, (1, 2), make_reader(name=""))
    assert nameless.variant is not ada.variant
    assert len(nameless.variant.prefix) > len(ada.variant.prefix)


@pytest.fixture(scope="module")
def odd_folder(tmp_path_factory):
    """Templates that show values of readers and variants within articles, and in a part of a URL."""
    folder = tmp_path_factory.mktemp("odd") / "templates"
    shutil.copytree(TEMPLATES, folder)
    page = folder / "email" / "digest.html"
    own = (
        '<p class="summary">{{ reader.name }} {{ variant.count }} '
        '<a href="https://x.example/?a={{ reader.address }}&amp;p={{ variant.preheader }}" '
        'title="{{ reader.name }} {{ variant.subject }}">{{ variant.preheader }}</a></p>'
    )
    page.write_text(page.read_text().replace('<p class="summary">', own + '<p class="summary">'))
    return folder


def test_every_value_may_stand_anywhere_in_a_template_even_within_an_article(odd_folder):
    compiled = compile_edition(make_edition(template_folders=(odd_folder,)))
    for chosen in ([1], [1, 2], [3, 5]):
        plan = plan_variant(compiled, tuple(chosen))
        shown = read_parts(make_message(compiled, chosen, name="Ada & Bob", address="a+b@example.com"))[
            "html"
        ]
        found = re.findall(
            r'<p class="summary"[^>]*>Ada &amp; Bob (\d+) <a href="(.*?)" title="(.*?)">', shown
        )
        query = quote(plan.preheader, safe="")
        assert len(found) == len(chosen)
        for number, url, title in found:
            assert number == str(len(chosen))
            assert url.startswith(f"https://x.example/?a=a%2Bb%40example.com&amp;p={query}")
            assert title == f"Ada &amp; Bob {html.escape(plan.subject)}"


@pytest.fixture(scope="module")
def editions(odd_folder):
    """Of few and many articles, with short and long titles, in sections with more articles than a block."""
    titles = ["Tide", "", "What the tide left behind, part {n}", "“Ebbe & Flut” =?x?= " + "ü" * 40, "{n}"]
    many = [
        make_article(
            n, title=titles[n % 5].format(n=n), tags=("Coast" if n % 9 else "Craft",), summary="-. F" * n
        )
        for n in range(1, 21)
    ]
    lead = make_newsletter(subject_template="{{ lead }}", description="")
    numbered = make_newsletter(topics=(), subject_template="{{ count }} of {{ title }}: {{ lead }}")
    return [
        compile_edition(edition)
        for edition in (
            make_edition(),
            make_edition(many),
            make_edition(many, newsletter=numbered),
            make_edition(many[:9], newsletter=lead, template_folders=(odd_folder,)),
        )
    ]


@pytest.mark.parametrize(
    "changes",
    [
        *(
            {"name": name}
            for name in ("x" * 72, "x" * 73, "Ada " * 18, "Ada " * 200, "F", ".", "a=b", "A\\B", "Ada\n")
        ),
        *({"address": "a" * n + "@" + "b" * (62 - n) + ".example"} for n in (1, 8, 60)),
        *(
            {"address": address}
            for address in ("F@b.example", "a&b@b.example", "a@b--c.example", "a/b@c.example")
        ),
        *(
            {field: f"https://a.example/{'x' * (54 - shift)}{character}{'y' * more}"}
            for field in ("unsubscribe_url", "preferences_url")
            for shift in (0, 1)
            for character in "-F.x=&~"
            for more in (0, 60, 69, 70, 71, 800)
        ),
    ],
    ids=" ".join,
)
def test_the_short_way_for_usual_values_writes_what_the_long_one_does(compiled, changes):
    reader = make_reader(**changes)
    assert compose_message(compiled, [1], reader).to_bytes() == compose_plainly(compiled, [1], reader)


@settings(deadline=None)
@given(st.data())
def test_what_is_joined_and_kept_is_what_is_composed_plainly(editions, data):
    edition = data.draw(st.sampled_from(editions))
    ids = [article.id for article in edition.articles]
    chosen = data.draw(st.lists(st.sampled_from(ids), min_size=1, max_size=25))
    reader = make_reader(
        name=data.draw(
            st.sampled_from(["Ada", "", "Ada  B", "F", "-x", "Zoë", "a=b", "x" * 73, "O'Neil", " "]) | hostile
        ),
        address=data.draw(
            st.sampled_from(["ada@example.com", "F.a@b.example", "a'b=c&d@e.example", "zoë@b.example"])
        ),
        unsubscribe_url=data.draw(
            st.sampled_from(
                [make_reader().unsubscribe_url, "https://a.example/" + "-" * 99, "http://b.example/?a=b&c"]
            )
        ),
    )
    assert compose_message(edition, chosen, reader).to_bytes() == compose_plainly(edition, chosen, reader)


@pytest.mark.parametrize(
    "line", (GOLDEN / "edition-format-1.sha256").read_text("ascii").splitlines(), ids=lambda line: line[66:]
)
def test_an_edition_that_was_stored_by_an_earlier_version_is_sent_with_the_same_bytes(stored, line):
    digest, choice, kind = line.split()
    message = make_message(stored, [int(i) for i in choice.split("+")], **STORED_FOR[kind])
    assert hashlib.sha256(message).hexdigest() == digest


def test_a_message_is_the_same_to_the_byte_as_the_one_on_file(compiled):
    golden("weekly.eml", make_message(compiled, [1, 2, 3, 4, 5]))


def test_a_message_to_nobody_by_name_is_the_one_on_file(compiled):
    golden("one-article.eml", make_message(compiled, [4], name=""))


def test_preview_gives_the_message_or_one_of_its_parts(compiled):
    message = make_message(compiled, [1])
    assert extract_part(message, "eml") == message
    assert extract_part(message, "html").startswith(b"<!DOCTYPE html>")
    assert extract_part(message, "txt").startswith(b"Tide & Timber\n")
    with pytest.raises(UsageError, match="eml, html, txt"):
        extract_part(message, "pdf")
