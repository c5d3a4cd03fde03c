from pathlib import Path

import pytest

from syndicate.collect.page_links import MAX_LINKS, list_page_links
from syndicate.collect.pages import PageLink
from syndicate.errors import ParseError

PAGES = Path(__file__).parent.parent / "golden" / "pages"
URL = "https://lantern.example/"
FRONT = (PAGES / "front.html").read_bytes()
HARBOUR = "https://lantern.example/2026/11/harbour-tides"


def links(document, *, selector="", url=URL):
    body = document if isinstance(document, bytes) else f"<html><body>{document}</body></html>".encode()
    return list_page_links(body, url=url, content_type="text/html; charset=utf-8", selector=selector)


def urls(document, **options):
    return [link.url for link in links(document, **options)]


def test_the_stories_of_a_front_page_are_found_and_nothing_else():
    assert links(FRONT) == (
        PageLink(url=HARBOUR, title="Why the harbour empties twice a day"),
        PageLink(
            url="https://www.lantern.example/2026/11/night-ferry?utm_source=front",
            title="The night ferry and its one passenger",
        ),
        PageLink(url="https://lantern.example/recipes/seaweed-soup", title="Seaweed soup"),
        PageLink(
            url="https://lantern.example/2026/10/lighthouse-keepers-last-night",
            title="The lighthouse keeper's last night",
        ),
        PageLink(url="https://lantern.example/story.php?id=48213", title="Nets, knots and a needle of bone"),
    )


def test_the_page_of_one_article_gives_only_the_link_in_its_text():
    assert urls((PAGES / "tides.html").read_bytes(), url=HARBOUR) == [
        "https://lantern.example/2025/03/harbour-office-library"
    ]


@pytest.mark.parametrize("wrapper", ["has-sidebar no-footer", "page related-layout", "with_menu"])
def test_a_wrapper_that_is_named_after_a_part_hides_nothing(wrapper):
    listed = '<h2><a href="/2026/11/what-the-mud-remembers">What the mud remembers</a></h2>'
    assert len(urls(f'<div class="{wrapper}">{listed}<p>{listed}</p></div>')) == 1


@pytest.mark.parametrize(
    "beside",
    [
        'div class="sidebar"',
        'div id="comments"',
        'ul class="nav-menu"',
        "nav",
        "footer",
        'div role="navigation"',
    ],
)
def test_what_stands_beside_the_content_is_not_in_it(beside):
    story = "<h2><a href='/2026/11/{0}'>What the mud remembers of {0}</a></h2>"
    page = f"<{beside}>{story.format('old-times')}</{beside.split()[0]}>" + "".join(
        story.format(name) for name in ("one", "two")
    )
    assert [url.rpartition("/")[2] for url in urls(page)] == ["one", "two"]


def test_headlines_in_scripts_without_capital_letters_or_spaces_count():
    page = """<ul><li><a href="/2026/05/bees">نحل في وسط المدينة الكبيرة</a></li>
    <li><a href="/archives/48213">夜のフェリーとただ一人の乗客</a></li></ul>"""
    assert urls(page) == [f"{URL}2026/05/bees", f"{URL}archives/48213"]


@pytest.mark.parametrize(
    "place", ["/tag/sea", "/authors/mara-quill-of-westhaven", "/page/2", "/impressum.html"]
)
def test_the_address_of_a_list_or_a_service_is_no_article(place):
    assert urls(f'<h2><a href="{place}">Something that reads like a headline</a></h2>') == []


def test_links_are_relative_to_the_base_of_the_page():
    page = (
        '<base href="https://lantern.example/blog/"><h2><a href="one-two-three">One two three four</a></h2>'
    )
    assert urls(page) == ["https://lantern.example/blog/one-two-three"]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("main .list li:first-child a", ["https://lantern.example/2026/10/lighthouse-keepers-last-night"]),
        ("article.card > h2", [HARBOUR]),
        ("a[href*='elsewhere']", ["https://elsewhere.example/2026/11/a-long-story-from-elsewhere"]),
        ("a[href^='mailto:'], .nothing", []),
    ],
)
def test_a_selector_picks_links_or_what_holds_them_wherever_they_lead(selector, expected):
    assert urls(FRONT, selector=selector) == expected


def test_a_picked_link_that_only_says_more_has_the_title_of_its_headline():
    (link,) = links(
        '<div class="x"><a href="/a"><img src="i.png"></a><a href="/a">The night ferry</a>'
        '<a href="/a#rest">Read more</a></div>',
        selector=".x a",
    )
    assert link == PageLink(url=f"{URL}a", title="The night ferry")


@pytest.mark.parametrize("selector", ["h2 >", "a:foo", "::before", "a[", "x|y|z", "{}"])
def test_a_selector_that_cannot_be_read_is_named_in_one_line(selector):
    with pytest.raises(ParseError) as caught:
        links(FRONT, selector=selector)
    assert caught.value.reason == "bad_selector"
    assert f"'{selector}'" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "reason"), [(b"", "empty"), (b"%PDF-1.7 \xe2\xe3", "not_html"), (b'{"a": 1}', "not_html")]
)
def test_what_is_no_page_is_refused(body, reason):
    with pytest.raises(ParseError) as caught:
        list_page_links(body, url=URL, content_type="application/x-thing", selector="")
    assert caught.value.reason == reason


def test_a_hostile_page_gives_an_answer():
    deep = "<div>" * 5_000 + '<h2><a href="/2026/11/deep-down">Deep down in the page</a></h2>'
    assert len(urls(deep)) <= 1
    many = "".join(
        f'<h3><a href="/2026/11/story-number-{n}">Story number {n} of many</a></h3>' for n in range(1_500)
    )
    assert len(urls(many)) == MAX_LINKS
