"""Every page is rendered once for each state of the world, and each rule is asked of all of them."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import html

from subscribers.model import Cadence
from syndicate.errors import TemplateError
from syndicate.model import Article, Author, DateQuality, Enclosure, Newsletter, Origin, UncertainPolicy
from syndicate.publish.archive import PageRenderer
from syndicate.publish.cards import (
    ArticleCard,
    ArticleSection,
    EditionCard,
    NewsletterCard,
    Pagination,
    PostboxCard,
    PostboxMessage,
    PreferencesForm,
    SiteInfo,
    SubscribeForm,
)

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "templates"
STYLESHEET = TEMPLATES / "web" / "static" / "site.css"
SITE = SiteInfo(title="Coast Press", url="https://press.example.org/read")
AT = datetime(2026, 3, 14, 23, 30, tzinfo=UTC)
HOSTILE = """"'></title></textarea><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7 * 7 }} &amp;"""
PUBLIC = {"home", "newsletter", "topic", "article", "editions", "edition"}
WITHOUT_NEWSLETTER = {"link_problem", "error", "postbox", "postbox_message"}


def make_newsletter(**changes: Any) -> Newsletter:
    values: dict[str, Any] = {
        "id": 1,
        "slug": "tide",
        "title": "Tide & Timber",
        "description": "Small observations from the shore.",
        "language": "en-GB",
        "from_name": "Tide",
        "from_email": "tide@example.org",
        "reply_to": "",
        "postal_address": "1 Quay Street",
        "subject_template": "{{ title }}",
        "topics": ("Coast", "Night sky"),
        "time_zone": "Europe/Berlin",
        "uncertain_policy": UncertainPolicy.HOLD,
        "content_version": 1,
        "changed_at": AT,
        "cadences": tuple(Cadence),
        "created_at": AT,
    }
    return Newsletter(**values | changes)


def make_article(**changes: Any) -> Article:
    values: dict[str, Any] = {
        "id": 7,
        "sequence": 7,
        "source_id": 1,
        "guid": "g",
        "atom_id": "tag:example.org,2026:7",
        "slug": "why-the-tide-comes-twice",
        "url": "",
        "title": "Why the tide comes twice",
        "content_html": "<p>The Moon pulls on the sea.</p>",
        "summary": "The second rise is the puzzling one.",
        "authors": (Author(name="A. Writer"),),
        "tags": ("Coast",),
        "language": "",
        "image_url": "",
        "enclosures": (),
        "published_at": AT,
        "published_quality": DateQuality.GIVEN,
        "updated_at": AT,
        "first_seen_at": AT,
        "content_hash": "",
        "revision": 1,
        "origin": Origin.NEW,
    }
    return Article(**values | changes)


@cache
def renderer(site: SiteInfo = SITE) -> PageRenderer:
    return PageRenderer([TEMPLATES], site)


def all_pages(
    text: str = "",
    *,
    site: SiteInfo = SITE,
    newsletter: Newsletter | None = None,
    article: Article | None = None,
) -> dict[str, str]:
    """Each page, with ``text`` wherever somebody else's words go."""
    pages, letter, item = renderer(site), newsletter or make_newsletter(), article or make_article()
    card = ArticleCard(article=item, url="/read/tide/articles/7-why")
    edition = EditionCard(id=3, subject=text or "News", opened_at=AT, url="/read/tide/editions/3", count=1)
    problems = {"email": text or "Not an address.", "cadence": text or "Unknown.", "": text or "Too fast."}
    mail = PostboxCard(key="k 1", recipient=text, sender=text, subject=text, received_at=AT)
    message = PostboxMessage(card=mail, headers=((text or "To", text),), text=text or "Hello", has_html=True)
    wish = PreferencesForm(
        email=text or "a@example.org", is_active=True, name=text, cadence=Cadence.DAILY, topics=frozenset()
    )
    form = SubscribeForm(email=text, name=text)
    return {
        "home": pages.home([NewsletterCard(newsletter=letter, latest=(card,))]),
        "newsletter": pages.newsletter(letter, [card], [edition], {"coast": 1}, Pagination(number=1, last=2)),
        "topic": pages.topic(letter, "coast", [card]),
        "article": pages.article(letter, item, previous=card, following=card),
        "editions": pages.editions(letter, [edition]),
        "edition": pages.edition(letter, edition, [ArticleSection(label=text or "Coast", articles=(card,))]),
        "subscribe_received": pages.subscribe_received(letter),
        "subscribe_problem": pages.subscribe_problem(letter, form, problems),
        "confirm_ask": pages.confirm_ask(letter, action_url="/read/confirm/t"),
        "confirm_done": pages.confirm_done(letter, preferences_url="/read/preferences/t"),
        "unsubscribe_ask": pages.unsubscribe_ask(
            letter, action_url="/read/unsubscribe/t", preferences_url="/p"
        ),
        "unsubscribe_done": pages.unsubscribe_done(letter),
        "preferences": pages.preferences(
            letter, wish, action_url="/p", unsubscribe_url="/u", problems=problems
        ),
        "preferences_saved": pages.preferences_saved(letter, preferences_url="/read/preferences/t"),
        "link_problem": pages.link_problem(is_expired=False),
        "link_expired": pages.link_problem(is_expired=True, newsletter=letter),
        "error": pages.error(404, text or "Not here", text or "There is no such page."),
        "postbox": pages.postbox([mail]),
        "postbox_message": pages.postbox_message(message),
    }


