import re
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syndicate.collect.parse_html import parse_html
from syndicate.collect.parse_markdown import parse_markdown
from syndicate.collect.parse_text import parse_text
from syndicate.errors import ParseError
from syndicate.model import Author, DateQuality

DATA = Path(__file__).parent.parent / "data"
LONDON = ZoneInfo("Europe/London")


def text(content, path="notes/one.txt"):
    return parse_text(content if isinstance(content, bytes) else content.encode(), path=path, zone=LONDON)


def markdown(content, path="notes/one.md"):
    article = parse_markdown(content.encode(), path=path, zone=LONDON)
    assert article is not None
    return article


def page(content, path="notes/one-page.html"):
    return parse_html(content.encode(), path=path, zone=LONDON)


def test_a_real_article_in_plain_text_gives_title_date_and_paragraphs():
    body = (DATA / "breaking-barriers-ketamine-therapy.txt").read_bytes()
    article = text(body, path="breaking-barriers-ketamine-therapy.txt")
    assert article.title == "Breaking Barriers Ketamine Therapy in Mental Health Treatment"
    assert (article.published_at, article.published_quality) == (
        datetime(2024, 2, 8, tzinfo=UTC),
        DateQuality.DAY,
    )
    assert article.content_html.count("<p>") == article.content_html.count("</p>") == 3
    assert article.content_html.startswith("<p>In recent years,")
    assert article.summary.startswith("In recent years,")
    assert len(article.summary) <= 300
    assert article.guid == "breaking-barriers-ketamine-therapy.txt"
    assert article.note == ""


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_any_line_end_and_a_mark_at_the_start_change_nothing(end, mark):
    article = text(
        mark + end.join(["Title", "", "Date: Feb 8, 2024", "By Ada Marsh", "", "One.", "", "Two & three."])
    )
    assert article.title == "Title"
    assert article.published_at == datetime(2024, 2, 8, tzinfo=UTC)
    assert article.authors == (Author(name="Ada Marsh"),)
    assert article.content_html == "<p>One.</p>\n<p>Two &amp; three.</p>"


def test_a_day_is_midnight_where_the_publication_is():
    assert text("T\n\n8 July 2024\n\nx").published_at == datetime(2024, 7, 7, 23, tzinfo=UTC)


def test_a_line_that_only_begins_like_a_date_belongs_to_the_text():
    article = text("Title\n\nFebruary 8, 2024 was cold.\n\nBy noon the ice had gone and we went home.")
    assert article.published_at is None
    assert article.published_quality is DateQuality.FIRST_SEEN
    assert article.content_html.count("<p>") == 2
    assert article.authors == ()


def test_a_first_line_that_is_a_whole_paragraph_is_no_title():
    article = text("word " * 60, path="notes/flat-paper_steep.txt")
    assert article.title == "flat paper steep"
    assert article.content_html.startswith("<p>word word")


def test_markup_in_plain_text_stays_text():
    article = text("<b>Title</b>\n\n<script>alert(1)</script>")
    assert article.title == "<b>Title</b>"
    assert article.content_html == "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>"


def test_text_in_an_old_encoding_is_read_and_noted():
    article = text("Café\n\nÀ bientôt".encode("cp1252"))
    assert article.title == "Café"
    assert "windows-1252" in article.note


@pytest.mark.parametrize("parse", [parse_text, parse_markdown, parse_html])
def test_an_empty_file_is_a_problem_that_names_itself(parse):
    with pytest.raises(ParseError, match=r"^notes/empty\.x: is empty$"):
        parse(b"\xef\xbb\xbf \n\n", path="notes/empty.x", zone=LONDON)


YAML = """---
title: 2024
date: 2024-02-08
lastmod: 2024-02-09 10:30
authors: [Ada, {name: Bo, email: bo@example.org, url: "https://bo.example/"}]
categories: Craft, Coast
description: Short.
lang: no
id: stable-id
canonical_url: https://example.org/posts/one
image: /cover.jpg
---
# Another heading

Text with a [link](two), an ![image](a.png) and <b>no markup</b>.
"""


def test_front_matter_in_yaml_is_text_and_never_guessed():
    article = markdown(YAML)
    assert article.title == "2024"
    assert article.language == "no"
    assert article.guid == "stable-id"
    assert article.published_at == datetime(2024, 2, 8, tzinfo=UTC)
    assert article.updated_at == datetime(2024, 2, 9, 10, 30, tzinfo=UTC)
    assert article.authors == (
        Author(name="Ada"),
        Author(name="Bo", email="bo@example.org", url="https://bo.example/"),
    )
    assert article.tags == ("Craft", "Coast")
    assert article.summary == "Short."
    assert article.url == "https://example.org/posts/one"
    assert article.image_url == "https://example.org/cover.jpg"
    assert "<h1>Another heading</h1>" in article.content_html
    assert 'href="https://example.org/posts/two"' in article.content_html
    assert 'src="https://example.org/posts/a.png"' in article.content_html
    assert "&lt;b&gt;no markup&lt;/b&gt;" in article.content_html


