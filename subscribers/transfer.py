"""Subscribers in and out as CSV. Both are streams: no file is held in memory.

An import is the operator's word, not the reader's: it never brings back who has left, and lifts nothing.
Sends nothing, and does not know where a newsletter's number and offer come from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import BinaryIO, Final

from sqlalchemy import Connection, insert, select

from subscribers import store, suppression
from subscribers.addresses import Address, parse_address
from subscribers.consent import decide_enrol
from subscribers.errors import InvalidAddress, InvalidPreferences
from subscribers.model import ConsentMethod, Subscription, SubscriptionStatus
from subscribers.preferences import (
    Offer,
    Preferences,
    clean_name,
    parse_language,
    parse_preferences,
    parse_time_zone,
)
from subscribers.spreadsheet import Row, read_rows, write_row
from subscribers.tables import consent, subscriber, subscription, subscription_topic

__all__ = ["Fate", "ImportTarget", "ImportTerms", "LineReport", "apply_import", "export_csv", "plan_import"]

_BATCH: Final = 500

_COLUMNS: Final = (
    "email",
    "name",
    "newsletter",
    "status",
    "cadence",
    "topics",
    "time_zone",
    "language",
    "created_at",
    "confirmed_at",
)


class Fate(StrEnum):
    """What becomes of a line of an import."""

    ADDED = "added"
    SUBSCRIBED = "already subscribed"
    PAUSED = "paused, left alone"
    PENDING = "waits for its confirmation, left alone"
    UNSUBSCRIBED = "unsubscribed, left alone"
    SUPPRESSED = "suppressed"  # the detail is the reason
    DUPLICATE = "duplicate"  # the detail names the line that counts
    INVALID = "invalid"  # the detail says why


_FATES: Final = {
    SubscriptionStatus.ACTIVE: Fate.SUBSCRIBED,
    SubscriptionStatus.PAUSED: Fate.PAUSED,
    SubscriptionStatus.PENDING: Fate.PENDING,
    SubscriptionStatus.UNSUBSCRIBED: Fate.UNSUBSCRIBED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LineReport:
    """The fate of one line."""

    line: int  #: of the file, from 1; the header is line 1
    email: str  #: as it stands in the file, as far as it can be shown
    fate: Fate
    detail: str = ""

    def __str__(self) -> str:
        told = f"{self.fate}: {self.detail}" if self.detail else str(self.fate)
        return f"line {self.line}: {self.email or '(no address)'}: {told}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportTarget:
    """A newsletter that people can be added to."""

    newsletter_id: int
    offer: Offer
    watermark: int  #: the current sequence: who is added gets what comes after it


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportTerms:
    """On what terms a file is taken."""

    targets: Mapping[str, ImportTarget]  #: by slug
    default: str  #: the slug for lines that name no newsletter; "": they are invalid
    file_name: str  #: for the consent record
    statement: str  #: the operator's, where and how these people agreed
    allow_private: bool  #: as for ``parse_address``
    secret: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A line that can be understood."""

    line: int
    address: Address
    name: str
    language: str
    time_zone: str
    status: SubscriptionStatus  #: as the file has it
    target: ImportTarget
    preferences: Preferences


def plan_import(conn: Connection, stream: BinaryIO, terms: ImportTerms) -> Iterator[LineReport]:
    """What ``apply_import`` would do, line by line, by the same code; writes nothing."""
    return _run(conn, stream, terms, None)


def apply_import(
    conn: Connection, stream: BinaryIO, terms: ImportTerms, *, now: datetime
) -> Iterator[LineReport]:
    """Adds the people of a CSV file, and says for each line what became of it, in order.

    The header must name ``email``; name, newsletter (slug), cadence, topics (divided by ``;``), time_zone,
    language and status are optional, other columns are not looked at. A line whose status is not active is
    left alone, so that an export can be taken in again. Works as far as it is iterated. Raises ImportProblem
    if the file cannot be read any further; roll back then, and nothing has happened.
    """
    return _run(conn, stream, terms, now)