PAGES = all_pages()
every_page = pytest.mark.parametrize("name", PAGES)


def parse(page: str) -> html.HtmlElement:
    return html.document_fromstring(page)


def texts(page: str, path: str) -> list[str]:
    return [" ".join(str(e.text_content()).split()) for e in parse(page).xpath(path)]


def heading_levels(page: str) -> list[int]:
    return [int(e.tag[1]) for e in parse(page).xpath("//h1|//h2|//h3|//h4|//h5|//h6")]


@every_page
def test_a_page_has_a_language_a_title_one_heading_of_the_first_level_and_its_landmarks(name: str) -> None:
    page = parse(PAGES[name])
    assert page.get("lang")
    assert page.get("dir") == "ltr"
    assert [
        len(page.xpath(path)) for path in ("//head/title", "//h1", "//main", "//header[@class='site']")
    ] == [1] * 4
    assert page.findtext("head/title")
    assert PAGES[name].startswith("<!doctype html>")


@every_page
def test_headings_never_skip_a_level(name: str) -> None:
    levels = heading_levels(PAGES[name])
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


@every_page
def test_a_page_holds_nothing_that_its_policy_forbids(name: str) -> None:
    page = parse(PAGES[name])
    assert not page.xpath("//script|//style|//base|//object|//embed|//svg")
    assert not [a for e in page.iter() for a in e.attrib if a == "style" or a.startswith("on")]
    assert not [u for _, _, u, _ in page.iterlinks() if u.lower().startswith(("javascript:", "data:"))]


@every_page
def test_each_field_has_a_label_and_no_id_comes_twice(name: str) -> None:
    page = parse(PAGES[name])
    fields = page.xpath("//input[not(@type='hidden')]")
    assert all(
        field.xpath("ancestor::label") or page.xpath(f"//label[@for='{field.get('id')}']") for field in fields
    )
    ids = page.xpath("//@id")
    assert len(ids) == len(set(ids))
    assert {
        i for joined in page.xpath("//@aria-labelledby|//@aria-describedby") for i in joined.split()
    } <= set(ids)


@every_page
def test_a_page_about_a_newsletter_names_its_feeds_in_every_format(name: str) -> None:
    links = {
        (e.get("type"), e.get("href")) for e in parse(PAGES[name]).xpath("//head/link[@rel='alternate']")
    }
    feeds = {
        ("application/rss+xml", "/read/tide/feed.xml"),
        ("application/atom+xml", "/read/tide/atom.xml"),
        ("application/feed+json", "/read/tide/feed.json"),
    }
    assert (feeds <= links) is (name not in WITHOUT_NEWSLETTER)


@every_page
def test_only_the_archive_is_meant_for_search_engines_and_for_links(name: str) -> None:
    page = parse(PAGES[name])
    canonical = page.xpath("//link[@rel='canonical']/@href")
    shared = page.xpath("//meta[@property='og:url']/@content")
    is_hidden = bool(page.xpath("//meta[@name='robots'][contains(@content, 'noindex')]"))
    assert canonical == shared
    assert len(canonical) == (1 if name in PUBLIC else 0)
    assert all(url.startswith("https://press.example.org/read/") for url in canonical)
    assert is_hidden is (name not in PUBLIC)


