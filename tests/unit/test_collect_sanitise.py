import re
from html.parser import HTMLParser

import nh3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndicate.collect.sanitise import (
    SCHEMES,
    TAGS,
    clean_text,
    excerpt,
    first_words,
    plain_text,
    relative_images,
    sanitise,
    shorten,
    text_to_html,
)
from syndicate.collect.settled import is_settled

BASE = "https://example.org/posts/one"

# Joined at random: what opens, closes, hides and mixes up elements.
TOKENS = re.findall(
    r"<[^>]*>|\S+",
    """<p> </p> <div> </div> <a href="x"> <a href='javascript:alert(1)'> </a> <img src=x onerror=alert(1)>
    <pre> </pre> <table> <tr> <td> </table> <svg> </svg> <math> <mi> <mtext> </math> <style> </style> <script>
    </script> <noscript> <iframe src="https://www.youtube.com/embed/a1"> </iframe> <title> </title> <!-- -->
    <![CDATA[ ]]> <b> </b> <i> <form> <select> <option> <textarea> </textarea> <template> <plaintext> <p/
    &lt; &amp; &nbsp; &#13; &#0; &#11; " ' = < > / x on""",
)
PIECES = st.sampled_from([*TOKENS, "\n", "\r", "\x0b", "\x00", "\ud800", "\xa0", " ", "\ufffe"])
MARKUP = st.lists(PIECES, max_size=25).map("".join) | st.text(max_size=60)

# Well nested, as nh3 writes: what may stand in what is the question.
LEAVES = st.sampled_from(
    ["x", "a &amp; b", "\n", "<br>", "<hr>", '<img src="https://example.org/i.png">', "\r", " "]
)
NESTS = st.sampled_from(sorted(TAGS - {"br", "hr", "img"}))
TREES = st.recursive(
    LEAVES,
    lambda inner: st.builds(
        lambda tag, parts: f'<{tag} href="https://example.org/">{"".join(parts)}</{tag}>',
        NESTS,
        st.lists(inner, max_size=3),
    ),
    max_leaves=12,
)


class Elements(HTMLParser):
    """The elements and attributes of some HTML, as the standard library reads them."""

    def __init__(self, markup):
        super().__init__()
        self.found = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, attrs))


@given(MARKUP | st.lists(TREES, max_size=3).map("".join))
def test_sanitising_what_was_sanitised_changes_nothing(markup):
    once = sanitise(markup, base_url=BASE)
    assert sanitise(once, base_url=BASE) == once
    without_base = sanitise(markup)
    assert sanitise(without_base) == without_base


@given(MARKUP)
def test_nothing_but_the_listed_elements_ever_comes_out(markup):
    clean = sanitise(markup, base_url=BASE)
    seen = Elements(clean)
    assert {tag for tag, _ in seen.found} <= TAGS
    attributes = [pair for _, pairs in seen.found for pair in pairs]
    assert {name for name, _ in attributes} <= {"alt", "href", "rel", "src"}
    assert all(url.partition(":")[0] in SCHEMES for name, url in attributes if name in {"href", "src"})
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]", clean)


@given(MARKUP)
def test_plain_text_is_one_line_that_a_document_can_hold(markup):
    text = plain_text(markup)
    assert text == " ".join(text.split())
    text.encode()


@pytest.mark.parametrize(
    ("markup", "clean"),
    [
        ("<p onclick=x class=y id=z style='color:red'>a</p>", "<p>a</p>"),
        ("<script>alert(1)</script>a<style>b</style>", "a"),
        ("<svg><script>alert(1)</script></svg><math><mi>x</mi></math>a", "a"),
        ('<a href="javascript:alert(1)">a</a>', "a"),
        ('<a href="java&#10;script:alert(1)">a</a>', "a"),
        ('<a href="irc://example.org/x">a</a>', "a"),
        ('<img src="data:image/png;base64,AAAA">a', "a"),
        ('<img src="https://example.org/t.gif" width="1" height="1">a', "a"),
        ("<img alt='nothing'>a", "a"),
        ("<form><input name=q><button>go</button>a</form>", "a"),
        ("<iframe src='https://ads.example.net/x'></iframe>a", "a"),
        ("<noscript><img src='https://example.org/x.png'></noscript>a", "a"),
        ("a\x0bb\x00c\ud800d", "abcd"),
        ("<pre>\n\n\nkept</pre>", "<pre>kept</pre>"),
    ],
)
def test_what_may_not_be_shown_goes_and_the_words_stay(markup, clean):
    assert sanitise(markup, base_url=BASE) == clean


@pytest.mark.parametrize(
    ("markup", "url"),
    [
        ('<a href="two">a</a>', "https://example.org/posts/two"),
        ('<a href="/two">a</a>', "https://example.org/two"),
        ('<a href="//example.net/x">a</a>', "https://example.net/x"),
        ('<a href="#note">a</a>', "https://example.org/posts/one#note"),
        ('<a href="a b">a</a>', "https://example.org/posts/a%20b"),
        ('<img src="../i.png">', "https://example.org/i.png"),
        ('<a href="mailto:a@example.org">a</a>', "mailto:a@example.org"),
        ('<a href="tel:+441234">a</a>', "tel:+441234"),
    ],
)
def test_urls_come_out_absolute(markup, url):
    assert f'="{url}"' in sanitise(markup, base_url=BASE)


