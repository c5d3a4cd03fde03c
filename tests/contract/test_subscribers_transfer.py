from __future__ import annotations

import io
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, select

from subscribers import store, subscribing, suppression, tables
from subscribers.addresses import parse_address
from subscribers.errors import ImportProblem
from subscribers.model import Cadence, ConsentMethod, SubscriptionStatus, SuppressionReason
from subscribers.preferences import Offer, Preferences
from subscribers.transfer import (
    Fate,
    ImportTarget,
    ImportTerms,
    LineReport,
    apply_import,
    export_csv,
    plan_import,
)

S = SubscriptionStatus
SECRET = b"a secret of at least 16 bytes"
OFFER = Offer(
    cadences=(Cadence.WEEKLY, Cadence.DAILY, Cadence.MONTHLY, Cadence.IMMEDIATE),
    topics={"coast": "Coast", "night-sky": "Night sky", "woods": "Woods", "craft": "Craft"},
)
TERMS = ImportTerms(
    targets={
        "letter": ImportTarget(newsletter_id=1, offer=OFFER, watermark=7),
        "other": ImportTarget(newsletter_id=2, offer=OFFER, watermark=7),
    },
    default="letter",
    file_name="readers.csv",
    statement="signed the paper list at the fair",
    allow_private=False,
    secret=SECRET,
)


def take_in(
    connection: Connection, now: datetime, text: str | bytes, terms: ImportTerms = TERMS
) -> list[LineReport]:
    """Plans, checks that this wrote nothing, then applies, which must give the same fates."""
    data = text.encode() if isinstance(text, str) else text
    before = contents(connection)
    planned = list(plan_import(connection, io.BytesIO(data), terms))
    assert contents(connection) == before
    applied = list(apply_import(connection, io.BytesIO(data), terms, now=now))
    assert applied == planned
    return applied


def contents(connection: Connection) -> list[object]:
    return [
        connection.execute(select(table).order_by(*table.primary_key)).all()
        for table in tables.metadata.sorted_tables
    ]


def told(reports: list[LineReport]) -> list[tuple[int, Fate, str]]:
    return [(r.line, r.fate, r.detail) for r in reports]


def export(connection: Connection) -> str:
    return "".join(export_csv(connection, {1: "letter", 2: "other"}))


def test_a_line_becomes_an_active_subscription_with_its_consent(
    connection: Connection, now: datetime
) -> None:
    text = (
        "Email;Name;Cadence;Topics;Time zone;Language;shoe size\n"
        "Reader@Example.com;Lesende Ü.;daily;Night sky;Europe/Berlin;de;42\n"
    )
    reports = take_in(connection, now, text)
    assert reports == [LineReport(line=2, email="Reader@example.com", fate=Fate.ADDED)]
    person = store.find_by_email(connection, "reader@example.com")
    assert person is not None
    assert (person.email, person.name) == ("Reader@example.com", "Lesende Ü.")
    assert (person.time_zone, person.language) == ("Europe/Berlin", "de")
    (its,) = store.list_subscriptions(connection, person.id)
    assert (its.newsletter_id, its.status, its.watermark) == (1, S.ACTIVE, 7)
    assert (its.cadence, its.topics) == (Cadence.DAILY, ("night-sky",))
    assert (its.created_at, its.confirmed_at) == (now, now)
    (row,) = connection.execute(select(tables.subscription_topic)).all()
    assert tuple(row) == (its.id, "night-sky")
    (line,) = store.list_consent(connection, person.id)
    assert (line.action, line.method, line.newsletter_id) == ("granted", ConsentMethod.IMPORT, 1)
    assert (line.text, line.proof, line.at) == (TERMS.statement, "readers.csv, line 2", now)


