"""Use cases of the operator about subscribers: add, look up, import, export, suppress, erase."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from sqlalchemy import Connection

from subscribers import store, suppression
from subscribers import subscribing as acts
from subscribers.addresses import parse_address
from subscribers.errors import ImportProblem, UnknownSubscriber
from subscribers.model import (
    Cadence,
    Consent,
    Subscriber,
    Subscription,
    SubscriptionStatus,
    Suppression,
    SuppressionReason,
)
from subscribers.preferences import clean_name, parse_preferences
from subscribers.store import Reader
from subscribers.transfer import (
    ImportTarget,
    ImportTerms,
    LineReport,
    apply_import,
    export_csv,
    plan_import,
)
from syndicate.errors import UsageError
from syndicate.model import Newsletter
from syndicate.service.installation import Installation
from syndicate.service.subscribing import initial_watermark, offer_of
from syndicate.storage import deliveries, letters, newsletters
from syndicate.storage.engine import reading, writing

__all__ = [
    "Person",
    "add_subscriber",
    "erase_subscriber",
    "export_subscribers",
    "import_subscribers",
    "list_readers",
    "show_subscriber",
    "suppress_address",
]

_PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Everything that is kept about somebody."""

    subscriber: Subscriber
    subscriptions: tuple[tuple[str, Subscription], ...]  #: with the newsletter's slug
    consents: tuple[Consent, ...]  #: in the order in which they were recorded
    suppression: Suppression | None


def add_subscriber(
    inst: Installation,
    newsletter: Newsletter,
    *,
    email: str,
    name: str,
    cadence: Cadence | None,
    topics: list[str],
    statement: str,
) -> tuple[Subscription | None, str]:
    """Adds somebody by hand, on the operator's word; the subscription, or None, and the reason.

    Raises InvalidAddress, InvalidPreferences.
    """
    choices: dict[str, list[str]] = {"cadence": [cadence] if cadence else [], "topics": topics}
    with writing(inst.engine) as conn:
        result = acts.enrol(
            conn,
            newsletter_id=newsletter.id,
            address=parse_address(email, allow_private=True),
            name=clean_name(name),
            language="",
            time_zone="",
            preferences=parse_preferences(choices, offer=offer_of(newsletter)),
            watermark=initial_watermark(conn, newsletter),
            now=inst.clock(),
            statement=statement,
            secret=inst.settings.secret,
        )
        return result.subscription, result.reason


def list_readers(
    inst: Installation, newsletter: Newsletter | None, status: SubscriptionStatus | None
) -> Iterator[Reader]:
    """Subscriptions by number, page by page."""
    after_id = 0
    while True:
        with reading(inst.engine) as conn:
            page = store.list_subscribers(
                conn, newsletter.id if newsletter else None, status=status, after_id=after_id, limit=_PAGE
            )
        yield from page
        if len(page) < _PAGE:
            return
        after_id = page[-1].subscription.id


def show_subscriber(inst: Installation, email: str) -> Person:
    """What is kept about an address. Raises UnknownSubscriber, InvalidAddress, and UsageError for an address
    of which only the suppression is known.
    """
    key = parse_address(email, allow_private=True).key
    with reading(inst.engine) as conn:
        subscriber = store.find_by_email(conn, key)
        stopped = suppression.find(conn, key, secret=inst.settings.secret)
        if subscriber is None and stopped is not None:
            raise UsageError(
                f"nothing is kept about {email} but that nothing is sent there since {stopped.at:%Y-%m-%d}: "
                f"{stopped.reason}, {stopped.evidence}"
            )
        if subscriber is None:
            raise UnknownSubscriber(email)
        slugs = {n.id: n.slug for n in newsletters.list_newsletters(conn)}
        return Person(
            subscriber=subscriber,
            subscriptions=tuple(
                (slugs.get(s.newsletter_id, "(removed)"), s)
                for s in store.list_subscriptions(conn, subscriber.id)
            ),
            consents=tuple(store.list_consent(conn, subscriber.id)),
            suppression=stopped,
        )


def import_subscribers(
    inst: Installation,
    path: Path,
    *,
    newsletter: Newsletter | None,
    apply: bool,
    statement: str,
    on_line: Callable[[LineReport], None],
) -> None:
    """Reads a CSV file and tells the fate of each line; writes only with ``apply``: every line that
    can be used, in one transaction.

    Raises UsageError for a file that cannot be opened, or is no list of subscribers.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    transaction = writing if apply else reading
    with stream, transaction(inst.engine) as conn:
        terms = _terms(inst, conn, newsletter, path.name, statement)
        if apply:
            reports = apply_import(conn, stream, terms, now=inst.clock())
        else:
            reports = plan_import(conn, stream, terms)
        try:
            for report in reports:
                on_line(report)
        except ImportProblem as error:
            raise UsageError(f"{path}, {error}") from None


def _terms(
    inst: Installation, conn: Connection, newsletter: Newsletter | None, file_name: str, statement: str
) -> ImportTerms:
    known = newsletters.list_newsletters(conn)
    default = newsletter or (known[0] if len(known) == 1 else None)
    return ImportTerms(
        targets={
            n.slug: ImportTarget(newsletter_id=n.id, offer=offer_of(n), watermark=initial_watermark(conn, n))
            for n in known
        },
        default=default.slug if default else "",
        file_name=file_name,
        statement=statement,
        allow_private=True,
        secret=inst.settings.secret,
    )


def export_subscribers(inst: Installation, newsletter: Newsletter | None, out: TextIO) -> int:
    """Writes subscriptions as CSV, as one consistent view; returns how many."""
    count = -1  # the header
    with reading(inst.engine) as conn:
        chosen = [newsletter] if newsletter else newsletters.list_newsletters(conn)
        for line in export_csv(conn, {n.id: n.slug for n in chosen}):
            out.write(line)
            count += 1
    return count


def suppress_address(inst: Installation, email: str, *, evidence: str) -> str:
    """Never mails an address again, known or not; returns the address as it is compared."""
    key = parse_address(email, allow_private=True).key
    with writing(inst.engine) as conn:
        suppression.suppress(conn, key, reason=SuppressionReason.MANUAL, now=inst.clock(), evidence=evidence)
    return key


def erase_subscriber(inst: Installation, email: str) -> bool:
    """Deletes a person; True if there was one. A keyed hash stays, so that no import brings it back."""
    key = parse_address(email, allow_private=True).key
    with writing(inst.engine) as conn:
        person = store.find_by_email(conn, key)
        if person is not None:
            deliveries.anonymise(conn, person.id)
            letters.forget(conn, person.email)
        return acts.erase(conn, key, now=inst.clock(), secret=inst.settings.secret)