def test_without_a_base_a_relative_link_is_its_text_and_a_relative_image_goes():
    assert sanitise('<p><a href="x.html">see</a> <img src="x.png">this</p>') == "<p>see this</p>"


def test_every_link_keeps_the_reader_to_himself():
    assert 'rel="noopener noreferrer"' in sanitise('<a href="https://example.org" rel="opener">a</a>')


@pytest.mark.parametrize(
    ("frame", "page"),
    [
        ("https://www.youtube.com/embed/a-1_b?autoplay=1", "https://www.youtube.com/watch?v=a-1_b"),
        ("https://www.youtube-nocookie.com/embed/a1", "https://www.youtube.com/watch?v=a1"),
        ("https://player.vimeo.com/video/12345", "https://vimeo.com/12345"),
    ],
)
def test_a_video_frame_becomes_a_link_to_its_page(frame, page):
    clean = sanitise(f'<iframe src="{frame}"><script>alert(1)</script></iframe>')
    assert clean == f'<p><a href="{page}" rel="noopener noreferrer">{page}</a></p>'


def test_markup_that_nests_without_end_is_reduced_to_its_words_at_once():
    assert sanitise("<div>" * 200_000 + "words &amp; more") == "words &amp; more"
    assert plain_text("<b>" * 200_000 + "words") == "words"


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("Ben &amp; Jerry", "Ben & Jerry"),
        ("a &amp;lt; b", "a &lt; b"),
        ("<b>Bold</b> <script>x</script>move", "Bold move"),
        ("<p>one</p><p>two</p>", "one two"),
        ("one<br>two", "one two"),
        ("in<i>side</i>", "inside"),
        (" a \n\t b\xa0c ", "a b c"),
        ("1 < 2", "1 < 2"),
    ],
)
def test_plain_text_takes_tags_out_and_decodes_once(markup, text):
    assert plain_text(markup) == text


def test_an_excerpt_is_cut_between_two_words():
    assert excerpt("<p>one two three</p>", limit=300) == "one two three"
    assert shorten("one two, three", limit=11) == "one two…"
    assert shorten("a" * 50, limit=10) == "a" * 9 + "…"


@given(st.text(), st.integers(2, 50))
def test_shortened_text_never_exceeds_its_limit(text, limit):
    assert len(shorten(text, limit)) <= limit


def test_plain_text_becomes_paragraphs_with_everything_escaped():
    assert (
        text_to_html("one <b>\nstill one\n\n\ntwo & three")
        == "<p>one &lt;b&gt;\nstill one</p>\n<p>two &amp; three</p>"
    )
    assert text_to_html("one\ntwo") == "<p>one</p>\n<p>two</p>"
    assert text_to_html("  \n ") == ""


def test_urls_in_plain_text_become_links_without_the_full_stop():
    assert text_to_html("See https://example.org/a?b=1&c=2.") == (
        '<p>See <a href="https://example.org/a?b=1&amp;c=2">https://example.org/a?b=1&amp;c=2</a>.</p>'
    )
    assert "javascript" not in re.findall(r'href="([^"]*)"', text_to_html("javascript:alert(1) http://x.org"))


def test_characters_that_xml_forbids_and_half_characters_go():
    assert clean_text("a\x08\x1f\ufffe\udfffb\tc\n\U0001f600") == "ab\tc\n\U0001f600"


def test_images_beside_the_file_are_found_and_others_are_not():
    markup = '<img src="a.png"><img src="https://example.org/b.png"><a href="c.png">c</a><img src="/d.png">'
    assert relative_images(markup) == ("a.png", "/d.png")


@given(st.lists(TREES, max_size=3).map("".join) | MARKUP)
def test_what_counts_as_settled_is_read_back_as_it_stands(markup):
    cleaner = nh3.Cleaner(tags=set(TAGS), attributes={"a": {"href"}, "img": {"src"}}, link_rel=None)
    once = re.sub("<pre>\n+", "<pre>", cleaner.clean(clean_text(markup)))
    if is_settled(once):
        assert cleaner.clean(once) == once


@pytest.mark.parametrize(
    "markup",
    [
        "",
        "words",
        "<p>one <em>two</em> <a href='/x'>three</a><br>four</p>\n<p>five</p>",
        "<ul><li>one</li><li><p>two</p><ol><li>three</li></ol></li></ul>",
        "<dl><dt>a</dt><dd>b</dd></dl><pre><code>x</code></pre><hr>",
        "<blockquote><h2>a</h2><figure><img src='/i.png'><figcaption>b</figcaption></figure></blockquote>",
    ],
)
def test_usual_markup_is_settled_after_one_pass(markup):
    assert is_settled(sanitise(markup, base_url=BASE))


@pytest.mark.parametrize(
    "markup",
    [
        "<a>x<a>y</a></a>",
        "<p>x<div>y</div></p>",
        "<table></table>",
        "<li>x</li>",
        "<h1><h2>x</h2></h1>",
        "a\rb",
        "<p>x<hr></p>",
        "</p>",
        "<p>",
        "<ul><b><li>x</li></b></ul>",
        "<b>" * 200 + "</b>" * 200,
    ],
)
def test_what_might_be_read_in_another_way_is_not_settled(markup):
    assert not is_settled(markup)


@given(MARKUP | st.lists(TREES, max_size=3).map("".join))
def test_the_first_words_of_clean_markup_are_its_excerpt(markup):
    clean = sanitise(markup * 8, base_url=BASE)
    assert first_words(clean, 40) == excerpt(clean, 40)
