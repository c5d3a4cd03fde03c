from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import IntegrityError

from syndicate.errors import NotFound
from syndicate.model import (
    Article,
    Author,
    DateQuality,
    Enclosure,
    Newsletter,
    Origin,
    Source,
    slugify,
)
from syndicate.storage import articles, editions, newsletters, sources, tables
from syndicate.storage.engine import reading, writing
from tests.builders import add_article, add_edition, add_newsletter, add_source, make_parsed

DAY = timedelta(days=1)


@pytest.fixture
def source(connection: Connection, now: datetime) -> Source:
    return add_source(connection, now)


@pytest.fixture
def newsletter(connection: Connection, now: datetime, source: Source) -> Newsletter:
    return add_newsletter(connection, now, draws_from=[source.id])


def listed(connection: Connection, newsletter: Newsletter, **choice: int | str) -> list[int]:
    found = articles.list_newsletter_articles(connection, newsletter.id, **choice)  # type: ignore[arg-type]  # one dict of mixed values
    return [a.id for a in found]


def revisions(connection: Connection, article_id: int) -> list[tuple[int, str]]:
    query = select(tables.revision.c.number, tables.revision.c.title)
    rows = connection.execute(query.where(tables.revision.c.article_id == article_id).order_by("number"))
    return [(row.number, row.title) for row in rows]


def test_an_article_comes_back_as_it_was_stored(
    connection: Connection, now: datetime, source: Source, newsletter: Newsletter
) -> None:
    parsed = make_parsed(
        7,
        title="لماذا يأتي المدّ مرّتين",
        authors=(Author(name="A Writer", email="a@example.org"), Author(name="B")),
        tags=("Night sky", "Küste"),
        language="ar",
        image_url="https://img.example/w.jpg",
        enclosures=(Enclosure(url="https://example.org/a.mp3", type="audio/mpeg", length=2**33),),
        published_at=now - DAY,
        published_quality=DateQuality.DAY,
    )
    article_id = articles.add_article(
        connection,
        parsed,
        source_id=source.id,
        sequence=articles.take_sequences(connection, 1),
        atom_id="tag:example.org,2026:7",
        origin=Origin.BACKFILL,
        now=now,
    )

    assert articles.get_article(connection, newsletter.id, article_id) == Article(
        id=article_id,
        sequence=1,
        source_id=source.id,
        guid="guid-7",
        atom_id="tag:example.org,2026:7",
        slug=slugify(parsed.title),
        url=parsed.url,
        title=parsed.title,
        content_html=parsed.content_html,
        summary=parsed.summary,
        authors=parsed.authors,
        tags=parsed.tags,
        language="ar",
        image_url=parsed.image_url,
        enclosures=parsed.enclosures,
        published_at=now - DAY,
        published_quality=DateQuality.DAY,
        updated_at=now - DAY,
        first_seen_at=now,
        content_hash=parsed.content_hash,
        revision=1,
        origin=Origin.BACKFILL,
    )


@pytest.mark.parametrize(
    ("published", "updated", "expected"),
    [
        (None, None, (0, DateQuality.FIRST_SEEN, 0, 0)),
        (-2, None, (-2, DateQuality.GIVEN, -2, -2)),
        (-2, -1, (-2, DateQuality.GIVEN, -1, -2)),
        (-2, -3, (-2, DateQuality.GIVEN, -2, -2)),
        (-2, 5, (-2, DateQuality.GIVEN, 0, -2)),
        (3, None, (3, DateQuality.GIVEN, 0, 0)),
    ],
    ids=["no date", "given", "updated later", "updated before", "updated in the future", "in the future"],
)
def test_dates_are_kept_and_never_reach_beyond_the_moment_of_acceptance(
    connection: Connection,
    now: datetime,
    source: Source,
    newsletter: Newsletter,
    published: int | None,
    updated: int | None,
    expected: tuple[int, DateQuality, int, int],
) -> None:
    article_id = add_article(
        connection,
        source.id,
        now,
        published_at=None if published is None else now + published * DAY,
        updated_at=None if updated is None else now + updated * DAY,
    )

    found = articles.get_article(connection, newsletter.id, article_id)
    days = [(at - now).days for at in (found.published_at, found.updated_at, found.sorts_at)]
    assert (days[0], found.published_quality, days[1], days[2]) == expected


