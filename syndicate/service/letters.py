"""Use cases: queue and send letters, the messages to one person that belong to no edition."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from email.utils import make_msgid
from typing import Final

import structlog
from sqlalchemy import Connection

from subscribers import suppression
from subscribers.addresses import parse_address
from subscribers.consent import LIFTABLE
from subscribers.model import Subscriber, Subscription
from syndicate.deliver.backoff import decide_next_attempt
from syndicate.deliver.dkim import DkimSigner
from syndicate.deliver.outcome import Envelope, Outcome, OutcomeKind
from syndicate.digest.headers import address_domain
from syndicate.digest.letters import build_letter
from syndicate.errors import OperationError
from syndicate.model import DeliveryState, Newsletter
from syndicate.service.installation import Installation
from syndicate.service.relays import deliver_letters
from syndicate.service.signing import load_signer
from syndicate.storage import letters
from syndicate.storage.engine import writing
from syndicate.storage.letters import Letter

__all__ = ["queue_confirmation", "send_letters"]

_log = structlog.get_logger(__name__)

#: A form must not become a weapon against an inbox: one confirmation a day; our choice.
_CONFIRMATION_EVERY: Final = timedelta(days=1)

#: A confirmation that is late is of no use; our choice.
_LIFETIME: Final = timedelta(days=2)

#: Letters handed over at once, and for how long no other sender takes them up.
_BATCH: Final = 50
_LEASE_S: Final = 900.0


def queue_confirmation(
    inst: Installation,
    conn: Connection,
    newsletter: Newsletter,
    subscriber: Subscriber,
    subscription: Subscription,
) -> bool:
    """Queues the mail that asks whether a subscription is meant, in the transaction that made it.

    False if one went out within a day.
    """
    now = inst.clock()
    if letters.count_recent_letters(conn, subscription.id, since=now - _CONFIRMATION_EVERY):
        return False
    urls = inst.urls
    token = inst.links.confirm(subscription.id, now=now)
    message = build_letter(
        template="confirm",
        newsletter=newsletter,
        to=subscriber.email,
        subject=f"Please confirm: {newsletter.title}",
        values={
            "confirm_url": urls.absolute(urls.confirm(token)),
            "home_url": urls.absolute(urls.newsletter(newsletter.slug)),
            "name": subscriber.name,
        },
        date=now,
        # Random is right here: the letter is stored, so each attempt has these bytes.
        message_id=make_msgid(domain=address_domain(newsletter.from_email)),
        template_folders=inst.templates,
    )
    letters.add_letter(
        conn,
        kind="confirmation",
        subscription_id=subscription.id,
        sender=newsletter.from_email,
        recipient=subscriber.email,
        message=message,
        now=now,
    )
    return True


def send_letters(inst: Installation) -> int:
    """Sends the letters whose time has come; returns how many the relay took."""
    with writing(inst.engine) as conn:
        marked = letters.mark_letters(conn, limit=_BATCH, now=inst.clock(), lease_s=_LEASE_S)
        waiting = [letter for letter in marked if not _is_suppressed(inst, conn, letter)]
    if not waiting:
        return 0
    outcomes = asyncio.run(_deliver(inst, waiting))
    with writing(inst.engine) as conn:
        for letter, outcome in zip(waiting, outcomes, strict=True):
            _record(inst, conn, letter, outcome)
    return sum(outcome.kind is OutcomeKind.SENT for outcome in outcomes)


def _is_suppressed(inst: Installation, conn: Connection, letter: Letter) -> bool:
    """Suppression has the last word here too, but for those reasons that confirming lifts."""
    key = parse_address(letter.recipient, allow_private=True).key
    found = suppression.find(conn, key, secret=inst.settings.secret)
    if found is None or found.reason in LIFTABLE:
        return False
    reply = f"suppressed: {found.reason}"
    letters.record_letter(conn, letter.id, state=DeliveryState.FAILED, reply=reply, next_attempt_at=None)
    return True


async def _deliver(inst: Installation, waiting: list[Letter]) -> tuple[Outcome, ...]:
    signer = load_signer(inst.settings)
    envelopes = [
        Envelope(
            key=letter.id,
            sender=letter.sender,
            recipient=letter.recipient,
            pieces=(_sign(signer, letter), letter.message),
        )
        for letter in waiting
    ]
    report = await deliver_letters(inst, envelopes)
    if report.fault is not None:
        _log.error(
            "relay_failed", relay=report.fault.relay, stage=report.fault.stage, reply=report.fault.reply
        )
    return tuple(report.outcomes)


def _sign(signer: DkimSigner | None, letter: Letter) -> bytes:
    """The signature's lines, the same on each attempt; none if nobody signs here."""
    if signer is None:
        return b""
    domain = address_domain(letter.sender)
    try:
        return signer.sign_message(letter.message, domain=domain, signed_at=letter.created_at)
    except OperationError as error:
        # One newsletter with a foreign sender must not keep the letters of the others.
        _log.warning("letter_not_signed", letter_id=letter.id, error=str(error))
        return b""


def _record(inst: Installation, conn: Connection, letter: Letter, outcome: Outcome) -> None:
    now = inst.clock()
    is_over = outcome.kind is OutcomeKind.FAILED or now - letter.created_at > _LIFETIME
    if outcome.kind is OutcomeKind.SENT:
        state, next_attempt_at = DeliveryState.SENT, None
    elif is_over:
        state, next_attempt_at = DeliveryState.FAILED, None
        _log.warning("letter_failed", letter_id=letter.id, stage=outcome.stage, reply=outcome.reply)
    else:
        state = DeliveryState.PENDING
        jitter = random.random()  # noqa: S311 - spreads load, keeps no secret
        next_attempt_at = decide_next_attempt(letter.attempts, now=now, jitter=jitter)
    letters.record_letter(conn, letter.id, state=state, reply=outcome.reply, next_attempt_at=next_attempt_at)