def export_csv(conn: Connection, newsletters: Mapping[int, str]) -> Iterator[str]:
    """The subscriptions of newsletters (slug by number) as lines of CSV, the header first.

    By newsletter in the order given, then by number. Topics are slugs divided by ``;``, instants ISO 8601.
    """
    yield write_row(_COLUMNS)
    for newsletter_id, slug in newsletters.items():
        after_id = 0
        while page := store.list_subscribers(conn, newsletter_id, after_id=after_id, limit=_BATCH):
            yield from (_exported(reader, slug) for reader in page)
            after_id = page[-1].subscription.id


def _exported(reader: store.Reader, slug: str) -> str:
    person, its = reader.subscriber, reader.subscription
    return write_row(
        [
            person.email,
            person.name,
            slug,
            its.status,
            its.cadence,
            ";".join(its.topics),
            person.time_zone,
            person.language,
            its.created_at.isoformat(),
            its.confirmed_at.isoformat() if its.confirmed_at else "",
        ]
    )


def _run(
    conn: Connection, stream: BinaryIO, terms: ImportTerms, now: datetime | None
) -> Iterator[LineReport]:
    rows = read_rows(stream, required="email")
    seen: dict[int, int] = {}
    while batch := list(islice(rows, _BATCH)):
        checked = [_check(row, terms, seen) for row in batch]
        fates = _settle(conn, [c for c in checked if isinstance(c, _Candidate)], terms, now)
        yield from (fates[c.line] if isinstance(c, _Candidate) else c for c in checked)


def _check(row: Row, terms: ImportTerms, seen: dict[int, int]) -> _Candidate | LineReport:
    def report(fate: Fate, detail: str) -> LineReport:
        return LineReport(line=row.line, email=clean_name(row.cells["email"]), fate=fate, detail=detail)

    if row.problem:
        return report(Fate.INVALID, row.problem)
    try:
        candidate = _to_candidate(row, terms)
    except (InvalidAddress, InvalidPreferences) as error:
        return report(Fate.INVALID, error.detail if isinstance(error, InvalidAddress) else str(error))
    pair = _fingerprint(candidate.address.key, candidate.target.newsletter_id)
    first = seen.setdefault(pair, row.line)
    if first != row.line:
        return report(Fate.DUPLICATE, f"of line {first}")
    if candidate.status is SubscriptionStatus.ACTIVE:
        return candidate
    return report(_FATES[candidate.status], "so says the file")


def _to_candidate(row: Row, terms: ImportTerms) -> _Candidate:
    cells = row.cells
    address = parse_address(cells["email"], allow_private=terms.allow_private)
    slug = cells.get("newsletter", "").strip() or terms.default
    target = terms.targets.get(slug)
    if target is None:
        what = f"unknown newsletter '{clean_name(slug)[:40]}'" if slug else "it names no newsletter"
        raise InvalidPreferences([f"{what}; one of {', '.join(terms.targets)}"])
    choices = {"cadence": [cells.get("cadence", "")], "topics": cells.get("topics", "").split(";")}
    return _Candidate(
        line=row.line,
        address=address,
        name=clean_name(cells.get("name", "")),
        language=parse_language(cells.get("language", "")),
        time_zone=parse_time_zone(cells.get("time_zone", "")),
        status=_parse_status(cells.get("status", "")),
        target=target,
        preferences=parse_preferences(choices, offer=target.offer),
    )


def _parse_status(text: str) -> SubscriptionStatus:
    word = text.strip().casefold() or SubscriptionStatus.ACTIVE
    try:
        return SubscriptionStatus(word)
    except ValueError:
        known = ", ".join(SubscriptionStatus)
        raise InvalidPreferences([f"unknown status '{clean_name(word)[:40]}'; one of {known}"]) from None


