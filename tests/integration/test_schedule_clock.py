"""The clock's rings by a clock that is moved by hand, and the clock itself with a send under way."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, update

from subscribers.model import Cadence
from subscribers.tables import subscription
from syndicate.model import DeliveryState, Edition, EditionState, Newsletter, SourceKind
from syndicate.schedule.clock import Clock, look_before_slots, open_due_editions
from syndicate.schedule.watching import FolderWatch
from syndicate.service.editions import approve_edition, report_edition, resume_edition
from syndicate.service.installation import Installation, utc_now
from syndicate.service.newsletters import (
    NewsletterChanges,
    add_newsletter,
    edit_newsletter,
    list_schedules,
)
from syndicate.storage import editions, newsletters, sources, tables
from syndicate.storage.engine import open_engine, reading, writing
from tests.builders import add_reader, add_source
from tests.installation_builders import (
    FakeClock,
    articles_to,
    make_installation,
    open_now,
    publish,
    relay_in_thread,
)

S = DeliveryState


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def inst(engine: Engine, tmp_path: Path, clock: FakeClock) -> Installation:
    return make_installation(engine, tmp_path, clock=clock)


@pytest.fixture
def source_id(inst: Installation) -> int:
    with writing(inst.engine) as conn:
        return add_source(conn, inst.clock()).id


def make_newsletter(inst: Installation, source_id: int, slug: str = "tide", **changes: Any) -> Newsletter:
    """A newsletter for daily readers, of whom it has one, at 07:00 in London."""
    values: dict[str, Any] = {
        "cadences": (Cadence.DAILY,),
        "time_zone": "Europe/London",
        "send_at": "07:00",
        "from_email": "letters@example.org",
    }
    newsletter = add_newsletter(inst, slug, NewsletterChanges(**values | changes))
    with writing(inst.engine) as conn:
        newsletters.join_source(conn, newsletter.id, source_id, from_sequence=0, now=inst.clock())
        add_reader(conn, newsletter.id, inst.clock(), f"reader-of-{slug}", cadence=newsletter.cadences[0])
    return newsletter


def editions_of(inst: Installation, newsletter: Newsletter | None = None) -> list[Edition]:
    """The oldest first."""
    with reading(inst.engine) as conn:
        found = editions.list_editions(conn, newsletter_id=newsletter.id if newsletter else None)
    return found[::-1]


def test_a_slot_opens_once_although_two_processes_ring_at_once(
    inst: Installation, source_id: int, clock: FakeClock, tmp_path: Path
) -> None:
    newsletter = make_newsletter(inst, source_id, cadences=(Cadence.DAILY, Cadence.IMMEDIATE))
    url = inst.engine.url.render_as_string(hide_password=False)
    others = [make_installation(open_engine(url), tmp_path, clock=clock) for _ in range(2)]
    with writing(inst.engine) as conn:
        add_reader(conn, newsletter.id, clock.at, "at-once", cadence=Cadence.IMMEDIATE)
    opened: list[int] = []
    for day in range(1, 4):
        publish(inst, source_id)
        clock.at = datetime(2026, 3, 14 + day, 7, 0, 30, tzinfo=UTC)
        barrier = threading.Barrier(len(others))

        def ring(other: Installation, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            opened.append(open_due_editions(other))

        threads = [threading.Thread(target=ring, args=[other]) for other in others]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with writing(inst.engine) as conn:  # as if all of it had been sent
            conn.execute(update(tables.delivery).values(state=S.SENT))
            cutoff = editions_of(inst)[-1].cutoff
            conn.execute(update(subscription).values(watermark=cutoff))

    assert Counter(e.cadence for e in editions_of(inst, newsletter)) == {"daily": 3, "immediate": 3}
    assert sum(opened) == 6
    assert [s.after_local for s in list_schedules(inst, newsletter.id) if s.cadence == "daily"] == [
        "2026-03-17T07:00"
    ]
    for other in others:
        other.engine.dispose()


@pytest.mark.parametrize(
    ("first_day", "opens_at"),
    [
        # 02:30 does not exist on March 29 and comes twice on October 25.
        (datetime(2026, 3, 28, tzinfo=UTC), ["28 01:30", "29 01:30", "30 00:30"]),
        (datetime(2026, 10, 24, tzinfo=UTC), ["24 00:30", "25 00:30", "26 01:30"]),
    ],
)
def test_a_day_on_which_the_clocks_change_has_one_edition(
    sqlite_url: str, tmp_path: Path, first_day: datetime, opens_at: list[str]
) -> None:
    engine, clock = open_engine(sqlite_url), FakeClock(first_day - timedelta(hours=3))
    inst = make_installation(engine, tmp_path, clock=clock)
    with writing(engine) as conn:
        source_id = add_source(conn, clock.at).id
    newsletter = make_newsletter(inst, source_id, time_zone="Europe/Berlin", send_at="02:30")
    opened: list[str] = []
    while clock.at < first_day + timedelta(days=3):
        if clock.at.minute == 0:  # there is always something new
            publish(inst, source_id)
            settle_all(inst)
        opened += [f"{clock.at:%d %H:%M}"] * open_due_editions(inst)
        clock.move(minutes=30)

    assert opened == opens_at
    days = [(first_day + timedelta(days=n)).strftime("%Y-%m-%dT02:30") for n in range(3)]
    assert [edition.slot for edition in editions_of(inst, newsletter)] == days
    assert {edition.state for edition in editions_of(inst)} == {EditionState.APPROVED}
    berlin = ZoneInfo("Europe/Berlin")
    assert [f"{e.opened_at.astimezone(berlin):%H:%M}" for e in editions_of(inst)][1] in {"03:30", "02:30"}
    engine.dispose()


def settle_all(inst: Installation) -> None:
    with writing(inst.engine) as conn:
        conn.execute(update(tables.delivery).values(state=S.SENT))


def test_a_slot_that_was_missed_too_long_opens_held_and_is_sent_only_once_it_is_approved(
    engine: Engine, tmp_path: Path, clock: FakeClock
) -> None:
    with relay_in_thread() as relay:
        inst = make_installation(engine, tmp_path, port=relay.port, clock=clock, late_after_h=6.0)
        with writing(engine) as conn:
            source_id = add_source(conn, clock.at).id
        newsletter = make_newsletter(inst, source_id)
        publish(inst, source_id)
        clock.at = datetime(2026, 3, 17, 13, 0, 1, tzinfo=UTC)  # six hours and a second after the slot
        bell = Clock(inst)

        bell.collect()
        bell.send()

        [edition] = editions_of(inst, newsletter)
        assert (edition.state, edition.slot) == (EditionState.HELD, "2026-03-17T07:00")
        assert edition.reason == "its slot 2026-03-17T07:00 was missed"
        clock.move(hours=1)
        bell.collect()
        bell.send()
        assert relay.commands == []
        approve_edition(inst, edition.id)
        bell.send()
        assert articles_to(relay.accepted, "reader-of-tide@example.com") == [[1]]
        assert len(editions_of(inst)) == 1


def test_a_slot_that_was_missed_by_less_is_sent_by_itself(
    inst: Installation, source_id: int, clock: FakeClock
) -> None:
    make_newsletter(inst, source_id)
    publish(inst, source_id)
    clock.at = datetime(2026, 3, 17, 12, 59, tzinfo=UTC)

    assert open_due_editions(inst) == 1
    assert editions_of(inst)[0].state is EditionState.APPROVED


def test_a_slot_with_nothing_new_opens_nothing_and_is_dealt_with(
    inst: Installation, source_id: int, clock: FakeClock
) -> None:
    newsletter = make_newsletter(inst, source_id)
    clock.at = datetime(2026, 3, 15, 7, 0, tzinfo=UTC)
    assert open_due_editions(inst) == 0
    [daily] = [s for s in list_schedules(inst, newsletter.id) if s.cadence == "daily"]
    assert daily.after_local == "2026-03-15T07:00"

    publish(inst, source_id)  # a minute too late
    clock.move(hours=3)
    assert open_due_editions(inst) == 0
    clock.at = datetime(2026, 3, 16, 6, 59, tzinfo=UTC)
    assert open_due_editions(inst) == 0
    clock.move(minutes=1)
    assert open_due_editions(inst) == 1


def test_readers_who_want_each_article_at_once_get_it_at_the_next_ring(
    engine: Engine, tmp_path: Path, clock: FakeClock
) -> None:
    with relay_in_thread() as relay:
        inst = make_installation(engine, tmp_path, port=relay.port, clock=clock)
        with writing(engine) as conn:
            source_id = add_source(conn, clock.at).id
        make_newsletter(inst, source_id, cadences=(Cadence.IMMEDIATE, Cadence.DAILY))
        bell = Clock(inst)
        for _ in range(3):
            publish(inst, source_id)
            for _ in range(2):
                bell.collect()
                bell.send()
                clock.move(seconds=30)

        assert articles_to(relay.accepted, "reader-of-tide@example.com") == [[1], [2], [3]]


def test_a_newsletter_whose_template_is_broken_does_not_stop_the_others(
    inst: Installation, source_id: int, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = make_newsletter(inst, source_id, "broken")
    sound = make_newsletter(inst, source_id, "sound")
    with writing(inst.engine) as conn:
        of_broken = tables.newsletter.c.id == broken.id
        conn.execute(update(tables.newsletter).where(of_broken).values(subject_template="{{ title"))
    publish(inst, source_id)
    clock.at = datetime(2026, 3, 15, 7, 0, tzinfo=UTC)

    assert open_due_editions(inst) == 1

    assert [e.newsletter_id for e in editions_of(inst)] == [sound.id]
    said = capsys.readouterr().out
    assert "edition_not_opened" in said
    assert "subject of 'Broken'" in said
    # It is still due, and opens once the template has been put right.
    edit_newsletter(inst, "broken", NewsletterChanges(subject_template="{{ title }}"))
    clock.move(minutes=1)
    assert open_due_editions(inst) == 1
    assert [e.newsletter_id for e in editions_of(inst)] == [sound.id, broken.id]


def test_after_a_fault_of_the_relay_nothing_is_tried_until_a_while_has_passed(
    engine: Engine, tmp_path: Path, clock: FakeClock
) -> None:
    with relay_in_thread(plan={"connect": ["421 4.3.2 busy"] * 3}) as relay:
        inst = make_installation(engine, tmp_path, port=relay.port, clock=clock, connections=1)
        with writing(engine) as conn:
            source_id = add_source(conn, clock.at).id
        for slug in ("tide", "wood"):
            newsletter = make_newsletter(inst, source_id, slug)
            publish(inst, source_id)
            open_now(inst, newsletter)
        bell = Clock(inst)
        tried = []
        for _ in range(9):
            bell.send()
            tried.append(relay.connections)
            clock.move(minutes=1)

        # After 1, 2 and 4 minutes; the second edition does not try what has just failed.
        assert tried == [1, 2, 2, 3, 3, 3, 3, 5, 5]
        assert {e.state for e in editions_of(inst)} == {EditionState.SENT}
        assert len(relay.accepted) == 2


def test_a_refused_password_pauses_the_edition_with_the_reason(
    engine: Engine, tmp_path: Path, clock: FakeClock
) -> None:
    with relay_in_thread(plan={"auth": ["535 5.7.8 no"]}, extensions=("AUTH PLAIN",)) as relay:
        smtp = {"username": "me", "password": "wrong"}
        inst = make_installation(engine, tmp_path, port=relay.port, clock=clock, smtp=smtp, connections=1)
        with writing(engine) as conn:
            source_id = add_source(conn, clock.at).id
        newsletter = make_newsletter(inst, source_id)
        publish(inst, source_id)
        edition = open_now(inst, newsletter)
        bell = Clock(inst)

        for _ in range(3):
            bell.send()
            clock.move(hours=2)

        paused = report_edition(inst, edition.id)
        assert paused.edition.state is EditionState.PAUSED
        assert paused.edition.reason == f"relay 127.0.0.1:{relay.port}: auth failed: 535 5.7.8 no"
        assert paused.counts[S.PENDING] == 1
        assert relay.verbs.count("AUTH") == 1
        resume_edition(inst, edition.id)
        bell.send()
        assert len(relay.accepted) == 1


def test_an_edition_that_cannot_be_sent_does_not_keep_the_others_waiting(
    engine: Engine, tmp_path: Path, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    with relay_in_thread() as relay:
        inst = make_installation(engine, tmp_path, port=relay.port, clock=clock)
        with writing(engine) as conn:
            source_id = add_source(conn, clock.at).id
        damaged, sound = (make_newsletter(inst, source_id, slug) for slug in ("damaged", "sound"))
        publish(inst, source_id)
        first = open_now(inst, damaged)
        with writing(engine) as conn:
            conn.execute(update(tables.edition_content).values(compiled=b"{}"))
        open_now(inst, sound)

        Clock(inst).send()

        assert [mail.recipient for mail in relay.accepted] == ["reader-of-sound@example.com"]
        assert report_edition(inst, first.id).counts[S.PENDING] == 1
        assert "does not match its checksum" in capsys.readouterr().out


@pytest.fixture
def under_way(sqlite_url: str, tmp_path: Path) -> Iterator[tuple[Installation, Edition, list[Any]]]:
    """An edition for 200 readers, and a relay that gets 20 messages a second."""
    engine = open_engine(sqlite_url)
    with relay_in_thread() as relay:
        inst = make_installation(engine, tmp_path, port=relay.port, clock=utc_now, rate_s=20.0)
        with writing(engine) as conn:
            source_id = add_source(conn, utc_now()).id
        newsletter = make_newsletter(inst, source_id)
        with writing(engine) as conn:
            for n in range(200):
                add_reader(conn, newsletter.id, utc_now(), f"r{n}")
        publish(inst, source_id)
        with writing(engine) as conn:  # nobody asks the network for it
            conn.execute(update(tables.source).values(state="paused"))
        yield inst, open_now(inst, newsletter), relay.accepted
    engine.dispose()


def test_a_clock_that_is_stopped_finishes_the_window_and_leaves_the_rest(
    under_way: tuple[Installation, Edition, list[Any]],
) -> None:
    inst, edition, accepted = under_way
    bell = Clock(inst)
    bell.start()
    ticks = threading.Event()
    while len(accepted) < 4:
        ticks.wait(0.01)

    bell.stop()

    counts = report_edition(inst, edition.id).counts
    assert counts[S.SENT] == len(accepted)
    assert counts[S.PENDING] == 201 - len(accepted) > 0
    assert counts[S.ATTEMPTING] == counts[S.UNCERTAIN] == 0
    assert not [t for t in threading.enumerate() if t.name.startswith(("APScheduler", "ThreadPoolExecutor"))]


def test_a_clock_that_was_never_started_can_be_stopped(inst: Installation) -> None:
    Clock(inst).stop()


def test_sources_are_looked_at_once_more_before_an_edition_opens(
    inst: Installation, source_id: int, clock: FakeClock
) -> None:
    make_newsletter(inst, source_id)
    with writing(inst.engine) as conn:
        other = add_source(conn, clock.at, location="https://other.example.org/feed").id

    def due_after(minutes_before: int) -> list[int]:
        clock.at = datetime(2026, 3, 15, 7, 0, tzinfo=UTC) - timedelta(minutes=minutes_before)
        with writing(inst.engine) as conn:
            later = {"next_due_at": clock.at + timedelta(hours=3)}
            conn.execute(update(tables.source).values(**later))
        look_before_slots(inst)
        with reading(inst.engine) as conn:
            return [source.id for source in sources.list_due_sources(conn, clock.at)]

    assert due_after(30) == []
    assert due_after(8) == [source_id]
    assert other != source_id
    with writing(inst.engine) as conn:
        conn.execute(update(tables.source).values(last_checked_at=clock.at))
    assert due_after(5) == []
    with writing(inst.engine) as conn:
        conn.execute(update(tables.source).values(last_checked_at=None, failures=2))
    assert due_after(4) == [], "its server asked us to wait, or may not have recovered"


def test_a_folder_is_told_of_moments_after_something_was_saved_in_it(
    inst: Installation, tmp_path: Path
) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    with writing(inst.engine) as conn:
        number = add_source(conn, inst.clock(), kind=SourceKind.FOLDER, location=str(folder)).id
    told, heard = threading.Event(), []

    def hear(source_id: int) -> None:
        heard.append(source_id)
        told.set()

    watch = FolderWatch(inst, on_change=hear)
    watch.start()
    try:
        for attempt in range(20):  # the system takes a moment until it tells of changes
            (folder / "a.md").write_text(f"Text {attempt}", "utf-8")
            if told.wait(3):
                break
    finally:
        watch.stop()

    assert set(heard) == {number}