@every_page
def test_links_within_the_site_stay_below_its_own_prefix(name: str) -> None:
    given = {"/p", "/u"}
    paths = [u for _, _, u, _ in parse(PAGES[name]).iterlinks() if u.startswith("/") and u not in given]
    assert paths
    assert all(path.startswith("/read/") for path in paths)


@every_page
def test_words_of_others_stay_words(name: str) -> None:
    newsletter = make_newsletter(title=HOSTILE, description=HOSTILE, topics=(HOSTILE,))
    article = make_article(
        title=HOSTILE,
        summary=HOSTILE,
        authors=(Author(name=HOSTILE),),
        tags=(HOSTILE,),
        language=HOSTILE,
        slug=HOSTILE,
        url="javascript://example.org/%0aalert(3)",
        image_url=f"https://example.org/{HOSTILE}",
        enclosures=(Enclosure(url="javascript://example.org/%0aalert(4)", type=HOSTILE),),
    )
    site = SiteInfo(title=HOSTILE, url=SITE.url)
    page = all_pages(HOSTILE, site=site, newsletter=newsletter, article=article)[name]
    tree = parse(page)
    assert not tree.xpath("//script|//*[@onerror]|//img[@src='x']")
    assert not [u for _, _, u, _ in tree.iterlinks() if u.startswith("javascript:")]
    assert "<script" not in page
    assert "{{ 7 * 7 }}" in page
    assert len(tree.xpath("//h1")) == 1


@settings(max_examples=40, deadline=None)
@given(title=st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=40))
def test_any_title_reads_on_the_page_as_it_was_written(title: str) -> None:
    page = renderer().article(make_newsletter(), make_article(title=title))
    assert parse(page).xpath("string(//h1)") == title
    assert parse(page).xpath("string(//meta[@property='og:title']/@content)") == title


def test_pages_with_nothing_to_show_say_so() -> None:
    pages, bare = renderer(), make_newsletter(title="Bare", description="", topics=(), cadences=())
    said = {
        pages.home([]): "There is no newsletter here yet.",
        pages.home([NewsletterCard(newsletter=bare)]): "Nothing published yet.",
        pages.newsletter(bare, [], [], {}): "None sent yet.",
        pages.topic(bare, "tide-pools", []): "Nothing published on this topic yet.",
        pages.editions(bare, []): "None sent yet.",
        pages.edition(bare, EditionCard(id=1, subject="", opened_at=AT, url="/", count=0), []): "nothing in",
        pages.postbox([]): "No mail yet.",
    }
    for page, sentence in said.items():
        assert sentence in page
        assert len(parse(page).xpath("//h1")) == 1


def test_an_article_without_anything_but_a_title_is_a_page() -> None:
    bare = make_article(content_html="", summary="", authors=(Author(name=""),), tags=())
    page = renderer().article(make_newsletter(), bare)
    assert texts(page, "//h1") == ["Why the tide comes twice"]
    assert " by " not in " ".join(texts(page, "//article/header"))


def test_a_message_without_subject_or_parts_still_has_a_page() -> None:
    card = PostboxCard(key="k", recipient="", sender="", subject="", received_at=AT)
    page = renderer().postbox_message(PostboxMessage(card=card, headers=(), text="", has_html=False))
    assert texts(page, "//h1") == ["(no subject)"]
    assert not parse(page).xpath("//iframe|//pre")


def test_the_html_of_a_mail_is_framed_without_scripts_or_our_origin() -> None:
    (frame,) = parse(PAGES["postbox_message"]).xpath("//iframe")
    assert frame.get("src") == "/read/postbox/k%201/html"
    assert set(frame.get("sandbox").split()) == {"allow-popups", "allow-popups-to-escape-sandbox"}