def test_an_instant_of_another_zone_comes_back_in_utc_to_the_microsecond(
    connection: Connection, now: datetime, source: Source, newsletter: Newsletter
) -> None:
    at = datetime(2026, 3, 1, 0, 30, 15, 123456, tzinfo=timezone(timedelta(hours=5, minutes=45)))
    article_id = add_article(connection, source.id, now, published_at=at)

    found = articles.get_article(connection, newsletter.id, article_id).published_at

    assert found == at
    assert found.tzinfo is UTC


def test_a_changed_text_is_the_next_revision_and_keeps_sequence_and_identity(
    connection: Connection, now: datetime, source: Source, newsletter: Newsletter
) -> None:
    article_id = add_article(connection, source.id, now, title="First", tags=("Coast",))
    before = articles.get_article(connection, newsletter.id, article_id)

    changed = make_parsed(1, title="Second", tags=("Craft", "CRAFT"))
    number = articles.revise_article(connection, article_id, changed, now=now + DAY)

    after = articles.get_article(connection, newsletter.id, article_id)
    assert (number, after.revision, after.title, after.tags) == (2, 2, "Second", ("Craft", "CRAFT"))
    assert (after.content_hash, after.updated_at) == (changed.content_hash, now + DAY)
    for name in ("sequence", "atom_id", "slug", "guid", "published_at", "sorts_at", "first_seen_at"):
        assert getattr(after, name) == getattr(before, name), name
    assert articles.list_used_topics(connection, newsletter.id) == {"craft": 1}
    assert revisions(connection, article_id) == [(1, "First"), (2, "Second")]


def test_a_text_that_comes_back_is_pointed_to_and_not_stored_again(
    connection: Connection, now: datetime, source: Source, newsletter: Newsletter
) -> None:
    article_id = add_article(connection, source.id, now, title="First")
    texts = {title: make_parsed(1, title=title) for title in ("First", "Second", "Third")}

    numbers = [
        articles.revise_article(connection, article_id, texts[title], now=now)
        for title in ("Second", "First", "Third", "Second")
    ]

    assert numbers == [2, 1, 3, 2]
    assert revisions(connection, article_id) == [(1, "First"), (2, "Second"), (3, "Third")]
    (known,) = articles.list_known_articles(connection, source.id, now=now)
    assert known.content_hash == texts["Second"].content_hash
    assert known.earlier_hashes == {texts["First"].content_hash, texts["Third"].content_hash}
    assert articles.get_article(connection, newsletter.id, article_id).title == "Second"


def test_what_is_known_of_a_source_is_its_own_by_sequence(
    connection: Connection, now: datetime, source: Source
) -> None:
    other = add_source(connection, now, location="https://example.org/other.xml")
    first = add_article(connection, source.id, now)
    add_article(connection, other.id, now)
    third = add_article(connection, source.id, now)

    known = articles.list_known_articles(connection, source.id, now=now)

    assert [(k.id, k.guid, k.url) for k in known] == [
        (first, "guid-1", "https://example.org/1"),
        (third, "guid-3", "https://example.org/3"),
    ]
    assert all(k.earlier_hashes == frozenset() for k in known)


def test_an_article_is_got_only_through_a_newsletter_that_draws_from_its_source(
    connection: Connection, now: datetime, source: Source, newsletter: Newsletter
) -> None:
    other = add_newsletter(connection, now, slug="other")
    article_id = add_article(connection, source.id, now)

    assert articles.get_article(connection, newsletter.id, article_id).id == article_id
    with pytest.raises(NotFound, match=rf"^unknown article '{article_id}'$"):
        articles.get_article(connection, other.id, article_id)


