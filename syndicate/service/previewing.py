"""Use cases: look at what would be sent, and send it to somebody as a test. Neither touches the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from subscribers.addresses import parse_address
from subscribers.store import find_by_email, find_subscription
from syndicate.deliver.outcome import Envelope, Outcome
from syndicate.digest.compile import compile_edition
from syndicate.digest.compose import ReaderValues, compose_message, plan_variant
from syndicate.digest.headers import address_domain
from syndicate.digest.select import order_articles, select_articles
from syndicate.errors import OperationError
from syndicate.model import Article, Newsletter
from syndicate.service.editions import edition_input
from syndicate.service.installation import Installation
from syndicate.service.relays import deliver_letters
from syndicate.service.signing import load_signer
from syndicate.storage import articles
from syndicate.storage.engine import reading

__all__ = ["Preview", "preview", "send_test"]

#: Articles that stand in when nothing is new; our choice.
_SAMPLE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A message as it would be sent, and why it has these articles."""

    message: bytes
    subject: str
    articles: int
    note: str


def preview(inst: Installation, newsletter: Newsletter, *, address: str | None = None) -> Preview:
    """What the subscriber of this address would get now, or a made-up reader who starts today.

    Raises OperationError if the newsletter has no article at all, or this subscriber nothing new.
    """
    chosen, reader, note = _choose(inst, newsletter, address)
    return _compose(inst, newsletter, chosen, reader, note)


def send_test(inst: Installation, newsletter: Newsletter, addresses: Sequence[str]) -> list[Outcome]:
    """Sends what a made-up reader would get to any addresses, marked as a test; one outcome for each.

    No effect on watermarks, statistics or editions. Raises InvalidAddress, OperationError, RelayError.
    """
    marked = replace(newsletter, subject_template="[Test] " + newsletter.subject_template)
    now = inst.clock()
    signer, domain = load_signer(inst.settings), address_domain(newsletter.from_email)
    envelopes = []
    for key, text in enumerate(addresses):
        address = parse_address(text, allow_private=True)
        chosen, _, note = _choose(inst, newsletter, None)
        made = _compose(inst, marked, chosen, _reader(inst, address.email, ""), note)
        signature = signer.sign_message(made.message, domain=domain, signed_at=now) if signer else b""
        envelopes.append(
            Envelope(
                key=key,
                sender=newsletter.from_email,
                recipient=address.email,
                pieces=(signature, made.message),
            )
        )

    async def deliver() -> list[Outcome]:
        report = await deliver_letters(inst, envelopes)
        if report.fault is not None:
            raise report.fault
        return list(report.outcomes)

    return asyncio.run(deliver())


def _choose(
    inst: Installation, newsletter: Newsletter, address: str | None
) -> tuple[tuple[Article, ...], ReaderValues, str]:
    with reading(inst.engine) as conn:
        if address is not None:
            subscriber = find_by_email(conn, parse_address(address, allow_private=True).key)
            subscription = find_subscription(conn, subscriber.id, newsletter.id) if subscriber else None
            if subscriber is None or subscription is None:
                raise OperationError(f"{address} does not subscribe to '{newsletter.slug}'; leave --for out")
            cutoff = articles.current_sequence(conn)
            found = articles.list_mailable_articles(
                conn, newsletter.id, after=subscription.watermark, cutoff=cutoff
            )
            chosen = select_articles(
                found, watermark=subscription.watermark, cutoff=cutoff, topics=subscription.topics
            )
            if not chosen:
                raise OperationError(
                    f"there is nothing new for {address} in '{newsletter.slug}'; no mail would be sent"
                )
            note = f"what is new to {address}"
            return chosen, _reader(inst, subscriber.email, subscriber.name), note
        latest = articles.list_newsletter_articles(conn, newsletter.id, limit=_SAMPLE)
    if not latest:
        raise OperationError(f"'{newsletter.slug}' has no articles yet; 'syndicate collect' looks for some")
    which = "the latest article" if len(latest) == 1 else f"the {len(latest)} latest articles"
    note = f"{which}, as a made-up reader would get them"
    return tuple(latest), _reader(inst, f"reader@{inst.urls.host}", "Reader"), note


def _reader(inst: Installation, address: str, name: str) -> ReaderValues:
    # Subscription 0 is nobody's: whoever clicks in a test learns that its links do nothing.
    links, urls = inst.links, inst.urls
    return ReaderValues(
        subscriber_id=0,
        address=address,
        name=name,
        unsubscribe_url=urls.absolute(urls.unsubscribe(links.unsubscribe(0))),
        preferences_url=urls.absolute(urls.preferences(links.preferences(0))),
    )


def _compose(
    inst: Installation, newsletter: Newsletter, chosen: Sequence[Article], reader: ReaderValues, note: str
) -> Preview:
    ordered = order_articles(chosen, newsletter.topics)
    compiled = compile_edition(edition_input(inst, newsletter, ordered, edition_id=0, opened_at=inst.clock()))
    variant = plan_variant(compiled, tuple(a.id for a in ordered))
    if variant.left_out:
        note += f"; {len(variant.left_out)} did not fit and are linked to"
    return Preview(
        message=compose_message(compiled, tuple(a.id for a in ordered), reader).to_bytes(),
        subject=variant.subject,
        articles=len(ordered),
        note=note,
    )
