"""What readers do, in a browser, from the front page until they leave."""

from __future__ import annotations

from typing import Any

import pytest

from subscribers.model import SubscriptionStatus
from syndicate.deliver.postbox import list_messages
from syndicate.model import Author
from syndicate.service.newsletters import NewsletterChanges, add_newsletter
from syndicate.storage.engine import writing
from syndicate.storage.newsletters import join_source
from tests.builders import add_article, add_source

HOSTILE = """"'></title></textarea><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7 * 7 }}"""


@pytest.fixture(params=[True, False], ids=["with-javascript", "without-javascript"])
def context_options(request: pytest.FixtureRequest) -> dict[str, object]:
    return {"java_script_enabled": request.param}


def test_from_the_front_page_to_leaving(visit: Any, context_options: dict[str, object]) -> None:
    page, site = visit.page, visit.website
    address = f"walker{int(bool(context_options['java_script_enabled']))}@example.com"

    visit.open(site.inst.urls.home())
    page.get_by_role("link", name="Tide & Timber").first.click()
    page.get_by_role("link", name="Why the Tide Comes Twice").first.click()
    assert page.locator("h1").inner_text() == "Why the Tide Comes Twice"
    page.get_by_label("E-mail address").fill("not-an-address@")
    page.get_by_label("E-mail address").evaluate("field => field.type = 'text'")  # past the browser's check
    page.get_by_role("button", name="Subscribe").click()
    assert page.get_by_role("alert").is_visible()
    page.get_by_label("E-mail address").fill(address)
    page.get_by_label("Woods").check()
    page.get_by_label("Name").fill("Walker")
    page.get_by_role("button", name="Subscribe").click()
    assert page.locator("h1").inner_text() == "Look into your inbox"
    assert visit.send_letters() >= 1  # others may have asked, too

    visit.open(site.inst.urls.postbox())
    page.get_by_role("link").filter(has_text=address).click()
    mail = page.frame_locator("iframe")
    with page.context.expect_page() as opened:
        mail.get_by_role("link", name="Confirm").click()
    page = opened.value
    assert page.locator("h1").inner_text() == "Confirm your subscription"
    assert site.subscription(address).status is SubscriptionStatus.PENDING
    page.get_by_role("button").click()
    assert page.locator("h1").inner_text() == "You are subscribed"
    assert site.subscription(address).status is SubscriptionStatus.ACTIVE
    assert site.subscription(address).topics == ("woods",)

    page.get_by_role("link", name="choose how often").click()
    assert page.get_by_label("Woods").is_checked()
    assert page.get_by_label("Name").input_value() == "Walker"
    page.get_by_label("Craft").check()
    page.get_by_label("Monthly").check()
    page.get_by_role("button", name="Save").click()
    page.get_by_role("link", name="Back to your preferences").click()
    assert page.get_by_label("Craft").is_checked()
    assert page.get_by_label("Monthly").is_checked()
    page.get_by_role("link", name="Unsubscribe").click()
    assert site.subscription(address).status is SubscriptionStatus.ACTIVE
    page.get_by_role("button", name="Unsubscribe").click()
    assert page.locator("h1").inner_text() == "You are unsubscribed"
    assert site.subscription(address).status is SubscriptionStatus.UNSUBSCRIBED
    assert [complaint for complaint in visit.complaints if "status of 422" not in complaint] == []


def test_hostile_titles_and_names_are_text(visit: Any, context_options: dict[str, object]) -> None:
    page, inst = visit.page, visit.website.inst
    slug = f"hostile-{int(bool(context_options['java_script_enabled']))}"
    newsletter = add_newsletter(
        inst, slug, NewsletterChanges(title=HOSTILE, description=HOSTILE, from_email="x@example.org")
    )
    now = visit.website.clock()
    with writing(inst.engine) as conn:
        source = add_source(conn, now, location=f"https://example.org/{slug}")
        join_source(conn, newsletter.id, source.id, from_sequence=0, now=now)
        add_article(
            conn,
            source.id,
            now,
            url="",
            title=HOSTILE,
            summary=HOSTILE,
            authors=(Author(name=HOSTILE),),
            tags=(HOSTILE,),
        )
    visit.open(inst.urls.home())
    assert page.get_by_text(HOSTILE).count() >= 3
    visit.open(inst.urls.newsletter(slug))
    page.locator("h3 a").click()
    assert page.locator("h1").inner_text() == HOSTILE
    page.get_by_role("link", name="onerror").last.click()  # its topic
    assert page.locator("h1").inner_text() == HOSTILE
    visit.open(inst.urls.newsletter(slug))
    page.get_by_label("E-mail address").fill(f"{slug}@example.com")
    page.locator("summary").click()
    page.get_by_label("Name").fill(HOSTILE)
    page.get_by_role("button", name="Subscribe").click()
    visit.send_letters()
    key = next(m.key for m in list_messages(visit.website.mails) if m.to == f"{slug}@example.com")
    visit.open(inst.urls.postbox_message(key))
    assert page.frame_locator("iframe").get_by_text("<script>alert(1)</script>").count() >= 1
    visit.open(inst.urls.postbox())
    assert visit.complaints == []