def test_front_matter_in_toml_says_the_same():
    article = markdown(
        '+++\ntitle = "T"\ndate = 2024-02-08T10:00:00+01:00\ntags = ["A", "B"]\nauthor = "Ada"\n+++\nText'
    )
    assert (article.title, article.tags, article.authors) == ("T", ("A", "B"), (Author(name="Ada"),))
    assert article.published_at == datetime(2024, 2, 8, 9, tzinfo=UTC)
    assert article.guid == "notes/one.md"


def test_a_first_heading_is_the_title_and_leaves_the_text():
    article = markdown("# A *good* title\n\nText.\n")
    assert (article.title, article.content_html) == ("A good title", "<p>Text.</p>")
    repeated = markdown("---\ntitle: a good  title\n---\n# A good title\n\nText.")
    assert repeated.content_html == "<p>Text.</p>"


def test_without_title_and_heading_the_name_of_the_file_stands_in():
    assert markdown("Text only.", path="notes/why-the-tide.md").title == "why the tide"


def test_tables_are_understood_and_dangerous_links_are_not():
    article = markdown("| a | b |\n|---|---|\n| 1 | [x](javascript:alert(1)) |\n")
    assert "<table>" in article.content_html
    assert "href" not in article.content_html


def test_images_and_links_beside_the_file_lose_their_address_with_a_note():
    article = markdown("See [here](other.md) and ![pic](pic.png) and ![web](https://example.org/w.png).")
    assert article.content_html == '<p>See here and  and <img src="https://example.org/w.png" alt="web">.</p>'
    assert article.note == "left out 1 image without a web address: pic.png"


@pytest.mark.parametrize("value", ["true", "True", "yes", "on"])
def test_a_draft_is_no_article_yet(value):
    assert parse_markdown(f"---\ndraft: {value}\n---\nx".encode(), path="a.md", zone=UTC) is None
    assert parse_markdown(b"+++\ndraft = true\n+++\nx", path="a.md", zone=UTC) is None


@pytest.mark.parametrize("head", ["published: false", "status: Draft", "draft: on\npublished: true"])
def test_what_other_tools_withhold_is_no_article_yet_either(head):
    assert parse_markdown(f"---\n{head}\n---\nx".encode(), path="a.md", zone=UTC) is None


@pytest.mark.parametrize(
    "head",
    [
        "published: true\npublishDate: 2024-02-08",
        "published: 2024-02-08",
        "created: 2024-02-08\nstatus: done",
        "pubDate: Feb 8, 2024\ndraft: false",
    ],
)
def test_other_names_of_a_date_are_understood_and_a_switch_is_none(head):
    assert markdown(f"---\n{head}\n---\nx").published_at == datetime(2024, 2, 8, tzinfo=UTC)


def test_tags_and_categories_are_taken_together():
    article = markdown("---\ntags: [Moth, Lamp]\ncategories: Coast, moth\ncategory: Night\n---\nx")
    assert article.tags == ("Moth", "Lamp", "Coast", "moth", "Night")


def test_a_rule_at_the_top_is_no_front_matter():
    assert markdown("---\n\nText, then\n\n---\n\nmore.").content_html.count("<hr>") >= 1


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("---\ntitle: T\ntags: [a, b\ndate: 2024-01-01\n---\nx", "line "),
        ("---\ntitle: 'T\n---\nx", "line "),
        ("---\ntitle: &a T\nsummary: *a\n---\nx", "line 3: YAML aliases are not allowed"),
        ("---\n- a\n- b\n---\nx", "line 2: the front matter has to be lines like 'title: ...'"),
        ("---\ntitle: T\n\nText without an end", "line 1: the front matter is not closed by '---'"),
        ("+++\ntitle = T\n+++\nx", "line 2: "),
        ("---\ntitle: " + "x" * 17_000 + "\n---\nx", "line 1: the front matter is larger than 16384 bytes"),
        ("---\na: " + "[" * 8_000 + "\n---\nx", "line "),
        ("---\ndate: 02/08/2024\n---\nx", "line 2: the date '02/08/2024' is none; write it like 2024"),
        ("---\ntitle: T\nlastmod: soon\n---\nx", "line 3: the updated 'soon' is none"),
        ('+++\ntitle = "T"\n"date" = "soon"\n+++\nx', "line 3: the date 'soon' is none"),
    ],
)
def test_a_mistake_in_front_matter_names_file_and_place_in_one_line(head, message):
    with pytest.raises(ParseError) as caught:
        markdown(head, path="notes/bad.md")
    assert str(caught.value).startswith(f"notes/bad.md: {message}")
    assert "\n" not in str(caught.value)


