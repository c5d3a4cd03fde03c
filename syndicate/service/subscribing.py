"""Use cases of readers: subscribe, confirm, choose, unsubscribe. Each is one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from subscribers import store
from subscribers import subscribing as acts
from subscribers.addresses import parse_address
from subscribers.errors import InvalidAddress, InvalidLink, InvalidPreferences, UnknownSubscriber
from subscribers.model import ConsentMethod, Subscriber, Subscription
from subscribers.preferences import Offer, clean_name, parse_preferences
from syndicate.errors import NotFound
from syndicate.model import Newsletter, slugify
from syndicate.service.installation import Installation
from syndicate.service.letters import queue_confirmation
from syndicate.storage import articles, editions, newsletters
from syndicate.storage.engine import reading, writing

__all__ = [
    "FormProblems",
    "Membership",
    "change_preferences",
    "confirm",
    "find_confirmable",
    "find_membership",
    "initial_watermark",
    "offer_of",
    "subscribe",
    "unsubscribe",
]

#: What the form says that somebody agrees to; it goes into the consent record word for word.
FORM_TEXT: Final = "Subscribe by e-mail. You get a mail with a link to confirm, and can leave with one click."
CONFIRM_TEXT: Final = "Confirm your subscription"

#: How many articles a newsletter's first edition may go back; our choice.
_FIRST_EDITION: Final = 30


class FormProblems(Exception):
    """What was sent with a form has mistakes; ``problems`` has a sentence by field."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = dict(problems)
        super().__init__("; ".join(problems.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """A subscription with the person and the newsletter that it links."""

    subscriber: Subscriber
    subscription: Subscription
    newsletter: Newsletter


def offer_of(newsletter: Newsletter) -> Offer:
    """What a newsletter lets its readers choose."""
    return Offer(cadences=newsletter.cadences, topics={slugify(label): label for label in newsletter.topics})


def initial_watermark(conn: Connection, newsletter: Newsletter) -> int:
    """Where a new subscription begins: with what comes next.

    Before a newsletter's first edition that is the latest of what it has accepted to be mailed, so that the
    first edition is not empty for those who were there from the start.
    """
    if editions.has_editions(conn, newsletter.id):
        return articles.current_sequence(conn)
    return articles.sequence_before_latest(conn, newsletter.id, _FIRST_EDITION)


def subscribe(
    inst: Installation, slug: str, *, email: str, name: str, choices: Mapping[str, Sequence[str]], proof: str
) -> None:
    """Takes a request from the form and queues a confirmation mail where one is due.

    Says nothing about whether the address was known, on purpose. ``choices`` holds cadence and topics as the
    form sent them, ``proof`` the network address. Raises FormProblems, NotFound.
    """
    with writing(inst.engine) as conn:
        newsletter = newsletters.get_newsletter(conn, slug)
        problems: dict[str, str] = {}
        try:
            address = parse_address(email)
        except InvalidAddress as error:
            problems["email"] = error.detail
        try:
            preferences = parse_preferences(choices, offer=offer_of(newsletter))
        except InvalidPreferences as error:
            problems["cadence"] = " ".join(error.problems)
        if problems:
            raise FormProblems(problems)
        result = acts.subscribe(
            conn,
            newsletter_id=newsletter.id,
            address=address,
            name=clean_name(name),
            preferences=preferences,
            watermark=initial_watermark(conn, newsletter),
            now=inst.clock(),
            proof=proof,
            text=FORM_TEXT,
            confirmed_opt_in=True,
            secret=inst.settings.secret,
        )
        if result.letter and result.subscription is not None:
            reader = store.get_reader(conn, result.subscription.id)
            queue_confirmation(inst, conn, newsletter, reader.subscriber, reader.subscription)


def find_confirmable(inst: Installation, token: str) -> Membership:
    """What a confirmation link is about, changing nothing. Raises InvalidLink, ExpiredLink."""
    link = inst.links.read_confirm(token, now=inst.clock())
    with reading(inst.engine) as conn:
        return _membership(conn, link.subscription_id)


def confirm(inst: Installation, token: str, *, proof: str) -> Membership:
    """Makes a subscription active. Raises InvalidLink, ExpiredLink, VoidLink."""
    now = inst.clock()
    link = inst.links.read_confirm(token, now=now)
    with writing(inst.engine) as conn:
        asked = _membership(conn, link.subscription_id)
        acts.confirm(
            conn,
            link.subscription_id,
            issued_at=link.issued_at,
            watermark=initial_watermark(conn, asked.newsletter),
            now=now,
            text=CONFIRM_TEXT,
            proof=proof,
            secret=inst.settings.secret,
        )
        return _membership(conn, link.subscription_id)


def find_membership(inst: Installation, subscription_id: int) -> Membership:
    """A subscription by the number that one of our links gave. Raises InvalidLink if it is gone."""
    with reading(inst.engine) as conn:
        return _membership(conn, subscription_id)


def unsubscribe(inst: Installation, token: str, *, method: ConsentMethod, proof: str) -> Membership:
    """Ends a subscription; again, the same. Raises InvalidLink."""
    subscription_id = inst.links.read_unsubscribe(token)
    with writing(inst.engine) as conn:
        _membership(conn, subscription_id)
        acts.unsubscribe(conn, subscription_id, method=method, now=inst.clock(), proof=proof)
        return _membership(conn, subscription_id)


def change_preferences(
    inst: Installation, token: str, *, name: str, choices: Mapping[str, Sequence[str]], proof: str
) -> Membership:
    """Stores what a reader chose. Raises FormProblems, InvalidLink."""
    subscription_id = inst.links.read_preferences(token)
    with writing(inst.engine) as conn:
        member = _membership(conn, subscription_id)
        try:
            preferences = parse_preferences(choices, offer=offer_of(member.newsletter))
        except InvalidPreferences as error:
            raise FormProblems({"cadence": " ".join(error.problems)}) from None
        acts.change_preferences(
            conn,
            subscription_id,
            preferences=preferences,
            name=clean_name(name),
            now=inst.clock(),
            proof=proof,
        )
        return _membership(conn, subscription_id)


def _membership(conn: Connection, subscription_id: int) -> Membership:
    try:
        reader = store.get_reader(conn, subscription_id)
        newsletter = newsletters.get_newsletter_by_id(conn, reader.subscription.newsletter_id)
    except (UnknownSubscriber, NotFound):
        raise InvalidLink from None
    return Membership(subscriber=reader.subscriber, subscription=reader.subscription, newsletter=newsletter)
