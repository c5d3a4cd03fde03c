"""Every page in a browser: it fits, the keyboard gets everywhere, and no rule of accessibility is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from subscribers.tokens import CONFIRM_LIFETIME
from syndicate.deliver.postbox import list_messages
from syndicate.service.newsletters import NewsletterChanges, add_newsletter
from syndicate.storage.engine import writing
from syndicate.storage.newsletters import join_source
from tests.browser.conftest import Visit
from tests.builders import add_article, add_source
from tests.web_site import SLUG, Website

WIDTHS = (375, 600, 1200)
LONG_WORD = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"


def subscribe_with(email: str) -> Callable[[Visit], None]:
    def post(visit: Visit) -> None:
        visit.open(visit.website.inst.urls.newsletter(SLUG))
        visit.page.locator("form.subscribe").evaluate("form => form.noValidate = true")
        visit.page.get_by_label("E-mail address").fill(email)
        visit.page.get_by_role("button", name="Subscribe").click()

    return post


def opened(path: Callable[[Website], str], *, button: str = "") -> Callable[[Visit], None]:
    def open_it(visit: Visit) -> None:
        visit.open(path(visit.website))
        if button:
            visit.page.get_by_role("button", name=button).click()

    return open_it


def path_of(site: Website, slug: str, article_id: int) -> str:
    return f"{site.inst.urls.newsletter(slug)}articles/{article_id}-x"


def expired(site: Website) -> str:
    then = site.clock() - CONFIRM_LIFETIME - timedelta(days=1)
    subscription = site.subscription("pia@example.com")
    return site.inst.urls.confirm(site.inst.links.confirm(subscription.id, now=then))


def digest_key(site: Website) -> str:
    return max(list_messages(site.mails), key=lambda mail: mail.size_bytes).key


PAGES: dict[str, Callable[[Visit], None]] = {
    "home": opened(lambda site: site.inst.urls.home()),
    "newsletter": opened(lambda site: site.inst.urls.newsletter(SLUG)),
    "second page": opened(lambda site: site.inst.urls.page(site.inst.urls.newsletter("long"), 2)),
    "empty newsletter": opened(lambda site: site.inst.urls.newsletter("empty")),
    "newsletter from the right": opened(lambda site: site.inst.urls.newsletter("bahr")),
    "topic": opened(lambda site: site.inst.urls.topic(SLUG, "night-sky")),
    "article": opened(lambda site: path_of(site, SLUG, 1)),
    "article with everything": opened(lambda site: path_of(site, SLUG, 13)),
    "article from the right": opened(lambda site: path_of(site, "bahr", 15)),
    "editions": opened(lambda site: site.inst.urls.editions(SLUG)),
    "no editions": opened(lambda site: site.inst.urls.editions("empty")),
    "edition": opened(lambda site: site.inst.urls.edition(SLUG, 1)),
    "subscribed": subscribe_with("page@example.com"),
    "subscribe again": subscribe_with("nobody@"),
    "confirm": opened(lambda site: site.confirm_path("pia@example.com")),
    "confirmed": opened(lambda site: site.confirm_path("pia@example.com"), button="Yes"),
    "preferences": opened(lambda site: site.preferences_path("ada@example.com")),
    "preferences of who has left": opened(lambda site: site.preferences_path("leo@example.com")),
    "preferences saved": opened(lambda site: site.preferences_path("ada@example.com"), button="Save"),
    "unsubscribe": opened(lambda site: site.unsubscribe_path("bob@example.com")),
    "unsubscribed": opened(lambda site: site.unsubscribe_path("leo@example.com"), button="Unsubscribe"),
    "expired": opened(expired),
    "no link of ours": opened(lambda site: site.inst.urls.confirm("nonsense")),
    "not found": opened(lambda site: site.inst.urls.newsletter("nowhere")),
    "postbox": opened(lambda site: site.inst.urls.postbox()),
    "mail": opened(lambda site: site.inst.urls.postbox_message(digest_key(site))),
}


@pytest.fixture(scope="module", autouse=True)
def _more_newsletters(live: Website) -> None:
    """One with nothing in it, one with many articles and long words, one that is read from the right."""
    now, inst = live.clock(), live.inst
    add_newsletter(inst, "empty", NewsletterChanges(from_email="a@example.org"))
    for slug, title, language, count in (
        ("bahr", "رسائل البحر", "ar", 3),
        ("long", f"{LONG_WORD} & {LONG_WORD}", "de", 25),
    ):
        changes = NewsletterChanges(
            title=title, description=title, language=language, topics=(title,), from_email="a@example.org"
        )
        newsletter = add_newsletter(inst, slug, changes)
        with writing(inst.engine) as conn:
            source = add_source(conn, now, location=f"https://example.org/{slug}")
            join_source(conn, newsletter.id, source.id, from_sequence=0, now=now)
            for number in range(count):
                text = f"{title} {number}"
                body = f"<h3>{text}</h3><p>{text}</p><pre>{text * 5}</pre><table><tr><td>{text}</table>"
                add_article(
                    conn,
                    source.id,
                    now,
                    url="",
                    title=text,
                    summary=text,
                    content_html=body,
                    tags=(title,),
                    language=language,
                )


@pytest.fixture
def pages(browser: Browser, live: Website) -> Iterator[Callable[..., Visit]]:
    contexts = []

    def new(**options: Any) -> Visit:
        context = browser.new_context(**options)
        context.set_default_timeout(15_000)
        contexts.append(context)
        return Visit(context.new_page(), live)

    yield new
    for context in contexts:
        context.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_every_width_and_no_browser_complains(pages: Callable[..., Visit], name: str) -> None:
    visit = pages()
    PAGES[name](visit)
    for width in WIDTHS:
        visit.page.set_viewport_size({"width": width, "height": 800})
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width, width
    kept = [c for c in visit.complaints if "the server responded with a status of" not in c]
    assert kept == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_breaks_no_rule_of_accessibility(pages: Callable[..., Visit], name: str) -> None:
    visit = pages(viewport={"width": 1200, "height": 900})
    PAGES[name](visit)
    for scheme in ("light", "dark"):
        visit.page.emulate_media(color_scheme=scheme)
        found = Axe().run(visit.page)
        assert found.violations_count == 0, f"{scheme}: {found.generate_report()}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["newsletter", "article", "preferences", "subscribe again", "mail"])
def test_whatever_the_keyboard_reaches_shows_that_it_is_reached(
    pages: Callable[..., Visit], name: str, scheme: str
) -> None:
    visit = pages(color_scheme=scheme, viewport={"width": 900, "height": 900})
    PAGES[name](visit)
    page, reached = visit.page, 0
    while reached < 200:
        page.keyboard.press("Tab")
        focused = page.evaluate(
            """() => {
                const element = document.activeElement, style = getComputedStyle(element);
                const box = element.getBoundingClientRect();
                return {
                    name: element.outerHTML.slice(0, 120), tag: element.tagName,
                    outline: style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth),
                    width: box.width, height: box.height, top: box.top,
                };
            }"""
        )
        if focused["tag"] == "BODY":
            break
        reached += 1
        if focused["tag"] != "IFRAME":
            assert focused["outline"] >= 2, focused
        assert focused["width"] >= 10, focused
        assert focused["height"] >= 10, focused
        assert -1 <= focused["top"] < 900, focused
    assert 5 < reached < 200


def test_the_first_key_offers_to_skip_to_the_content(pages: Callable[..., Visit]) -> None:
    visit = pages()
    PAGES["newsletter"](visit)
    skip = visit.page.get_by_role("link", name="Skip")
    visit.page.keyboard.press("Tab")
    assert skip.evaluate(
        "link => link === document.activeElement && link.getBoundingClientRect().height > 20"
    )
    visit.page.keyboard.press("Enter")
    assert visit.page.evaluate("document.activeElement.id") == "main"


def test_a_page_prints_without_its_forms_and_navigation(pages: Callable[..., Visit]) -> None:
    visit = pages()
    PAGES["article"](visit)
    visit.page.emulate_media(media="print")
    assert not visit.page.locator("form").first.is_visible()
    assert not visit.page.locator("header.site nav").is_visible()
    assert visit.page.locator(".prose").is_visible()


def test_digits_and_commas_are_in_the_same_face_as_the_letters(pages: Callable[..., Visit]) -> None:
    visit = pages()
    PAGES["edition"](visit)
    assert "13" in visit.page.locator("h1").inner_text()
    protocol = visit.page.context.new_cdp_session(visit.page)
    protocol.send("DOM.enable")
    protocol.send("CSS.enable")
    root = protocol.send("DOM.getDocument")["root"]["nodeId"]
    heading = protocol.send("DOM.querySelector", {"nodeId": root, "selector": "h1"})["nodeId"]
    fonts = protocol.send("CSS.getPlatformFontsForNode", {"nodeId": heading})["fonts"]
    assert len({font["familyName"] for font in fonts}) == 1, fonts


def test_no_page_asks_for_anything_from_elsewhere(pages: Callable[..., Visit]) -> None:
    visit = pages()
    asked: list[str] = []
    visit.page.on("request", lambda request: asked.append(request.url))
    for name in ("home", "newsletter", "preferences", "edition", "postbox"):
        PAGES[name](visit)
    own = visit.website.inst.urls.absolute("/")
    assert [url for url in asked if not url.startswith(own)] == []
    assert any(url.endswith("site.css") for url in asked)