def test_the_line_of_a_yaml_mistake_is_the_line_of_the_file():
    with pytest.raises(ParseError, match=r"notes/one\.md: line 3:"):
        markdown("---\ntitle: T\nbad: [a}\n---\nx")
    with pytest.raises(ParseError, match=r"notes/one\.md: line 3:"):
        markdown('+++\ntitle = "T"\nbad = [a}\n+++\nx')


WHOLE = """<!DOCTYPE html>
<html lang="en-GB"><head><meta charset="utf-8"><title>A Light – The Site</title>
<meta name="author" content="Ada Marsh"><meta name="description" content="About a light.">
<meta name="keywords" content="Coast, Craft"><meta property="og:title" content="A Light">
<meta property="article:published_time" content="2024-02-08T09:00:00+01:00">
<meta property="og:image" content="/i/light.jpg"><link rel="canonical" href="https://example.org/light">
</head><body><nav>Menu</nav><main><article><h1>A light</h1>
<p>Published on <time datetime="2024-02-08">8 February</time></p>
<p onclick="x()">It turns. <a href="/more">More</a></p></article></main><footer>Foot</footer></body></html>"""


def test_of_a_whole_page_only_the_article_is_taken():
    article = page(WHOLE)
    assert article.content_html == (
        '<p>It turns. <a href="https://example.org/more" rel="noopener noreferrer">More</a></p>'
    )
    assert (article.title, article.summary, article.language) == ("A Light", "About a light.", "en-GB")
    assert (article.authors, article.tags) == ((Author(name="Ada Marsh"),), ("Coast", "Craft"))
    assert article.published_at == datetime(2024, 2, 8, 8, tzinfo=UTC)
    assert (article.url, article.image_url) == (
        "https://example.org/light",
        "https://example.org/i/light.jpg",
    )
    assert article.guid == "notes/one-page.html"


def test_a_fragment_is_taken_as_it_is():
    article = page(
        "<h1>Moth &amp; lamp</h1>Words <b>here</b> and <time datetime='2024-02-08'>then</time>."
        "<img src='m.png'>"
    )
    assert article.title == "Moth & lamp"
    assert article.content_html.startswith("Words <b>here</b>")
    assert "1 image" in article.note


def test_a_time_within_a_long_sentence_is_no_date_of_publication():
    story = "It was a long and cold night, and nobody slept, since the lamp had gone out at sea again, on "
    assert page(f"<p>{story}<time datetime='2004-02-08'>that day</time>.</p>").published_at is None


def test_a_page_without_article_and_main_gives_its_body():
    article = page("<html><head><title>Only title</title></head><body><p>Body.</p></body></html>")
    assert (article.title, article.content_html) == ("Only title", "<p>Body.</p>")


FURNISHED = """<html><head><title>A light</title></head><body>
<div id="menu"><ul><li><a href="/">Start</a></li><li><a href="/about">About</a></li></ul></div>
<div id="content"><h1>A light</h1><p>{}</p>
<ul><li>One thing of it is this, and it is told in a line.</li><li>Another.</li></ul>
<p>And then the long winter comes with its storms.</p></div>
<div class="footer">Copyright 2024. <a href="/imprint">Imprint</a></div></body></html>"""
STORY = (
    "It turns over the sea, all night long, and nobody is awake to see it but the keeper of the light. " * 4
)


def test_of_a_page_with_menus_around_it_the_main_text_is_taken():
    article = page(FURNISHED.format(STORY))
    assert "It turns over the sea" in article.content_html
    assert "Another." in article.content_html
    assert "About" not in article.content_html
    assert "Imprint" not in article.content_html
    assert (article.title, "<h1>" in article.content_html) == ("A light", False)


def test_a_page_in_an_old_encoding_is_read_by_its_own_label():
    body = '<html><head><meta charset="koi8-r"><title>Маяк</title></head><body>x</body></html>'.encode(
        "koi8-r"
    )
    assert parse_html(body, path="a.html", zone=UTC).title == "Маяк"


def test_an_xhtml_page_with_a_declaration_is_read():
    article = page(
        '<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml"><body>é</body></html>'
    )
    assert article.content_html == "é"


@settings(max_examples=60)
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode("utf-8", "replace")))
@pytest.mark.parametrize("parse", [parse_text, parse_markdown, parse_html])
def test_no_file_makes_a_parser_fail_in_another_way(parse, body):
    try:
        article = parse(body, path="a.x", zone=LONDON)
    except ParseError:
        return
    assert article is None or (article.title and article.guid == "a.x")


@settings(max_examples=100)
@given(st.text("-\n: [{&*!'\"abc,|>#%@`", max_size=60), st.sampled_from(["---", "+++"]))
def test_no_front_matter_makes_it_fail_in_another_way(block, fence):
    try:
        parse_markdown(f"{fence}\n{block}\n{fence}\ntext".encode(), path="a.md", zone=LONDON)
    except ParseError as error:
        message = str(error)
    else:
        message = "a.md: "
    assert re.fullmatch(r"a\.md: .*", message)
