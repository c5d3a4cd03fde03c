"""Use cases of hubs that turn to us: they make sure that we mean it, and push what sources publish.

A push makes its source due at once, whatever becomes of its content: it may be cut, and come twice or in the
wrong order, so that a look at the source itself always has the last word.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from typing import Final

import structlog
from sqlalchemy import Connection

from syndicate.collect.websub import (
    Callbacks,
    Intent,
    Verdict,
    decide_intent,
    decide_lease,
    is_authentic,
    is_own_topic,
    is_signing,
    read_intent,
)
from syndicate.errors import SyndicateError
from syndicate.model import Source, SourceState
from syndicate.service.collecting import store_document
from syndicate.service.feeds import refresh_feeds
from syndicate.service.installation import Installation
from syndicate.storage import sources, websub
from syndicate.storage.engine import reading, writing
from syndicate.storage.websub import HubState, HubSubscription

__all__ = ["Receipt", "is_callback", "receive", "store_push", "verify"]

_log = structlog.get_logger(__name__)

#: Pushed documents that are stored at once; our choice. Beyond that the look at the source is enough.
_PLACES: Final = threading.BoundedSemaphore(4)

_COLLECTED: Final = frozenset({SourceState.ACTIVE, SourceState.LOST})


class Receipt(StrEnum):
    """What became of a push."""

    UNKNOWN = "unknown"  # no such callback, or its hub has not confirmed the subscription
    OVER = "over"  # the subscription was ours and is no more
    IGNORED = "ignored"  # not signed as it has to be, or its source is not collected
    NOTED = "noted"  # the source is due
    CONTENT = "content"  # it is, and what was pushed may be stored


def is_callback(inst: Installation, source_id: int, token: str) -> bool:
    """Whether an address is one that we gave to a hub at some time; asks no database."""
    return Callbacks(inst.settings.secret).find_nonce(source_id, token) is not None


def verify(inst: Installation, source_id: int, token: str, params: Mapping[str, str]) -> str | None:
    """The answer to a hub that asks whether we mean it, or says that it does not want us.

    ``params`` is the query of its request. Returns the challenge to echo, an empty text after a denial, or
    None if the answer is 404 (W3C WebSub, sections 5.2 and 5.3).
    """
    nonce = Callbacks(inst.settings.secret).find_nonce(source_id, token)
    if nonce is None:
        return None
    intent, now = read_intent(params), inst.clock()
    with writing(inst.engine) as conn:
        source, found = websub.hold_subscription(conn, source_id, nonce) or (None, None)
        verdict = decide_intent(
            intent,
            topic_url=found.topic_url if found else None,
            is_wanted=bool(source and found and source.state in _COLLECTED and found.is_standing),
        )
        if found is not None:
            _act(conn, found, intent, verdict, now)
    _log.info("hub_spoke", source_id=source_id, mode=intent.mode, verdict=verdict, reason=intent.reason)
    if verdict is Verdict.UNWANTED:
        return None
    return "" if verdict is Verdict.DENIED else intent.challenge


def receive(inst: Installation, source_id: int, token: str, *, signature: str, body: bytes) -> Receipt:
    """Takes a push: if it is genuine its source is due at once, durably.

    A hub that has our secret must have signed; ``signature`` is the header ``X-Hub-Signature``. One that we
    reach over http has none: its push says that there is something to read, and its content is not believed.
    Content is for ``store_push``, if it is the source's own and there is a baseline that tells what is new.
    """
    callbacks = Callbacks(inst.settings.secret)
    nonce = callbacks.find_nonce(source_id, token)
    if nonce is None:
        return Receipt.UNKNOWN
    is_signed = is_authentic(signature, callbacks.secret(source_id, nonce), body)
    now = inst.clock()
    with writing(inst.engine) as conn:
        source, found = websub.hold_subscription(conn, source_id, nonce) or (None, None)
        receipt = Receipt.OVER
        if source is not None and found is not None:
            receipt = _judge(source, found, is_signed=is_signed, is_empty=not body or body.isspace())
            if receipt in {Receipt.NOTED, Receipt.CONTENT}:
                websub.put_subscription(conn, replace(found, delivered_at=now))
                sources.make_due(conn, [source_id], now=now)
    _log.info("push_received", source_id=source_id, receipt=receipt, size_bytes=len(body))
    return receipt


def store_push(inst: Installation, source_id: int, body: bytes, content_type: str) -> None:
    """Stores what is new in a pushed document, as a look at its source would.

    Raises nothing and never waits: whatever goes wrong, and whatever comes while enough is being stored, the
    source is due anyway.
    """
    if not _PLACES.acquire(blocking=False):
        _log.info("push_left", source_id=source_id)
        return
    try:
        _store(inst, source_id, body, content_type)
    except SyndicateError as error:
        _log.warning("push_not_stored", source_id=source_id, error=str(error))
    except Exception:  # noqa: BLE001 - it runs after the answer, where nobody would hear of it
        _log.exception("push_not_stored", source_id=source_id)
    finally:
        _PLACES.release()


def _store(inst: Installation, source_id: int, body: bytes, content_type: str) -> None:
    with reading(inst.engine) as conn:
        found = websub.find_subscription(conn, source_id)
    if found is None:
        return
    report = store_document(inst, source_id, body, url=found.topic_url, content_type=content_type)
    if report.new or report.changed:
        refresh_feeds(inst)


def _act(conn: Connection, found: HubSubscription, intent: Intent, verdict: Verdict, now: datetime) -> None:
    match verdict:
        case Verdict.SUBSCRIBED:
            lease = decide_lease(intent.lease_s, now=now)
            confirmed = replace(
                found,
                state=HubState.ACTIVE,
                lease_expires_at=lease.expires_at,
                renew_at=lease.renew_at,
                failures=0,
                last_error="",
            )
            websub.put_subscription(conn, confirmed)
        case Verdict.DENIED if found.is_standing:
            error = f"{found.hub_url}: denied" + (f": {intent.reason}" if intent.reason else "")
            denied = replace(found, state=HubState.DENIED, renew_at=None, last_error=error, delivered_at=None)
            websub.put_subscription(conn, denied)
            # Nobody tells us any more, so we have to look ourselves.
            sources.make_due(conn, [found.source_id], now=now)
        case Verdict.UNSUBSCRIBED if found.state is HubState.ENDED:
            websub.drop_subscription(conn, found.source_id)


def _judge(source: Source, found: HubSubscription, *, is_signed: bool, is_empty: bool) -> Receipt:
    if found.state is HubState.PENDING:
        return Receipt.UNKNOWN
    if not found.is_standing:
        return Receipt.OVER
    must_be_signed = is_signing(found.hub_url)
    if (must_be_signed and not is_signed) or source.state not in _COLLECTED:
        return Receipt.IGNORED
    is_content = must_be_signed and not is_empty and source.baseline_at is not None
    is_own = is_own_topic(found.topic_url, source.location, source.validators_url)
    return Receipt.CONTENT if is_content and is_own else Receipt.NOTED