def test_the_content_of_an_article_goes_out_as_it_was_sanitised() -> None:
    content = '<p>Tea &amp; <em>toast</em>, <a href="https://example.org/?a=1&amp;b=2">here</a></p>'
    assert content in renderer().article(make_newsletter(), make_article(content_html=content))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([2, 3, 2], [2, 3, 2]),
        ([1, 2, 1], [2, 3, 2]),
        ([3, 5, 5, 3], [2, 3, 3, 2]),
        ([4, 3], [2, 2]),
        ([1, 2, 3, 4, 5, 6], [2, 3, 4, 5, 6, 6]),
        ([], []),
    ],
)
def test_headings_in_an_article_begin_below_its_title_and_skip_no_level(
    given: list[int], expected: list[int]
) -> None:
    content = "".join(f'<h{n} lang="en">Part</h{n}><p>Text</p>' for n in given)
    page = renderer().article(make_newsletter(), make_article(content_html=content))
    article = parse(page).xpath("//div[@class='prose']")[0]
    assert [int(e.tag[1]) for e in article.iter("h1", "h2", "h3", "h4", "h5", "h6")] == expected
    assert [f"</h{n}>" for n in expected] == re.findall(r"</h\d>", page.split('class="prose"')[1])[
        : len(expected)
    ]


def test_an_article_from_elsewhere_points_to_its_original() -> None:
    page = renderer().article(make_newsletter(), make_article(url="https://www.example.org/tide"))
    assert parse(page).xpath("//link[@rel='canonical']/@href") == ["https://www.example.org/tide"]
    assert texts(page, "//article/footer/p")[0] == "First published at example.org."


def test_an_article_of_our_own_is_its_own_original() -> None:
    page = PAGES["article"]
    expected = "https://press.example.org/read/tide/articles/7-why-the-tide-comes-twice"
    assert parse(page).xpath("//link[@rel='canonical']/@href") == [expected]
    assert "First published" not in page


def test_an_articles_topics_lead_to_their_pages_once_each_in_the_operators_words() -> None:
    page = renderer().article(make_newsletter(), make_article(tags=("night  SKY", "Night sky", "Tea/time")))
    links = [(e.text_content(), e.get("href")) for e in parse(page).xpath("//a[@rel='tag']")]
    assert links == [
        ("Night sky", "/read/tide/topics/night-sky/"),
        ("Tea/time", "/read/tide/topics/tea-time/"),
    ]


@pytest.mark.parametrize(
    ("url", "is_shown"), [("https://example.org/a.png", True), ("http://example.org/a.png", False)]
)
def test_an_image_is_shown_only_from_where_the_policy_allows(url: str, *, is_shown: bool) -> None:
    page = parse(renderer().article(make_newsletter(), make_article(image_url=url)))
    assert bool(page.xpath("//p[@class='opening']/img")) is is_shown
    assert bool(page.xpath("//meta[@property='og:image']")) is is_shown


def test_an_image_that_is_in_the_text_is_not_shown_twice() -> None:
    url = "https://example.org/a.png?b=1&c=2"
    content = '<p><img src="https://example.org/a.png?b=1&amp;c=2" alt=""></p>'
    page = parse(renderer().article(make_newsletter(), make_article(image_url=url, content_html=content)))
    assert len(page.xpath("//img")) == 1


def test_a_day_is_the_day_in_the_newsletters_own_zone() -> None:
    times = parse(PAGES["article"]).xpath("//article//time")
    assert [(t.text, t.get("datetime")) for t in times] == [("15 March 2026", "2026-03-15T00:30:00+01:00")]


def test_a_change_is_dated_only_if_it_came_on_another_day() -> None:
    later = make_article(revision=2, updated_at=datetime(2026, 4, 1, 12, tzinfo=UTC))
    same_day = replace(later, updated_at=AT)
    assert "changed" in texts(renderer().article(make_newsletter(), later), "//article/header")[0]
    assert "changed" not in texts(renderer().article(make_newsletter(), same_day), "//article/header")[0]


def test_a_newsletter_written_from_the_right_has_pages_that_begin_there() -> None:
    newsletter = make_newsletter(language="ar", title="أمواج")
    pages = all_pages(newsletter=newsletter)
    for name in ("newsletter", "topic", "article", "editions", "edition"):
        assert (parse(pages[name]).get("lang"), parse(pages[name]).get("dir")) == ("ar", "rtl")
    assert parse(pages["newsletter"]).xpath("//main//form/@dir") == ["ltr"]


