"""Use case: have hubs push what sources publish. What hubs say and push is taken in ``hub_pushes``."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import Connection

from syndicate.collect.fetch import Answer, request
from syndicate.collect.hosts import host_of
from syndicate.collect.websub import (
    Callbacks,
    HubLink,
    decide_next_request,
    is_reachable,
    is_silent,
    request_form,
    select_hub,
    select_redirect,
)
from syndicate.errors import CollectError, FetchError
from syndicate.model import Source
from syndicate.service.egress import Egress, open_egress
from syndicate.service.installation import Installation
from syndicate.storage import sources, websub
from syndicate.storage.engine import reading, writing
from syndicate.storage.websub import DueRequest, HubState, HubSubscription

__all__ = ["is_pushed", "note_hubs", "request_due"]

_log = structlog.get_logger(__name__)

#: Requests of one round, all at once; our choice.
_MOST_REQUESTS: Final = 50
#: A hub that was told so often that a subscription is over is left to itself; our choice.
_FAREWELLS: Final = 3
_MOST_REDIRECTS: Final = 3
_ANSWER_BYTES: Final = 65_536
_LONGEST_ERROR: Final = 300


def is_pushed(conn: Connection, source_ids: Sequence[int], *, now: datetime) -> frozenset[int]:
    """Those of these sources whose hub tells us what is new, so that a look a day is enough."""
    return websub.list_pushed_source_ids(conn, source_ids, now=now)


def note_hubs(
    inst: Installation,
    conn: Connection,
    source: Source,
    *,
    hubs: Sequence[str],
    self_url: str,
    is_news: bool,
    now: datetime,
) -> None:
    """Begins, changes or ends the subscription of a source by the links that were just read from it.

    Call it when a document was read, at the end of the transaction that stores it, with the source locked.
    ``hubs`` and ``self_url`` are absolute, those of the Link headers if there are any; ``is_news`` says that
    there was something new. Asks nobody: ``request_due`` does.
    """
    found = websub.find_subscription(conn, source.id)
    may_push = inst.settings.fetch.websub and is_reachable(inst.settings.site.url)
    wanted = select_hub(hubs, self_url, current=found.hub_url if found else "") if may_push else None
    noted = _noted(source, found, wanted, is_news=is_news, now=now)
    if noted is None:
        return
    websub.put_subscription(conn, noted)
    if found is not None and found.delivered_at is not None:
        # A hub that was relied on is no more: the next look must not be a day away.
        sources.make_due(conn, [source.id], now=now)


def _noted(
    source: Source, found: HubSubscription | None, wanted: HubLink | None, *, is_news: bool, now: datetime
) -> HubSubscription | None:
    """The subscription as it is from now on; None if it stays as it was found."""
    if wanted is None:
        return found.ended(now) if found is not None and found.is_standing else None
    is_same = found is not None and (found.hub_url, found.topic_url) == (wanted.hub_url, wanted.topic_url)
    if found is None or found.state is HubState.ENDED or not is_same:
        return HubSubscription(
            source_id=source.id,
            hub_url=wanted.hub_url,
            topic_url=wanted.topic_url,
            nonce=secrets.token_hex(16),
            state=HubState.PENDING,
            renew_at=now,
        )
    if is_news and is_silent(found.delivered_at, now=now):
        _log.warning("hub_silent", source_id=source.id, hub=found.hub_url)
        return replace(found, delivered_at=None)
    return None


def request_due(inst: Installation) -> int:
    """Asks the hubs that are due to push, to go on pushing, or to leave us alone; returns how many.

    One that does not confirm is asked again, later each time, and one that fails does not stop the others.
    """
    with reading(inst.engine) as conn:
        if not websub.has_due_requests(conn, inst.clock()):
            return 0
    return asyncio.run(_request_due(inst))


async def _request_due(inst: Installation) -> int:
    marked = await asyncio.to_thread(_mark_due, inst)
    async with open_egress(inst) as egress:
        await asyncio.gather(*(_ask(inst, egress, due) for due in marked))
    return len(marked)


def _mark_due(inst: Installation) -> list[DueRequest]:
    now = inst.clock()
    with writing(inst.engine) as conn:
        due = websub.list_due_requests(conn, now, limit=_MOST_REQUESTS)
        return [replace(each, subscription=_mark(conn, each, now)) for each in due]


def _mark(conn: Connection, due: DueRequest, now: datetime) -> HubSubscription:
    """Notes a request before it is made: who dies while asking asks again later."""
    found = due.subscription
    if not due.is_wanted and found.is_standing:
        found = found.ended(now)
    if found.lease_expires_at is not None and found.lease_expires_at <= now and found.is_standing:
        # Nobody tells us any more, so we have to look ourselves.
        found = replace(found, state=HubState.PENDING, lease_expires_at=None, delivered_at=None)
        sources.make_due(conn, [found.source_id], now=now)
    failures = found.failures + 1
    renew_at = decide_next_request(
        failures,
        now=now,
        jitter=random.random(),  # noqa: S311 - spreads load, keeps no secret
        lease_expires_at=found.lease_expires_at,
    )
    marked = replace(found, requested_at=now, failures=failures, renew_at=renew_at)
    websub.put_subscription(conn, marked)
    return marked


async def _ask(inst: Installation, egress: Egress, due: DueRequest) -> None:
    asked = due.subscription
    mode = "unsubscribe" if asked.state is HubState.ENDED else "subscribe"
    try:
        await _post(inst, egress, due, mode)
    except CollectError as error:
        _log.warning("hub_failed", source_id=asked.source_id, mode=mode, error=str(error))
        await asyncio.to_thread(_note_refusal, inst, asked, error)
    else:
        _log.info("hub_asked", source_id=asked.source_id, mode=mode, hub=asked.hub_url)
        if asked.state is HubState.ENDED:
            await asyncio.to_thread(_forget, inst, asked)


async def _post(inst: Installation, egress: Egress, due: DueRequest, mode: str) -> None:
    """Sends a request to wherever its hub sends it on. Raises CollectError."""
    asked, callbacks = due.subscription, Callbacks(inst.settings.secret)
    token = callbacks.token(asked.source_id, asked.nonce)
    form = request_form(
        mode,
        hub_url=asked.hub_url,
        topic_url=asked.topic_url,
        callback_url=inst.urls.absolute(inst.urls.websub(asked.source_id, token)),
        secret=callbacks.secret(asked.source_id, asked.nonce),
    )
    url = asked.hub_url
    for redirects in range(_MOST_REDIRECTS + 1):
        answer = await _post_once(egress, url, form, is_intranet=due.is_intranet)
        if 200 <= answer.status < 300:
            return
        target = select_redirect(url, answer.headers.get("Location", ""))
        if answer.status not in {307, 308} or target is None or redirects == _MOST_REDIRECTS:
            raise FetchError(
                url, f"http_{answer.status}", _reason(answer), retry_after_s=answer.retry_after_s
            )
        url = target


async def _post_once(egress: Egress, url: str, form: Mapping[str, str], *, is_intranet: bool) -> Answer:
    session = egress.intranet if is_intranet else egress.public
    deadline_s = egress.inst.settings.fetch.deadline_s
    async with egress.hosts.turn(host_of(url)), egress.slots:
        return await request(session, "POST", url, data=form, max_bytes=_ANSWER_BYTES, deadline_s=deadline_s)


def _reason(answer: Answer) -> str:
    said = " ".join(answer.body.decode("utf-8", "replace").split())
    is_text = said.isprintable() and not said.startswith("<")
    return f"answered {answer.status}" + (f": {said[:_LONGEST_ERROR]}" if said and is_text else "")


def _note_refusal(inst: Installation, asked: HubSubscription, error: CollectError) -> None:
    with writing(inst.engine) as conn:
        held = websub.hold_subscription(conn, asked.source_id, asked.nonce)
        # A hub may confirm and fail in one breath; then what it confirmed stands.
        if held is None or held[1].failures != asked.failures:
            return
        found = held[1]
        if found.state is HubState.ENDED and found.failures >= _FAREWELLS:
            websub.drop_subscription(conn, found.source_id)
            return
        renew_at = found.renew_at
        if renew_at is not None and isinstance(error, FetchError) and error.retry_after_s is not None:
            renew_at = max(renew_at, inst.clock() + timedelta(seconds=error.retry_after_s))
        websub.put_subscription(conn, replace(found, renew_at=renew_at, last_error=str(error)))


def _forget(inst: Installation, asked: HubSubscription) -> None:
    with writing(inst.engine) as conn:
        held = websub.hold_subscription(conn, asked.source_id, asked.nonce)
        if held is not None and held[1].state is HubState.ENDED:
            websub.drop_subscription(conn, asked.source_id)
