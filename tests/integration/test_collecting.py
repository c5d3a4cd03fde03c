"""Collecting as a use case: what a second look changes, what is mailed, what one source does to others."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from syndicate.model import ANY_CADENCE, Newsletter, Origin, SourceState
from syndicate.service import looking
from syndicate.service.collecting import SourceReport, collect_due, count_due
from syndicate.service.editions import open_edition
from syndicate.service.feeds import refresh_feeds
from syndicate.service.installation import Installation
from syndicate.service.sending import send_edition
from syndicate.service.sources import add_source, list_sources
from syndicate.storage import articles, feed_documents
from syndicate.storage.engine import open_engine, reading, writing
from tests.builders import add_newsletter, add_reader, make_parsed
from tests.builders import add_source as store_source
from tests.feed_site import FeedSite, feed_site
from tests.installation_builders import FakeClock, dump, make_installation, relay_in_thread

#: What every look notes, whether it found something or not.
CHECKED = (
    "source.last_checked_at",
    "source.last_success_at",
    "source.next_due_at",
    "source.interval_s",
    "source.full_fetch_at",
    "source.fence",
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
    """A newsletter with one reader, who has been served nothing."""
    with writing(inst.engine) as conn:
        newsletter = add_newsletter(conn, inst.clock(), topics=())
        add_reader(conn, newsletter.id, inst.clock())
        return newsletter


@pytest.fixture
def folder(tmp_path: Path, clock: FakeClock) -> Callable[..., Path]:
    """Writes files of a source; they were written yesterday."""

    def write(files: Mapping[str, str]) -> Path:
        folder = tmp_path / "articles"
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, "utf-8")
            yesterday = (clock.at - timedelta(days=1)).timestamp()
            os.utime(folder / name, (yesterday, yesterday))
        return folder

    return write


def markdown(title: str, day: int = 1) -> str:
    return f"---\ntitle: {title}\ndate: 2026-03-{day:02}\n---\nWhat there is to say about {title}.\n"


def look(inst: Installation, clock: FakeClock) -> list[SourceReport]:
    """The next look at every source, by number."""
    clock.move(days=2)
    return sorted(collect_due(inst), key=lambda report: report.source_id)


def origins(inst: Installation, newsletter: Newsletter) -> dict[str, Origin]:
    with reading(inst.engine) as conn:
        return {a.title: a.origin for a in articles.list_newsletter_articles(conn, newsletter.id)}


def mailable(inst: Installation, newsletter: Newsletter) -> list[str]:
    """The titles that a reader who has been served nothing would get, in the order of acceptance."""
    with reading(inst.engine) as conn:
        cutoff = articles.current_sequence(conn)
        found = articles.list_mailable_articles(conn, newsletter.id, after=0, cutoff=cutoff)
    return [a.title for a in sorted(found, key=lambda a: a.sequence)]


@pytest.mark.usefixtures("newsletter")
def test_a_second_look_at_what_is_the_same_changes_nothing_but_the_time_of_the_look(
    inst: Installation, site: FeedSite, folder: Callable[..., Path], clock: FakeClock
) -> None:
    site.publish("/feed", {1: "First", 2: "Second"})
    add_source(inst, site.url("/feed"), backfill="all")
    add_source(inst, str(folder({"a.md": markdown("Alpha"), "b.txt": "Beta\n\nWhat there is to say.\n"})))
    assert count_due(inst) == 2

    first = look(inst, clock)

    assert [(r.new, r.baseline, r.problems, r.error) for r in first] == [(2, 0, (), ""), (0, 2, (), "")]
    assert count_due(inst) == 0
    assert collect_due(inst) == []
    before = dump(inst.engine, without=CHECKED)
    answers = len(site.answers)
    for _ in range(2):
        again = look(inst, clock)
        assert [(r.new, r.baseline, r.changed) for r in again] == [(0, 0, 0)] * 2
    assert dump(inst.engine, without=CHECKED) == before
    assert site.answers[answers:] == [304, 304]


@pytest.mark.usefixtures("newsletter")
def test_a_server_without_validators_that_sends_the_same_bytes_changes_nothing(
    inst: Installation, site: FeedSite, clock: FakeClock
) -> None:
    site.publish("/feed", {1: "First"})
    add_source(inst, site.url("/feed"))
    look(inst, clock)
    with writing(inst.engine) as conn:
        conn.exec_driver_sql("UPDATE source SET etag = ''")
    before = dump(inst.engine, without=(*CHECKED, "source.etag"))

    assert look(inst, clock)[0].same == 0  # not even read
    assert site.answers[-1] == 200
    assert dump(inst.engine, without=(*CHECKED, "source.etag")) == before


@pytest.mark.parametrize(
    ("backfill", "mailed"), [("none", []), ("2", ["Second", "Third"]), ("all", ["First", "Second", "Third"])]
)
def test_what_a_source_held_when_it_was_added_is_mailed_as_far_as_was_asked(
    inst: Installation,
    newsletter: Newsletter,
    site: FeedSite,
    clock: FakeClock,
    backfill: str,
    mailed: list[str],
) -> None:
    titles = {1: "First", 2: "Second", 3: "Third"}
    site.publish("/feed", titles)
    add_source(inst, site.url("/feed"), backfill=backfill)

    [report] = look(inst, clock)

    assert (report.new, report.baseline) == (len(mailed), 3 - len(mailed))
    assert mailable(inst, newsletter) == mailed
    assert sorted(origins(inst, newsletter)) == sorted(titles.values())  # all of it is shown
    site.publish("/feed", titles | {4: "Fourth"})
    [report] = look(inst, clock)
    assert (report.new, report.same) == (1, 3)
    assert mailable(inst, newsletter) == [*mailed, "Fourth"]


def test_an_edited_article_becomes_a_revision_that_feeds_show_and_no_mail_repeats(
    engine: Engine, tmp_path: Path, newsletter: Newsletter, site: FeedSite, clock: FakeClock
) -> None:
    with relay_in_thread() as relay:
        inst = make_installation(engine, tmp_path, port=relay.port, clock=clock)
        site.publish("/feed", {1: "First"})
        add_source(inst, site.url("/feed"), backfill="all")
        look(inst, clock)
        refresh_feeds(inst)
        opened = open_edition(inst, newsletter, cadence=ANY_CADENCE, slot="1", reason="a test")
        assert opened is not None
        send_edition(inst, opened.edition.id)
        before = feed_of(inst, newsletter)

        site.publish("/feed", {1: "First, corrected"})
        [report] = look(inst, clock)
        refresh_feeds(inst)

        assert (report.new, report.changed) == (0, 1)
        after = feed_of(inst, newsletter)
        assert b"First, corrected" in after.body
        assert after.etag != before.etag
        assert after.last_modified_at == clock.at > before.last_modified_at
        with reading(engine) as conn:
            [article] = articles.list_newsletter_articles(conn, newsletter.id)
        assert (article.revision, article.sequence, article.updated_at) == (2, 1, clock.at)
        assert open_edition(inst, newsletter, cadence=ANY_CADENCE, slot="2", reason="a test") is None
        assert len(relay.accepted) == 1


def feed_of(inst: Installation, newsletter: Newsletter) -> feed_documents.FeedDocument:
    with reading(inst.engine) as conn:
        found = feed_documents.find_document(conn, newsletter.id, "", "atom")
    assert found is not None
    return found


def test_a_source_that_fails_stops_no_other_and_keeps_what_it_had(
    inst: Installation,
    newsletter: Newsletter,
    site: FeedSite,
    folder: Callable[..., Path],
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paths = ("/down", "/html", "/gone", "/bug", "/fine")
    for n, path in enumerate(paths, start=1):
        site.publish(path, {n: f"Of {path}"})
        add_source(inst, site.url(path))
    moved = folder({"a.md": markdown("Alpha")})
    add_source(inst, str(moved))
    look(inst, clock)
    site.status |= {"/down": 503, "/gone": 410}
    site.pages["/html"] = "<!doctype html><title>Sorry</title><p>We are being repaired."
    site.publish("/bug", {4: "Something new"})
    site.publish("/fine", {5: "Of /fine", 6: "News"})
    moved.rename(moved.with_name("elsewhere"))
    read = looking.read_document

    async def stumble(*given: Any, **more: Any) -> Any:
        if b"Something new" in given[3]:
            raise RecursionError("a fault of ours")
        return await read(*given, **more)

    monkeypatch.setattr(looking, "read_document", stumble)

    reports = look(inst, clock)

    assert [bool(r.error) for r in reports] == [True, True, True, True, False, True]
    assert reports[4].new == 1
    assert set(origins(inst, newsletter)) == {f"Of {path}" for path in paths} | {"Alpha", "News"}
    stored = {source.id: source for source, _ in list_sources(inst)}
    assert [stored[r.source_id].failures for r in reports] == [1, 1, 1, 1, 0, 1]
    assert [stored[r.source_id].last_error for r in reports] == [r.error for r in reports]
    assert stored[reports[2].source_id].state is SourceState.GONE
    assert all(source.next_due_at > clock.at for source in stored.values())
    site.status.clear()
    assert [r.source_id for r in look(inst, clock)] == [1, 2, 4, 5, 6]  # what is gone is asked no more


def test_a_broken_file_is_named_and_stops_no_other(
    inst: Installation, newsletter: Newsletter, folder: Callable[..., Path], clock: FakeClock
) -> None:
    files = {"a.md": markdown("Alpha"), "broken.md": "---\ntitle: [\n---\nText\n", "z.md": markdown("Omega")}
    add_source(inst, str(folder(files)))

    [report] = look(inst, clock)

    assert report.baseline == 2
    [problem] = report.problems
    assert problem.startswith("broken.md: ")
    assert sorted(origins(inst, newsletter)) == ["Alpha", "Omega"]
    folder({"broken.md": markdown("Mended")})
    assert look(inst, clock)[0].new == 1
    assert mailable(inst, newsletter) == ["Mended"]


def test_a_newsletter_that_joins_a_known_source_gets_what_comes_next(
    inst: Installation, newsletter: Newsletter, site: FeedSite, clock: FakeClock
) -> None:
    site.publish("/feed", {1: "First"})
    add_source(inst, site.url("/feed"), newsletter_slug="tide", backfill="all")
    look(inst, clock)
    with writing(inst.engine) as conn:
        second = add_newsletter(conn, inst.clock(), slug="second")

    added = add_source(inst, site.url("/feed"), newsletter_slug="second", backfill="all")

    assert (added.is_new, len(list_sources(inst))) == (False, 1)
    site.publish("/feed", {1: "First", 2: "Second"})
    [report] = look(inst, clock)
    assert report.new == 1
    assert mailable(inst, newsletter) == ["First", "Second"]
    assert mailable(inst, second) == ["Second"]
    assert len(origins(inst, second)) == 2  # its pages and feeds show both


def test_two_processes_that_collect_at_once_store_each_article_once(
    inst: Installation, newsletter: Newsletter, site: FeedSite, clock: FakeClock, tmp_path: Path
) -> None:
    for path in ("/one", "/two", "/three"):
        site.publish(path, {n: f"Number {n} of {path}" for n in range(1, 6)})
        add_source(inst, site.url(path), backfill="all")
    site.answers.clear()
    url = inst.engine.url.render_as_string(hide_password=False)
    others = [make_installation(open_engine(url), tmp_path, clock=clock) for _ in range(2)]
    barrier = threading.Barrier(2)
    reports: list[SourceReport] = []

    def collect(other: Installation) -> None:
        barrier.wait()
        reports.extend(collect_due(other))

    threads = [threading.Thread(target=collect, args=[other]) for other in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for other in others:
        other.engine.dispose()

    assert sorted((r.source_id, r.new, r.error) for r in reports) == [(n, 5, "") for n in (1, 2, 3)]
    assert site.answers == [200, 200, 200]
    with reading(inst.engine) as conn:
        assert articles.current_sequence(conn) == 15
    # All three say the same articles are theirs, so a reader gets each once.
    assert len(mailable(inst, newsletter)) == 5


def test_no_cutoff_passes_over_an_article_that_is_not_committed_yet(
    postgresql_url: str, tmp_path: Path
) -> None:
    engine = open_engine(postgresql_url)
    inst = make_installation(engine, tmp_path)
    with writing(engine) as conn:
        source = store_source(conn, inst.clock())
        newsletter = add_newsletter(conn, inst.clock(), draws_from=[source.id])
        add_reader(conn, newsletter.id, inst.clock())
    began, may_commit = threading.Event(), threading.Event()

    def collect_slowly() -> None:
        with writing(engine) as conn:
            store(conn, 1)
            began.set()
            may_commit.wait(30)

    def store(conn: object, number: int) -> None:
        sequence = articles.take_sequences(conn, 1)  # type: ignore[arg-type] - a Connection
        articles.add_article(
            conn,  # type: ignore[arg-type] - a Connection
            make_parsed(number),
            source_id=source.id,
            sequence=sequence,
            atom_id=f"urn:{number}",
            origin=Origin.NEW,
            now=inst.clock(),
        )

    def collect_quickly() -> None:
        with writing(engine) as conn:
            store(conn, 2)

    slow, quick = threading.Thread(target=collect_slowly), threading.Thread(target=collect_quickly)
    slow.start()
    began.wait(30)
    quick.start()
    # The second one waits for its number; meanwhile there is nothing that an edition could pass over.
    assert open_edition(inst, newsletter, cadence=ANY_CADENCE, slot="1", reason="a test") is None
    with reading(engine) as conn:
        assert articles.current_sequence(conn) == 0
    may_commit.set()
    slow.join()
    quick.join()
    opened = open_edition(inst, newsletter, cadence=ANY_CADENCE, slot="2", reason="a test")
    assert opened is not None
    assert [a.sequence for a in opened.articles] == [2, 1]
    engine.dispose()