def test_articles_are_listed_newest_first_page_by_page(
    connection: Connection, now: datetime, source: Source, newsletter: Newsletter
) -> None:
    old, new, tied, future = (
        add_article(connection, source.id, now, published_at=now + days * DAY) for days in (-3, -1, -1, 9)
    )

    assert listed(connection, newsletter) == [future, tied, new, old]
    assert listed(connection, newsletter, limit=3) == [future, tied, new]
    assert listed(connection, newsletter, limit=3, offset=3) == [old]
    assert listed(connection, newsletter, offset=1) == [tied, new, old]
    assert listed(connection, newsletter, limit=3, offset=4) == []
    assert articles.count_newsletter_articles(connection, newsletter.id) == 4
    assert articles.list_article_ids(connection, newsletter.id) == [old, new, tied, future]


def test_a_topic_is_compared_by_its_slug_and_counted_once_for_each_article(
    connection: Connection, now: datetime, source: Source, newsletter: Newsletter
) -> None:
    both = add_article(connection, source.id, now, tags=("Night Sky", "night-sky", "Coast"))
    one = add_article(connection, source.id, now, tags=("NIGHT SKY",))
    add_article(connection, source.id, now)

    assert listed(connection, newsletter, topic="night-sky") == [one, both]
    assert listed(connection, newsletter, topic="Night Sky") == []
    assert articles.count_newsletter_articles(connection, newsletter.id, topic="night-sky") == 2
    assert articles.list_used_topics(connection, newsletter.id) == {"coast": 1, "night-sky": 2}


def test_neighbours_follow_the_order_of_the_pages_even_where_dates_are_equal(
    connection: Connection, now: datetime, source: Source, newsletter: Newsletter
) -> None:
    for days in (-1, -3, -1, 5, -1):
        add_article(connection, source.id, now, published_at=now + days * DAY)
    outside = add_source(connection, now, location="https://example.org/outside.xml")
    add_article(connection, outside.id, now, published_at=now - 2 * DAY)
    pages = articles.list_newsletter_articles(connection, newsletter.id)

    for n, one in enumerate(pages):
        older, newer = articles.find_neighbours(connection, newsletter.id, one)
        assert older == (pages[n + 1] if n + 1 < len(pages) else None)
        assert newer == (pages[n - 1] if n else None)


def test_mail_leaves_out_the_baseline_and_what_came_before_the_newsletter_took_up_the_source(
    connection: Connection, now: datetime, source: Source, newsletter: Newsletter
) -> None:
    add_article(connection, source.id, now, origin=Origin.BASELINE)
    backfill = add_article(connection, source.id, now, origin=Origin.BACKFILL)
    first = add_article(connection, source.id, now)
    second = add_article(connection, source.id, now)
    late = add_newsletter(connection, now, slug="late")
    newsletters.join_source(connection, late.id, source.id, from_sequence=3, now=now)

    def mailable(newsletter_id: int, after: int, cutoff: int) -> list[int]:
        found = articles.list_mailable_articles(connection, newsletter_id, after=after, cutoff=cutoff)
        return [a.id for a in found]

    assert mailable(newsletter.id, 0, 4) == [second, first, backfill]
    assert mailable(newsletter.id, 2, 4) == [second, first], "after is left out"
    assert mailable(newsletter.id, 2, 3) == [first], "the cutoff is in it"
    assert mailable(late.id, 0, 4) == [second]
    assert len(listed(connection, late)) == 4, "its pages show them all"


