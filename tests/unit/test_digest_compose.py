import email
import email.policy
import html
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syndicate.digest.compile import compile_edition
from syndicate.digest.compiled import CompiledEdition
from syndicate.digest.compose import compose_message, plan_variant
from syndicate.digest.preview import extract_part
from syndicate.digest.selfcheck import check_message, read_parts
from syndicate.errors import AddressError, OperationError, UsageError
from tests.digest_builders import make_article, make_articles, make_edition, make_newsletter, make_reader
from tests.eml_checklist import check_eml

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
hostile = st.one_of(st.sampled_from(ATTACKS), st.text(max_size=80))


@pytest.fixture(scope="module")
def compiled():
    return compile_edition(make_edition())


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
    assert check_eml(compose_message(compiled, [1, 2, 3, 4, 5], make_reader())) == []


def test_a_right_to_left_letter_with_one_untopical_article_passes_it_too():
    newsletter = make_newsletter(title="البحر والخشب", language="ar", description="", topics=())
    compiled = compile_edition(make_edition([make_article()], newsletter=newsletter))
    message = compose_message(compiled, [1], make_reader(name=""))
    assert check_eml(message) == []
    assert '<html lang="ar" dir="rtl">' in read_parts(message)["html"]


@settings(deadline=None)
@given(st.sets(st.sampled_from([1, 2, 3, 4, 5]), min_size=1))
def test_every_choice_of_articles_composes_to_exactly_those(compiled, chosen):
    message = compose_message(compiled, sorted(chosen, reverse=True), make_reader())
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
    shown = read_parts(compose_message(compiled, [2], make_reader()))
    assert "== Craft ==" in shown["plain"]
    assert "== Coast ==" not in shown["plain"]
    assert ">Coast</h2>" not in shown["html"]


@settings(max_examples=30, deadline=None)
@given(hostile, hostile)
def test_no_name_or_title_adds_a_header_or_a_recipient(compiled, name, title):
    edition = make_edition([make_article(title=title or "x")], newsletter=make_newsletter(from_name=name))
    for message in (
        compose_message(compiled, [1], make_reader(name=name)),
        compose_message(compile_edition(edition), [1], make_reader(name=name)),
    ):
        assert headers_of(message).keys() == HEADERS
        assert headers_of(message)["To"] == "ada@example.com"
        assert check_message(message, unsubscribe_url=make_reader().unsubscribe_url) == []


@settings(deadline=None)
@given(hostile)
def test_a_readers_name_is_shown_as_it_is_or_not_at_all(compiled, name):
    parts = read_parts(compose_message(compiled, [1], make_reader(name=name)))
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
        assert compose_message(again, chosen, make_reader()) == compose_message(
            compiled, chosen, make_reader()
        )


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
    message = compose_message(compiled, ids, make_reader(name="&" * 400))
    assert plan.article_ids + plan.left_out == ids
    assert len(plan.left_out) > 10
    assert f"And {len(plan.left_out)} more" in read_parts(message)["html"]
    assert f"And {len(plan.left_out)} more" in read_parts(message)["plain"]
    assert f"{ids[-1]}" in {str(i) for i in plan.left_out}
    assert len(titles_in(message)) == len(plan.article_ids)
    assert 95_000 < len(extract_part(message, "html").replace(b"\n", b"\r\n")) <= 102_400
    assert check_eml(message) == []


def test_subject_and_preheader_belong_to_the_readers_own_choice(compiled):
    first, second = plan_variant(compiled, (1, 2)), plan_variant(compiled, (4,))
    assert first.subject == "Tide & Timber: Why the Tide Comes Twice and 1 more"
    assert second.subject == "Tide & Timber: Keeping a Rain Gauge"
    assert "Walls & Weather" in first.preheader
    assert first.preheader != second.preheader


@pytest.mark.parametrize("chosen", [[], [1, 99]])
def test_no_article_or_an_unknown_one_is_the_callers_mistake(compiled, chosen):
    with pytest.raises(ValueError, match="articles"):
        compose_message(compiled, chosen, make_reader())


def test_an_address_or_link_that_cannot_be_is_refused_alone(compiled):
    with pytest.raises(AddressError):
        compose_message(compiled, [1], make_reader(address="zoë@example.org"))
    with pytest.raises(OperationError, match="javascript"):
        compose_message(compiled, [1], make_reader(unsubscribe_url="javascript:alert(1)"))
    with pytest.raises(OperationError, match="javascript"):
        compose_message(compiled, [1], make_reader(preferences_url="javascript:alert(1)"))


def test_an_international_address_is_mailed_at_its_a_label(compiled):
    message = compose_message(compiled, [1], make_reader(address="a@bücher.example"))
    assert headers_of(message)["To"] == "a@xn--bcher-kva.example"
    assert "It was sent to a@bücher.example." in read_parts(message)["plain"]


def test_a_message_is_the_same_to_the_byte_as_the_one_on_file(compiled):
    golden("weekly.eml", compose_message(compiled, [1, 2, 3, 4, 5], make_reader()))


def test_a_message_to_nobody_by_name_is_the_one_on_file(compiled):
    golden("one-article.eml", compose_message(compiled, [4], make_reader(name="")))


def test_preview_gives_the_message_or_one_of_its_parts(compiled):
    message = compose_message(compiled, [1], make_reader())
    assert extract_part(message, "eml") == message
    assert extract_part(message, "html").startswith(b"<!DOCTYPE html>")
    assert extract_part(message, "txt").startswith(b"Tide & Timber\n")
    with pytest.raises(UsageError, match="eml, html, txt"):
        extract_part(message, "pdf")