def test_every_line_has_a_fate(connection: Connection, now: datetime) -> None:
    for email, status in (
        ("active@example.com", S.ACTIVE),
        ("paused@example.com", S.PAUSED),
        ("pending@example.com", S.PENDING),
        ("gone@example.com", S.UNSUBSCRIBED),
    ):
        store.add_subscription(
            connection,
            subscriber_id=store.create_or_get_subscriber(
                connection, parse_address(email), name="", language="", time_zone="", now=now
            ).id,
            newsletter_id=1,
            status=status,
            cadence=Cadence.DAILY,
            topics=(),
            watermark=1,
            now=now,
        )
    suppression.suppress(
        connection, "angry@example.com", reason=SuppressionReason.COMPLAINT, now=now, evidence=""
    )
    subscribing.erase(connection, "erased@example.com", now=now, secret=SECRET)
    before = store.count_by_status(connection, 1)
    lines = [
        "email,newsletter,cadence,topics,time_zone,status",
        "new@example.com,,,,,",
        "active@example.com,,,,,",
        "paused@example.com,,,,,",
        "pending@example.com,,,,,",
        "GONE@example.com,,,,,",
        "angry@example.com,,,,,",
        "erased@example.com,,,,,",
        "New@Example.com,letter,,,,",
        "new@example.com,other,,,,",
        "not an address,,,,,",
        "a@example.com,nothing,,,,",
        "b@example.com,,dayly,Sea,,",
        "c@example.com,,,,Nowhere,",
        "d@example.com,,,,,unsubscribed",
        "e@example.com,,,,,sleeping",
        "f@example.com,,,,,,,",
        ",,daily,,,",
    ]
    reports = take_in(connection, now, "\r\n".join(lines))
    assert told(reports) == [
        (2, Fate.ADDED, ""),
        (3, Fate.SUBSCRIBED, ""),
        (4, Fate.PAUSED, ""),
        (5, Fate.PENDING, ""),
        (6, Fate.UNSUBSCRIBED, ""),
        (7, Fate.SUPPRESSED, "complaint"),
        (8, Fate.SUPPRESSED, "erased"),
        (9, Fate.DUPLICATE, "of line 2"),
        (10, Fate.ADDED, ""),
        (11, Fate.INVALID, "An address looks like name@example.com; the @ is missing."),
        (12, Fate.INVALID, "unknown newsletter 'nothing'; one of letter, other"),
        (
            13,
            Fate.INVALID,
            (
                "unknown cadence 'dayly'; one of weekly, daily, monthly, immediate; "
                "unknown topic 'Sea'; one of Coast, Night sky, Woods, Craft"
            ),
        ),
        (14, Fate.INVALID, "unknown time zone 'Nowhere'; use a name such as Europe/Berlin"),
        (15, Fate.UNSUBSCRIBED, "so says the file"),
        (16, Fate.INVALID, "unknown status 'sleeping'; one of pending, active, paused, unsubscribed"),
        (17, Fate.INVALID, "it has 8 cells and the header 6"),
        (18, Fate.INVALID, "An address looks like name@example.com; the @ is missing."),
    ]
    assert store.count_by_status(connection, 1) == before | {S.ACTIVE: before[S.ACTIVE] + 1}
    assert store.find_by_email(connection, "angry@example.com") is None
    assert store.find_by_email(connection, "erased@example.com") is None
    assert str(reports[5]) == "line 7: angry@example.com: suppressed: complaint"
    assert str(reports[0]) == "line 2: new@example.com: added"
    assert str(reports[16]).startswith("line 18: (no address): invalid: ")


def test_an_import_can_be_repeated(connection: Connection, now: datetime) -> None:
    text = "email,name\na@example.com,A\nb@example.com,B\n"
    assert [r.fate for r in take_in(connection, now, text)] == [Fate.ADDED] * 2
    before = contents(connection)
    assert [r.fate for r in take_in(connection, now, text)] == [Fate.SUBSCRIBED] * 2
    assert contents(connection) == before


def test_lines_without_a_newsletter_need_a_default(connection: Connection, now: datetime) -> None:
    reports = take_in(connection, now, "email\na@example.com\n", replace(TERMS, default=""))
    assert told(reports) == [(2, Fate.INVALID, "it names no newsletter; one of letter, other")]


def test_an_import_is_cut_into_batches_without_a_seam(connection: Connection, now: datetime) -> None:
    emails = [f"r{n}@example.com" for n in range(1201)]
    text = "\n".join(["email", *emails, emails[0], emails[600]])
    reports = take_in(connection, now, text)
    assert [r.fate for r in reports[:1201]] == [Fate.ADDED] * 1201
    assert told(reports[1201:]) == [
        (1203, Fate.DUPLICATE, "of line 2"),
        (1204, Fate.DUPLICATE, "of line 602"),
    ]
    query = select(func.count()).select_from(tables.consent)
    assert connection.execute(query).scalar_one() == 1201