def test_an_edition_keeps_its_articles_in_editorial_order(
    connection: Connection, now: datetime, source: Source, newsletter: Newsletter
) -> None:
    ids = [add_article(connection, source.id, now) for _ in range(3)]
    by_id = {a.id: a for a in articles.list_newsletter_articles(connection, newsletter.id)}
    edition = add_edition(connection, newsletter.id, now)
    wanted = [by_id[ids[n]] for n in (1, 2, 0)]

    editions.put_articles(connection, edition.id, wanted)
    articles.revise_article(connection, ids[0], make_parsed(1, title="Changed"), now=now)

    found = articles.list_edition_articles(connection, edition.id)
    assert [a.id for a in found] == [a.id for a in wanted]
    assert editions.count_articles(connection, edition.id) == 3
    stored = connection.execute(select(tables.edition_article.c.revision).order_by("position")).scalars()
    assert list(stored) == [1, 1, 1]


def test_sequences_are_taken_in_a_row_and_nothing_is_current_before_the_first(
    connection: Connection,
) -> None:
    assert articles.current_sequence(connection) == 0
    assert [articles.take_sequences(connection, count) for count in (1, 3, 2)] == [1, 2, 5]
    assert articles.current_sequence(connection) == 6


def test_sequences_of_a_transaction_that_failed_are_given_out_again(engine: Engine) -> None:
    def fail() -> None:
        with writing(engine) as conn:
            articles.take_sequences(conn, 5)
            raise LookupError

    with pytest.raises(LookupError):
        fail()

    with writing(engine) as conn:
        assert articles.take_sequences(conn, 1) == 1


def test_a_second_writer_waits_for_the_sequences_of_the_first(engine: Engine, now: datetime) -> None:
    with writing(engine) as conn:
        source = add_source(conn, now)

    def add_one() -> int:
        with writing(engine) as conn:
            add_article(conn, source.id, now)
            return articles.current_sequence(conn)

    with ThreadPoolExecutor(1) as pool:
        with writing(engine) as first:
            add_article(first, source.id, now)
            second = pool.submit(add_one)
            wait([second], timeout=0.2)  # a second writer that does not wait is through by then
            with reading(engine) as conn:
                assert articles.current_sequence(conn) == 0, "nothing shows before the first is committed"
        assert second.result(timeout=30) == 2


def test_nobody_ever_sees_a_gap_in_the_sequence_while_two_connections_write(
    engine: Engine, now: datetime
) -> None:
    with writing(engine) as conn:
        places = [add_source(conn, now, location=f"https://example.org/{n}.xml").id for n in range(2)]
    start = threading.Barrier(3)
    is_over = threading.Event()

    def write(source_id: int) -> None:
        start.wait(timeout=30)
        for n in range(12):
            with writing(engine) as conn:
                first = articles.take_sequences(conn, 2)
                for sequence in (first + 1, first):
                    articles.add_article(
                        conn,
                        make_parsed(sequence, guid=f"{source_id}-{n}-{sequence}"),
                        source_id=source_id,
                        sequence=sequence,
                        atom_id="tag:example.org,2026:1",
                        origin=Origin.NEW,
                        now=now,
                    )

    def look() -> list[list[int]]:
        seen = []
        start.wait(timeout=30)
        while True:
            last_look = is_over.is_set()
            with reading(engine) as conn:
                seen.append(sorted(conn.execute(select(tables.article.c.sequence)).scalars()))
            if last_look:
                return seen

    with ThreadPoolExecutor(3) as pool:
        looking = pool.submit(look)
        try:
            for writer in [pool.submit(write, source_id) for source_id in places]:
                writer.result(timeout=60)
        finally:
            is_over.set()
        looks = looking.result(timeout=60)

    assert all(look == list(range(1, len(look) + 1)) for look in looks)
    assert looks[-1] == list(range(1, 49))


def test_two_articles_of_a_source_cannot_have_one_guid(engine: Engine, now: datetime) -> None:
    with writing(engine) as conn:
        source = add_source(conn, now)
        other = add_source(conn, now, location="https://example.org/other.xml")
        add_article(conn, source.id, now, guid="same")
        add_article(conn, other.id, now, guid="same")

    with pytest.raises(IntegrityError), writing(engine) as conn:
        add_article(conn, source.id, now, guid="same")

    with reading(engine) as conn:
        assert articles.current_sequence(conn) == 2
        assert len(sources.list_sources(conn)) == 2