@pytest.mark.parametrize(
    ("language", "expected"),
    [("ar", "rtl"), ("he-IL", "rtl"), ("ku-Arab", "rtl"), ("ar-Latn", "ltr"), ("de", "ltr"), ("x y", "ltr")],
)
def test_an_article_in_another_language_says_so_and_runs_its_own_way(language: str, expected: str) -> None:
    page = parse(renderer().article(make_newsletter(language="de"), make_article(language=language)))
    assert page.get("lang") == "de"
    (article,) = page.xpath("//article")
    assert article.get("dir") == expected
    assert article.get("lang") == (language if language != "x y" else "de")


def test_a_form_keeps_what_was_sent_and_marks_what_is_wrong() -> None:
    form = SubscribeForm(email="ada@", name="Ada", cadence=Cadence.WEEKLY, topics=frozenset({"night-sky"}))
    page = parse(renderer().subscribe_problem(make_newsletter(), form, {"email": "Something is missing."}))
    assert page.xpath("//input[@name='email']/@value") == ["ada@"]
    assert page.xpath("//input[@name='name']/@value") == ["Ada"]
    assert page.xpath("//input[@name='cadence'][@checked]/@value") == ["weekly"]
    assert page.xpath("//input[@name='topics'][@checked]/@value") == ["night-sky"]
    assert page.xpath("//*[@aria-invalid]/@name") == ["email"]
    assert page.xpath("string(//*[@id='problem-email'])") == "Something is missing."
    assert page.xpath("//*[@role='alert']//a/@href") == ["#field-email"]
    assert page.xpath("//form[@method='post']/@action") == ["/read/tide/subscribe"]


def test_the_first_cadence_is_chosen_until_somebody_chooses() -> None:
    newsletter = make_newsletter(cadences=(Cadence.WEEKLY, Cadence.DAILY))
    page = parse(renderer().newsletter(newsletter, [], [], {}))
    assert page.xpath("//input[@name='cadence']/@value") == ["weekly", "daily"]
    assert page.xpath("//input[@name='cadence'][@checked]/@value") == ["weekly"]


def test_a_newsletter_with_one_cadence_and_no_topics_asks_for_neither() -> None:
    newsletter = make_newsletter(cadences=(Cadence.MONTHLY,), topics=())
    page = parse(renderer().newsletter(newsletter, [], [], {}))
    assert page.xpath("//input[@name='cadence'][@type='hidden']/@value") == ["monthly"]
    assert not page.xpath("//fieldset")


@pytest.mark.parametrize(
    ("name", "action"), [("confirm_ask", "/read/confirm/t"), ("unsubscribe_ask", "/read/unsubscribe/t")]
)
def test_to_confirm_or_to_leave_takes_the_press_of_a_button(name: str, action: str) -> None:
    page = parse(PAGES[name])
    assert page.xpath("//form[@method='post'][.//button]/@action") == [action]
    assert action not in page.xpath("//a/@href")


def test_pages_of_a_list_are_linked_and_each_has_its_own_address() -> None:
    page = renderer().newsletter(make_newsletter(), [], [], {}, Pagination(number=2, last=3))
    tree = parse(page)
    assert tree.xpath("//a[@rel='prev']/@href") == ["/read/tide/"]
    assert tree.xpath("//a[@rel='next']/@href") == ["/read/tide/page/3/"]
    assert tree.xpath("//link[@rel='canonical']/@href") == ["https://press.example.org/read/tide/page/2/"]
    assert "page 2" in tree.findtext("head/title")


def test_a_topic_page_has_feeds_of_its_own_before_those_of_the_newsletter() -> None:
    hrefs = parse(PAGES["topic"]).xpath("//head/link[@rel='alternate']/@href")
    assert hrefs[0] == "/read/tide/topics/coast/feed.xml"
    assert hrefs[3] == "/read/tide/feed.xml"


def test_topics_are_listed_in_the_operators_order_if_there_is_something_in_them() -> None:
    page = renderer().newsletter(make_newsletter(), [], [], {"night-sky": 9, "coast": 1, "tea": 5})
    assert texts(page, "//nav[@aria-label='Topics']//a") == ["Coast", "Night sky"]
    assert (
        texts(renderer().newsletter(make_newsletter(), [], [], {"tea": 5}), "//nav[@aria-label='Topics']//a")
        == []
    )


