"""What collecting makes of each kind of source, and of what the operator says about it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from syndicate.errors import CollectError, StateError, UsageError
from syndicate.model import FullText, Newsletter, Origin, SourceKind, SourceState
from syndicate.service.collecting import (
    Collector,
    SourceReport,
    collect_due,
    collect_source,
    count_due,
)
from syndicate.service.held import dismiss_held, list_held, release_held
from syndicate.service.installation import Installation
from syndicate.service.media import list_media, media_file
from syndicate.service.opml import FeedFate, export_opml, import_opml
from syndicate.service.pushing import PushedArticle, push_articles
from syndicate.service.sources import add_source, change_source, get_source, make_options
from syndicate.storage import articles, newsletters
from syndicate.storage.engine import reading, writing
from tests.builders import add_newsletter, add_reader
from tests.builders import add_source as store_source
from tests.feed_site import FeedSite, feed_site
from tests.installation_builders import FakeClock, make_installation

ARTICLE = """<!doctype html>
<html lang="en"><head><title>{title} | Shore Notes</title>
<meta property="og:title" content="{title}"><meta name="author" content="Iris Vale">
<meta property="og:image" content="/{name}.jpg"><meta property="article:published_time"
content="2026-03-{day:02}T08:00:00Z"></head><body><nav><a href="/">Home</a> <a href="/about">About</a></nav>
<main><article><h1>{title}</h1>{paragraphs}</article></main>
<footer>All rights reserved</footer></body></html>"""
PARAGRAPH = (
    "<p>The tide at {title} turned shortly after six, and whoever stood on the wall could watch the boats "
    "swing round on their moorings, one after the other, as if somebody had called them to order.</p>"
)
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360f8cf500f0003840180"
    "5f3e6f0a0000000049454e44ae426082"
)


@pytest.fixture
def site() -> Iterator[FeedSite]:
    with feed_site() as site:
        yield site


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def inst(engine: Engine, tmp_path: Path, clock: FakeClock) -> Installation:
    return make_installation(engine, tmp_path, clock=clock)


@pytest.fixture
def newsletter(inst: Installation) -> Newsletter:
    with writing(inst.engine) as conn:
        newsletter = add_newsletter(conn, inst.clock(), topics=())
        add_reader(conn, newsletter.id, inst.clock())
        return newsletter


def look(inst: Installation, clock: FakeClock) -> list[SourceReport]:
    clock.move(days=2)
    return sorted(collect_due(inst), key=lambda report: report.source_id)


def shown(inst: Installation, newsletter: Newsletter) -> dict[str, Origin]:
    with reading(inst.engine) as conn:
        return {a.title: a.origin for a in articles.list_newsletter_articles(conn, newsletter.id)}


def add_page(site: FeedSite, name: str, day: int = 1) -> str:
    """An article of the site; returns its URL."""
    title = name.replace("-", " ").title()
    text = ARTICLE.format(title=title, name=name, day=day, paragraphs=PARAGRAPH.format(title=title) * 4)
    site.pages[f"/notes/{name}"] = text
    site.headers[f"/notes/{name}"] = {"Content-Type": "text/html; charset=utf-8"}
    return site.url(f"/notes/{name}")


def put_sitemap(site: FeedSite, *names: str) -> None:
    urls = "".join(f"<url><loc>{site.url(f'/notes/{name}')}</loc></url>" for name in names)
    site.pages["/sitemap.xml"] = (
        f'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{urls}</urlset>'
    )
    site.headers["/sitemap.xml"] = {"Content-Type": "application/xml"}


def test_a_sitemap_is_found_out_and_only_pages_that_come_later_are_articles(
    inst: Installation, newsletter: Newsletter, site: FeedSite, clock: FakeClock
) -> None:
    for name in ("old-harbour", "old-mill"):
        add_page(site, name)
    put_sitemap(site, "old-harbour", "old-mill")

    added = add_source(inst, site.url("/sitemap.xml"))
    first = look(inst, clock)
    add_page(site, "new-pier", day=12)
    put_sitemap(site, "new-pier", "old-harbour", "old-mill")
    second = look(inst, clock)
    third = look(inst, clock)

    assert (added.source.kind, "2 pages" in added.words) == (SourceKind.SITEMAP, True)
    assert [(r.new, r.baseline, r.error) for r in (*first, *second, *third)] == [
        (0, 0, ""),
        (1, 0, ""),
        (0, 0, ""),
    ]
    with reading(inst.engine) as conn:
        [article] = articles.list_newsletter_articles(conn, newsletter.id)
    assert (article.title, article.origin) == ("New Pier", Origin.NEW)
    assert "the boats swing round" in article.content_html
    assert "Home" not in article.content_html
    assert "All rights" not in article.content_html
    assert [a.name for a in article.authors] == ["Iris Vale"]
    assert article.image_url == site.url("/new-pier.jpg")
    assert article.published_at.date().isoformat() == "2026-03-12"
    assert "/notes/old-mill" not in site.paths
    assert site.answers[-1] == 304


def test_a_page_that_robots_txt_forbids_is_not_read(
    inst: Installation, newsletter: Newsletter, site: FeedSite, clock: FakeClock
) -> None:
    put_sitemap(site)
    site.pages["/sitemap.xml"] = str(site.pages["/sitemap.xml"]).replace(
        "</urlset>", f"<url><loc>{site.url('/')}</loc></url></urlset>"
    )
    add_source(inst, site.url("/sitemap.xml"), kind=SourceKind.SITEMAP)
    look(inst, clock)
    site.pages["/robots.txt"] = "User-agent: *\nDisallow: /notes/secret\n"
    add_page(site, "secret-cove")
    add_page(site, "open-bay")
    put_sitemap(site, "secret-cove", "open-bay")

    [report] = look(inst, clock)

    assert report.new == 1
    assert list(shown(inst, newsletter)) == ["Open Bay"]
    assert "/notes/secret-cove" not in site.paths


def test_a_page_that_lists_articles_is_read_by_a_selector(
    inst: Installation, newsletter: Newsletter, site: FeedSite, clock: FakeClock
) -> None:
    def list_pages(*names: str) -> None:
        links = "".join(f'<h2><a href="/notes/{n}">{n.replace("-", " ").title()}</a></h2>' for n in names)
        site.pages["/list"] = f'<html><body><a href="/notes/never">x</a><main>{links}</main></body></html>'
        site.headers["/list"] = {"Content-Type": "text/html"}

    for name in ("first-light", "second-wind"):
        add_page(site, name)
    list_pages("first-light")
    source = add_source(
        inst, site.url("/list"), options=make_options(selector="main h2 a"), backfill="1"
    ).source
    first = look(inst, clock)
    list_pages("second-wind", "first-light")
    second = look(inst, clock)

    assert source.kind is SourceKind.PAGE
    assert [(r.new, r.baseline) for r in (*first, *second)] == [(1, 0), (1, 0)]
    assert shown(inst, newsletter) == {"First Light": Origin.BACKFILL, "Second Wind": Origin.NEW}


def test_full_text_is_taken_from_the_linked_page_and_an_edit_of_the_feed_alone_is_told(
    inst: Installation, newsletter: Newsletter, site: FeedSite, clock: FakeClock
) -> None:
    site.publish("/feed", {1: "Before"})
    source = add_source(inst, site.url("/feed"), options=make_options(full_text=FullText.FULL_TEXT)).source
    look(inst, clock)
    assert "/1" not in site.paths
    text = ARTICLE.format(
        title="Slack Water", name="x", day=3, paragraphs=PARAGRAPH.format(title="Slack Water") * 4
    )
    site.pages["/2"], site.headers["/2"] = text, {"Content-Type": "text/html"}
    site.publish("/feed", {1: "Before", 2: "Slack Water", 3: "Without a page"}, home=site.url(""))
    [second] = look(inst, clock)
    site.publish("/feed", {2: "Slack Water", 3: "Without a page", 4: "Later"}, home=site.url(""))
    [third] = look(inst, clock)

    # The first link has moved to another host with the feed's home: a link, not a text, is no new article.
    assert (second.new, third.new, third.changed) == (2, 1, 0)
    assert any("Without a page: its page" in problem for problem in second.problems)
    with reading(inst.engine) as conn:
        found = {a.title: a for a in articles.list_newsletter_articles(conn, newsletter.id)}
    assert "the boats swing round" in found["Slack Water"].content_html
    assert "About Without a page, at length." in found["Without a page"].content_html
    assert get_source(inst, source.id).full_text is FullText.FULL_TEXT
    assert site.paths.count("/2") == 1


def test_summary_mode_keeps_the_first_words_only(
    inst: Installation, newsletter: Newsletter, site: FeedSite, clock: FakeClock
) -> None:
    site.publish("/feed", {1: "Short"})
    add_source(inst, site.url("/feed"), options=make_options(full_text=FullText.SUMMARY), backfill="all")

    look(inst, clock)
    [again] = look(inst, clock)

    assert (again.new, again.changed) == (0, 0)
    with reading(inst.engine) as conn:
        [article] = articles.list_newsletter_articles(conn, newsletter.id)
    assert article.content_html == "<p>About Short, at length.</p>"


def test_rules_keep_articles_out_for_good_and_topics_are_those_of_the_operator(
    inst: Installation, newsletter: Newsletter, site: FeedSite, clock: FakeClock
) -> None:
    options = make_options(rules=["exclude title /^advert/"], topics=["*=Sea"])
    site.publish("/feed", {1: "Old"})
    source_id = add_source(inst, site.url("/feed"), options=options).source.id
    look(inst, clock)
    site.publish("/feed", {1: "Old", 2: "Advert: buy a boat", 3: "Of boats"})

    [second] = look(inst, clock)
    change_source(inst, source_id, make_options(rules=[]))
    [third] = look(inst, clock)

    assert (second.new, second.excluded) == (1, 1)
    assert (third.new, third.excluded, third.same) == (0, 0, 3)
    assert set(shown(inst, newsletter)) == {"Old", "Of boats"}
    with reading(inst.engine) as conn:
        assert {a.tags for a in articles.list_newsletter_articles(conn, newsletter.id)} == {("Sea",)}
    with pytest.raises(UsageError, match="begins with include or exclude"):
        make_options(rules=["away with adverts"])


def test_a_flood_waits_for_the_operator_and_is_released_or_marked_as_seen(
    inst: Installation, newsletter: Newsletter, site: FeedSite, clock: FakeClock
) -> None:
    site.publish("/feed", {n: f"Number {n}" for n in range(1, 13)})
    source_id = add_source(inst, site.url("/feed")).source.id
    look(inst, clock)
    site.publish("/feed", {n: f"Migrated {n}" for n in range(101, 161)})

    [flood] = look(inst, clock)
    [again] = look(inst, clock)

    assert (flood.new, flood.held) == (0, 60)
    assert "wait for you" in " ".join(flood.notes)
    assert (again.new, again.held, again.notes) == (0, 0, ())
    assert len(shown(inst, newsletter)) == 12
    waiting = list_held(inst, source_id)
    assert len(waiting) == 60
    release_held(inst, source_id, [waiting[0].guid])
    dismiss_held(inst, source_id)
    assert list_held(inst) == []
    origins = shown(inst, newsletter)
    assert (len(origins), sum(o is Origin.NEW for o in origins.values())) == (72, 1)
    [last] = look(inst, clock)
    assert (last.new, last.changed, last.held) == (0, 0, 0)


def test_new_articles_of_a_source_under_approval_wait(
    inst: Installation, newsletter: Newsletter, site: FeedSite, clock: FakeClock
) -> None:
    site.publish("/feed", {1: "Old"})
    source_id = add_source(inst, site.url("/feed"), options=make_options(needs_approval=True)).source.id
    look(inst, clock)
    site.publish("/feed", {1: "Old", 2: "New"})
    look(inst, clock)
    site.publish("/feed", {1: "Old", 2: "New, corrected"})
    look(inst, clock)
    # Its source calls it something else now, and then edits it under that name: it waits all the same.
    for title in ("New, corrected", "New, corrected again", "New, corrected"):
        site.publish("/feed", {1: "Old", 2: title})
        site.pages["/feed"] = str(site.pages["/feed"]).replace("urn:item:2", "urn:other:2")
        look(inst, clock)
        assert len(list_held(inst, source_id)) == 1

    [waiting] = release_held(inst, source_id)

    assert (waiting.reason, waiting.article and waiting.article.title) == ("approval", "New, corrected")
    assert shown(inst, newsletter) == {"Old": Origin.BASELINE, "New, corrected": Origin.NEW}


def test_guids_that_all_change_mail_nobody_twice(
    inst: Installation, newsletter: Newsletter, site: FeedSite, clock: FakeClock
) -> None:
    site.publish("/feed", {n: f"Number {n}" for n in range(1, 21)})
    add_source(inst, site.url("/feed"), backfill="all")
    look(inst, clock)
    for prefix in ("urn:other:", "https://elsewhere.example.org/?p=", "urn:item:"):
        site.pages["/feed"] = str(site.pages["/feed"]).replace("<guid>urn:item:", f"<guid>{prefix}")
        [report] = look(inst, clock)
        assert (report.new, report.held) == (0, 0)
        site.publish("/feed", {n: f"Number {n}" for n in range(1, 21)})

    assert len(shown(inst, newsletter)) == 20
    with reading(inst.engine) as conn:
        assert articles.current_sequence(conn) == 20


@pytest.mark.usefixtures("newsletter")
def test_a_source_that_has_moved_for_good_is_followed_after_a_week_and_one_that_is_gone_is_left_alone(
    inst: Installation, site: FeedSite, clock: FakeClock
) -> None:
    site.publish("/old", {1: "First"})
    source_id = add_source(inst, site.url("/old")).source.id
    look(inst, clock)
    site.publish("/new", {1: "First", 2: "Second"})
    site.status["/old"], site.headers["/old"] = 301, {"Location": site.url("/new")}

    reports = [report for _ in range(5) for report in look(inst, clock)]

    assert sum(report.new for report in reports) == 1
    assert [bool(report.notes) for report in reports] == [False, False, False, False, True]
    moved = get_source(inst, source_id)
    assert (moved.location, moved.earlier_locations) == (site.url("/new"), (site.url("/old"),))
    site.status["/new"] = 410
    look(inst, clock)
    assert get_source(inst, source_id).state is SourceState.GONE
    asked = len(site.paths)
    assert look(inst, clock) == []
    assert len(site.paths) == asked


def test_a_host_that_asks_for_a_pause_gets_it_for_all_of_its_sources(
    engine: Engine, tmp_path: Path, clock: FakeClock
) -> None:
    # A host of its own for each run: what it asks for holds as long as the process.
    with feed_site(f"127.0.0.{77 + len(engine.dialect.name)}") as busy:
        inst = make_installation(engine, tmp_path, clock=clock)
        with writing(inst.engine) as conn:
            add_newsletter(conn, inst.clock())
        for name in ("/a", "/b", "/c"):
            busy.publish(name, {1: f"Of {name}"})
            add_source(inst, busy.url(name))
        look(inst, clock)
        busy.paths.clear()
        busy.status |= dict.fromkeys(("/a", "/b", "/c"), 429)
        busy.headers |= {path: {"Retry-After": "7200"} for path in ("/a", "/b", "/c")}

        reports = look(inst, clock)

        assert [r.error for r in reports if not r.error.endswith("answered 429")] == []
        assert len(reports) == len(busy.paths) == 1
        ids = [1, 2, 3]
        waits = [(get_source(inst, n).next_due_at - clock.at) / timedelta(minutes=1) for n in ids]
        assert all(wait > 115 for wait in waits)
        assert collect_due(inst) == []


def test_the_images_of_a_folder_are_kept_and_shown_from_the_site(
    inst: Installation, newsletter: Newsletter, clock: FakeClock, tmp_path: Path
) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "pier.png").write_bytes(PNG)
    (folder / "a.md").write_text(
        "---\ntitle: The pier\ndate: 2026-03-01\n---\n![The pier](pier.png)\n", "utf-8"
    )
    yesterday = (clock.at - timedelta(days=1)).timestamp()
    for file in folder.iterdir():
        os.utime(file, (yesterday, yesterday))

    add_source(inst, str(folder))
    [report] = look(inst, clock)
    [again] = look(inst, clock)

    assert (report.baseline, report.problems, again.same) == (1, (), 0)
    [name] = list_media(inst)
    with reading(inst.engine) as conn:
        [article] = articles.list_newsletter_articles(conn, newsletter.id)
    assert f'src="https://news.example.org/media/{name}"' in article.content_html
    path, media_type = media_file(inst, name)
    assert (path.read_bytes(), media_type) == (PNG, "image/png")


def test_articles_are_handed_in_twice_and_late_and_count_once(
    inst: Installation, newsletter: Newsletter, clock: FakeClock
) -> None:
    added = add_source(inst, "push:newsroom", kind=SourceKind.PUSH)
    article = PushedArticle(
        id="7", title="Handed in", html="<p>Text<script>alert(1)</script></p>", published_at=clock.at
    )

    first = push_articles(
        inst, added.source.id, [article, PushedArticle(url="https://example.org/8", text="Eight")]
    )
    second = push_articles(inst, added.source.id, [article])

    assert (first.new, second.new, second.changed) == (2, 0, 0)
    assert shown(inst, newsletter) == {"Handed in": Origin.NEW, "Eight": Origin.NEW}
    assert collect_due(inst) == []
    for wrong, words in (
        (PushedArticle(title="No name"), "needs an id or a url"),
        (PushedArticle(id="9", url="ftp://example.org/9", title="X"), "no absolute http"),
        (PushedArticle(id="9"), "neither a title nor a text"),
        (PushedArticle(id="9", title="X", published_at=clock.at.replace(tzinfo=None)), "no time zone"),
    ):
        with pytest.raises(UsageError, match=words):
            push_articles(inst, added.source.id, [wrong])
    with pytest.raises(StateError, match="only a push source"):
        push_articles(inst, _add_folder(inst), [article])


def _add_folder(inst: Installation) -> int:
    folder = inst.settings.folder / "some"
    folder.mkdir()
    return add_source(inst, str(folder)).source.id


def test_a_list_of_feeds_is_taken_over_and_given_away_with_equal_bytes(
    inst: Installation, newsletter: Newsletter, tmp_path: Path
) -> None:
    file = tmp_path / "feeds.opml"
    file.write_text(
        '<opml version="2.0"><body><outline text="Sea"><outline type="rss" text="Tides" '
        'xmlUrl="https://tides.example.org/feed?token=secret"/></outline>'
        '<outline type="rss" text="Timber" xmlUrl="https://timber.example.org/feed"/>'
        '<outline type="rss" text="Timber again" xmlUrl="http://timber.example.org/feed#x"/>'
        '<outline text="Nothing"/></body></opml>',
        "utf-8",
    )

    planned, _ = import_opml(inst, str(file), newsletter, apply=False)
    assert b"tides" not in export_opml(inst)
    done, problems = import_opml(inst, str(file), newsletter, apply=True)
    again, _ = import_opml(inst, str(file), newsletter, apply=True)

    assert [f.fate for f in planned] == [f.fate for f in done] == [FeedFate.ADDED, FeedFate.ADDED]
    assert [f.fate for f in again] == [FeedFate.KNOWN, FeedFate.KNOWN]
    assert any("timber.example.org" in problem for problem in problems)
    exported = export_opml(inst)
    assert b"secret" not in exported
    (tmp_path / "again.opml").write_bytes(exported)
    assert export_opml(inst) == exported
    with pytest.raises(UsageError, match="cannot be read"):
        import_opml(inst, str(tmp_path / "none.opml"), newsletter, apply=True)


def test_a_public_source_never_reaches_the_operator_s_network_although_it_is_allowed_to_others(
    inst: Installation, newsletter: Newsletter, site: FeedSite
) -> None:
    site.publish("/feed", {1: "Inside"})
    source_id = add_source(inst, site.url("/feed")).source.id
    assert get_source(inst, source_id).is_intranet
    with writing(inst.engine) as conn:
        conn.exec_driver_sql("UPDATE source SET is_intranet = FALSE")

    report = collect_source(inst, source_id)

    assert "private address" in report.error
    assert shown(inst, newsletter) == {}


@pytest.mark.usefixtures("newsletter")
def test_adding_what_is_no_source_says_what_is_there(inst: Installation, site: FeedSite) -> None:
    site.pages["/empty"] = "<html><body><p>Nothing to see.</p></body></html>"
    site.headers["/empty"] = {"Content-Type": "text/html"}

    with pytest.raises(CollectError, match="names no feed"):
        add_source(inst, site.url("/empty"))


def test_a_collector_that_is_stopped_gives_up_what_it_waits_for_and_leaves_it_due(
    inst: Installation, newsletter: Newsletter, site: FeedSite
) -> None:
    site.publish("/feed", {1: "Quick"})
    with socket.create_server(("127.0.0.2", 0)) as silent:  # another host, with turns of its own
        number = silent.getsockname()[1]
        with writing(inst.engine) as conn:
            for url in (f"http://127.0.0.2:{number}/feed", site.url("/feed")):
                added = store_source(conn, inst.clock(), location=url, is_intranet=True)
                newsletters.join_source(conn, newsletter.id, added.id, from_sequence=0, now=inst.clock())
        with Collector(inst) as collector:
            stop = threading.Event()
            reports = collector.collect_due(on_report=lambda _report: stop.set(), should_stop=stop.is_set)

    assert [report.baseline for report in reports] == [1]
    assert count_due(inst) == 1


def test_what_is_handed_in_cannot_be_read(inst: Installation, newsletter: Newsletter) -> None:
    added = add_source(inst, "push:desk", kind=SourceKind.PUSH, newsletter_slug=newsletter.slug)

    with pytest.raises(StateError, match="nothing to read"):
        collect_source(inst, added.source.id)