def test_articles_change_places_all_at_once_and_the_names_before_stay_aliases(
    connection: Connection, now: datetime, source: Source
) -> None:
    one, two, three = (
        add_article(connection, source.id, now, guid=guid) for guid in ("a.md", "b.md", "c.md")
    )

    articles.rename_articles(connection, source.id, {one: "b.md", two: "a.md", three: "d.md"})

    known = {k.id: k for k in articles.list_known_articles(connection, source.id, now=now)}
    assert {key: k.guid for key, k in known.items()} == {one: "b.md", two: "a.md", three: "d.md"}
    assert (known[one].aliases, known[two].aliases) == (frozenset(), frozenset())
    assert known[three].aliases == {"c.md"}
    hashes = articles.list_known_hashes(connection, source.id, ["a.md", "c.md", "d.md", "e.md"])
    assert hashes.keys() == {"a.md", "c.md", "d.md"}
    # A name comes back to who had it, and one that others know by now is taken from them.
    articles.rename_articles(connection, source.id, {three: "c.md"})
    articles.rename_articles(connection, source.id, {two: "b.md"})
    guids = {k.id: k.guid for k in articles.list_known_articles(connection, source.id, now=now)}
    assert (guids[two], guids[three]) == ("b.md", "c.md")
    assert guids[one] not in {"a.md", "b.md", "c.md"}


def test_what_another_source_brought_before_is_mailed_once(
    connection: Connection, now: datetime, source: Source
) -> None:
    other = add_source(connection, now, location="https://other.example.org/feed")
    newsletter = add_newsletter(connection, now, slug="both", draws_from=[source.id, other.id])
    alone = add_newsletter(connection, now, slug="alone", draws_from=[other.id])
    rows = (
        (source.id, "one", {"link_key": "l1", "text_key": "t1"}),
        (other.id, "same link", {"link_key": "l1", "text_key": "t2"}),
        (other.id, "same text", {"link_key": "l3", "text_key": "t1"}),
        (other.id, "neither", {"link_key": "", "text_key": ""}),
        (source.id, "own link", {"link_key": "l5", "text_key": "t5"}),
        (source.id, "own link again", {"link_key": "l5", "text_key": "t6"}),
    )
    for source_id, title, keys in rows:
        [sequence] = [articles.take_sequences(connection, 1)]
        new = articles.NewArticle(
            parsed=make_parsed(sequence, title=title),
            sequence=sequence,
            atom_id=f"tag:{sequence}",
            origin=Origin.NEW,
            **keys,
        )
        articles.add_articles(connection, [new], source_id=source_id, now=now)

    def mailed(newsletter_id: int, after: int = 0) -> set[str]:
        found = articles.list_mailable_articles(connection, newsletter_id, after=after, cutoff=99)
        return {article.title for article in found}

    assert mailed(newsletter.id) == {"one", "neither", "own link", "own link again"}
    assert mailed(newsletter.id, after=1) == mailed(newsletter.id) - {"one"}, "who had it is not mailed again"
    assert mailed(alone.id) == {"same link", "same text", "neither"}
    assert len(articles.list_newsletter_articles(connection, newsletter.id)) == 6


def test_an_earlier_text_that_comes_back_is_counted_for_a_day(
    connection: Connection, now: datetime, source: Source
) -> None:
    key = add_article(connection, source.id, now)
    for hours in (1, 2):
        articles.revise_article(
            connection, key, make_parsed(1), now=now + timedelta(hours=hours), has_turned=True
        )

    def turns(hours: int) -> int:
        at = now + timedelta(hours=hours)
        return articles.list_known_articles(connection, source.id, now=at)[0].turns

    assert (turns(3), turns(27)) == (2, 0)