def _fingerprint(email_key: str, newsletter_id: int) -> int:
    # Eight bytes for each line seen, not an address: a million lines are about 100 MB less.
    digest = hashlib.blake2b(f"{newsletter_id} {email_key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _settle(
    conn: Connection, candidates: Sequence[_Candidate], terms: ImportTerms, now: datetime | None
) -> dict[int, LineReport]:
    """Decides a batch and, with a ``now``, stores who is added; the fates by line."""
    keys = sorted({c.address.key for c in candidates})
    suppressed = suppression.find_many(conn, keys, secret=terms.secret)
    if now is not None:
        _add_people(conn, [c for c in candidates if c.address.key not in suppressed], now)
    people = _find_people(conn, keys, lock=now is not None)
    standing = _find_subscriptions(conn, people.values())
    fates: dict[int, LineReport] = {}
    added: list[_Candidate] = []
    for c in candidates:
        current = standing.get((people.get(c.address.key, 0), c.target.newsletter_id))
        reason = suppressed.get(c.address.key)
        detail = reason.reason.value if reason is not None else ""
        if decide_enrol(current, reason).action is not None:
            fate = Fate.ADDED
            added.append(c)
        elif reason is None and current is not None:
            fate = _FATES[current.status]
        else:
            fate = Fate.SUPPRESSED
        fates[c.line] = LineReport(line=c.line, email=c.address.email, fate=fate, detail=detail)
    if now is not None and added:
        _add_subscriptions(conn, added, people, terms, now)
    return fates


def _add_people(conn: Connection, candidates: Sequence[_Candidate], now: datetime) -> None:
    # By key, so that two imports at once wait for each other instead of blocking each other.
    by_key = {c.address.key: c for c in reversed(candidates)}
    rows = [
        {
            "email": c.address.email,
            "email_key": key,
            "name": c.name,
            "language": c.language,
            "time_zone": c.time_zone,
            "created_at": now,
        }
        for key, c in sorted(by_key.items())
    ]
    if rows:
        conn.execute(
            store.insert_for(conn, subscriber).on_conflict_do_nothing(index_elements=["email_key"]), rows
        )


def _find_people(conn: Connection, keys: Sequence[str], *, lock: bool) -> dict[str, int]:
    query = (
        select(subscriber.c.email_key, subscriber.c.id)
        .where(subscriber.c.email_key.in_(keys))
        .order_by(subscriber.c.email_key)
    )
    query = query.with_for_update(key_share=True) if lock else query
    return {row.email_key: row.id for row in conn.execute(query)}


def _find_subscriptions(
    conn: Connection, subscriber_ids: Collection[int]
) -> dict[tuple[int, int], Subscription]:
    query = select(subscription).where(subscription.c.subscriber_id.in_(subscriber_ids))
    found = map(store.to_subscription, conn.execute(query).mappings())
    return {(its.subscriber_id, its.newsletter_id): its for its in found}


def _add_subscriptions(
    conn: Connection,
    added: Sequence[_Candidate],
    people: Mapping[str, int],
    terms: ImportTerms,
    now: datetime,
) -> None:
    by_pair = {(people[c.address.key], c.target.newsletter_id): c for c in added}
    rows = [
        {
            "subscriber_id": subscriber_id,
            "newsletter_id": newsletter_id,
            "status": SubscriptionStatus.ACTIVE,
            "cadence": c.preferences.cadence,
            "topics": ",".join(c.preferences.topics),
            "watermark": c.target.watermark,
            "created_at": now,
            "confirmed_at": now,
        }
        for (subscriber_id, newsletter_id), c in by_pair.items()
    ]
    its = subscription.c
    stored = conn.execute(
        insert(subscription).returning(its.id, its.subscriber_id, its.newsletter_id), rows
    ).all()
    chosen = [
        {"subscription_id": subscription_id, "topic": topic}
        for subscription_id, *pair in stored
        for topic in by_pair[pair[0], pair[1]].preferences.topics
    ]
    if chosen:
        conn.execute(insert(subscription_topic), chosen)
    conn.execute(
        insert(consent),
        [
            {
                "subscriber_id": subscriber_id,
                "newsletter_id": newsletter_id,
                "action": "granted",
                "method": ConsentMethod.IMPORT,
                "at": now,
                "text": store.clean_text(terms.statement),
                "proof": store.clean_text(f"{terms.file_name}, line {c.line}"),
            }
            for (subscriber_id, newsletter_id), c in by_pair.items()
        ],
    )