def test_a_report_of_a_hostile_line_is_one_printable_line(connection: Connection, now: datetime) -> None:
    text = 'email,newsletter\n"\x1b[2Ja\nb@example.com","\x1b[31m\nx"\n'
    (report,) = take_in(connection, now, text)
    assert report.fate is Fate.INVALID
    assert str(report).isprintable()


def test_a_file_that_breaks_off_is_refused_by_line(connection: Connection, now: datetime) -> None:
    text = 'email,name\na@example.com,A\nb@example.com,"B\n'
    for run in (
        plan_import(connection, io.BytesIO(text.encode()), TERMS),
        apply_import(connection, io.BytesIO(text.encode()), TERMS, now=now),
    ):
        with pytest.raises(ImportProblem, match="line 3"):
            list(run)


def test_the_sample_list_is_taken_in_whole(connection: Connection, now: datetime) -> None:
    root = Path(__file__).parents[2]
    sample = (root / "syndicate" / "samples" / "subscribers.csv").read_bytes()
    reports = take_in(connection, now, sample)
    assert len(reports) == sample.decode().strip().count("\n")
    assert {r.fate for r in reports} == {Fate.ADDED}


def test_what_was_exported_is_the_same_after_it_was_taken_in_elsewhere(
    connection: Connection, now: datetime
) -> None:
    text = (
        "email,name,newsletter,cadence,topics\n"
        "=calc@example.com,=1+1,letter,daily,Coast;Woods\n"
        "+plus@example.com,  '@quoted,letter,weekly,\n"
        'a@example.com,"Seven, ""Reader""",other,monthly,Craft\n'
        "b@bücher.example,'=x,letter,,\n"
    )
    assert [r.fate for r in take_in(connection, now, text)] == [Fate.ADDED] * 4
    first = export(connection)
    assert first.splitlines()[:2] == [
        "email,name,newsletter,status,cadence,topics,time_zone,language,created_at,confirmed_at",
        f"'=calc@example.com,'=1+1,letter,active,daily,coast;woods,,,{now.isoformat()},{now.isoformat()}",
    ]
    for email_key in connection.execute(select(tables.subscriber.c.email_key)).scalars().all():
        store.delete_subscriber(connection, email_key)
    assert export(connection).count("\r\n") == 1
    assert [r.fate for r in take_in(connection, now, first)] == [Fate.ADDED] * 4
    assert export(connection) == first


def test_an_export_brings_back_only_who_was_active(connection: Connection, now: datetime) -> None:
    take_in(connection, now, "email\na@example.com\nb@example.com\n")
    person = store.find_by_email(connection, "b@example.com")
    assert person is not None
    (its,) = store.list_subscriptions(connection, person.id)
    subscribing.unsubscribe(connection, its.id, method=ConsentMethod.ONE_CLICK, now=now, proof="")
    text = export(connection)
    for email_key in ("a@example.com", "b@example.com"):
        store.delete_subscriber(connection, email_key)
    assert [r.fate for r in take_in(connection, now, text)] == [Fate.ADDED, Fate.UNSUBSCRIBED]
    assert store.find_by_email(connection, "b@example.com") is None


def test_an_export_is_longer_than_a_page(connection: Connection, now: datetime) -> None:
    emails = [f"r{n}@example.com" for n in range(501)]
    take_in(connection, now, "\n".join(["email", *emails]))
    lines = export(connection).splitlines()
    assert [line.split(",")[0] for line in lines] == ["email", *emails]


def test_a_subscription_that_waits_is_exported_without_a_time_of_confirmation(
    connection: Connection, now: datetime
) -> None:
    subscribing.subscribe(
        connection,
        newsletter_id=1,
        address=parse_address("a@example.com"),
        name="A",
        preferences=Preferences(cadence=Cadence.DAILY, topics=()),
        watermark=0,
        now=now,
        proof="",
        text="",
        confirmed_opt_in=True,
        secret=SECRET,
    )
    assert export(connection).splitlines()[1] == f"a@example.com,A,letter,pending,daily,,,,{now.isoformat()},"