def test_a_newsletter_that_offers_no_topics_shows_those_used_most() -> None:
    page = renderer().newsletter(make_newsletter(topics=()), [], [], {"rare": 1, "low-tide": 8})
    assert texts(page, "//nav[@aria-label='Topics']//a") == ["low tide", "rare"]


def folder_with(folder: Path, name: str, template: str) -> PageRenderer:
    (folder / "web").mkdir()
    (folder / "web" / name).write_text(template, encoding="utf-8")
    return PageRenderer([folder, TEMPLATES], SITE)


def test_an_operators_template_goes_before_the_one_that_comes_along(tmp_path: Path) -> None:
    pages = folder_with(
        tmp_path,
        "error.html",
        '{% extends "web/notice.html" %}\n{% block text %}<p class="mine">{{ text }}</p>{% endblock %}',
    )
    page = pages.error(404, "Gone fishing", "Back <soon>.")
    assert '<p class="mine">Back &lt;soon&gt;.</p>' in page
    assert texts(page, "//h1") == ["Gone fishing"]
    assert texts(pages.editions(make_newsletter(), []), "//h1") == ["Editions"]


@pytest.mark.parametrize(
    ("template", "line"),
    [
        ("line\n{% if %}", 2),
        ("line\nline\n{{ nobody.knows }}", 3),
        ("line\n{{ nobody }}", 2),
        ("line\n{{ head.title + 1 }}", 2),
        ("{% block a %}\n{{ status | nonsense }}\n{% endblock %}", 2),
        ("\n\n{{ 1 / 0 }}", 3),
    ],
)
def test_a_broken_template_is_named_with_its_line(tmp_path: Path, template: str, line: int) -> None:
    pages = folder_with(tmp_path, "error.html", template)
    with pytest.raises(TemplateError) as caught:
        pages.error(404, "Not here", "There is no such page.")
    assert (caught.value.template, caught.value.line) == ("web/error.html", line)
    assert "\n" not in str(caught.value)


def test_a_mistake_in_a_shared_part_is_named_there(tmp_path: Path) -> None:
    pages = folder_with(tmp_path, "notice.html", "<h1>\n{{ hed.title }}</h1>{% block text %}{% endblock %}")
    with pytest.raises(TemplateError) as caught:
        pages.error(404, "Not here", "There is no such page.")
    assert (caught.value.template, caught.value.line) == ("web/notice.html", 2)


def test_a_template_that_is_nowhere_is_named(tmp_path: Path) -> None:
    pages = folder_with(tmp_path, "error.html", '{% extends "web/nowhere.html" %}')
    with pytest.raises(TemplateError, match=r"web/nowhere\.html: is in none of the folders"):
        pages.error(404, "Not here", "There is no such page.")


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1, 2], ids=["light", "dark", "print"])
def test_text_and_edges_stand_out_from_what_is_behind_them(scheme: int) -> None:
    blocks = re.findall(r":root \{(.*?)\}", STYLESHEET.read_text(encoding="utf-8"), re.DOTALL)
    colours: dict[str, str] = {}
    for block in blocks[:1] if scheme == 0 else (blocks[0], blocks[scheme]):
        colours |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
    for ink in ("ink", "soft", "accent", "accent-deep"):
        for ground in ("paper", "raised", "tint"):
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)  # WCAG 2.2, 1.4.3
    assert contrast(colours["on-accent"], colours["accent"]) >= 4.5
    assert contrast(colours["bad"], colours["raised"]) >= 4.5
    assert contrast(colours["edge"], colours["paper"]) >= 3  # WCAG 2.2, 1.4.11: the edge of a field


def test_the_stylesheet_knows_start_and_end_but_not_left_and_right() -> None:
    css = STYLESHEET.read_text(encoding="utf-8")
    assert not re.findall(r"(?:margin|padding|border)-(?:left|right)|float:|[{;]\s*(?:left|right):", css)
    assert "@media print" in css
    assert "prefers-color-scheme: dark" in css
