"""Statements about editions: opening one, its content, its state. Who sends it is said in ``shards``."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from syndicate.errors import NotFound, StateError
from syndicate.model import Article, Edition, EditionState, UncertainPolicy
from syndicate.storage.tables import edition, edition_article, edition_content, newsletter

__all__ = [
    "change_edition_state",
    "count_articles",
    "count_editions",
    "find_edition",
    "get_compiled",
    "get_edition",
    "has_editions",
    "list_editions",
    "lock_edition",
    "open_edition",
    "put_articles",
    "put_compiled",
    "wait_turn",
]

_S: Final = EditionState

#: Every transition that there is.
_NEXT: Final[dict[EditionState, frozenset[EditionState]]] = {
    _S.DRAFT: frozenset({_S.APPROVED, _S.HELD, _S.CANCELLED}),
    _S.APPROVED: frozenset({_S.SENDING, _S.PAUSED, _S.HELD, _S.CANCELLED}),
    _S.SENDING: frozenset({_S.SENT, _S.PAUSED, _S.HELD, _S.CANCELLED}),
    _S.PAUSED: frozenset({_S.SENDING, _S.APPROVED, _S.HELD, _S.CANCELLED}),
    _S.HELD: frozenset({_S.APPROVED, _S.SENDING, _S.CANCELLED}),
    _S.SENT: frozenset({_S.SENDING}),  # only by the operator's retry
    _S.CANCELLED: frozenset(),
}


def _edition(row: Row[Any]) -> Edition:
    return Edition(
        **row._asdict() | {"state": EditionState(row.state), "policy": UncertainPolicy(row.policy)}
    )


def open_edition(
    conn: Connection,
    *,
    newsletter_id: int,
    cadence: str,
    slot: str,
    state: EditionState,
    reason: str,
    cutoff: int,
    policy: UncertainPolicy,
    now: datetime,
) -> Edition | None:
    """Opens the edition of a slot, or returns None if somebody did already: the slot is a unique key, so
    of any number of processes one opens it.

    A newsletter's editions open in turn: of two at once each would take a reader whom both are for.
    """
    wait_turn(conn, newsletter_id)
    dialect = sqlite if conn.dialect.name == "sqlite" else postgresql
    statement = (
        dialect.insert(edition)
        .values(
            newsletter_id=newsletter_id,
            cadence=cadence,
            slot=slot,
            state=state,
            reason=reason,
            cutoff=cutoff,
            policy=policy,
            subject="",
            opened_at=now,
        )
        .on_conflict_do_nothing(index_elements=["newsletter_id", "cadence", "slot"])
        .returning(edition.c.id)
    )
    edition_id = conn.execute(statement).scalar()
    return get_edition(conn, edition_id) if edition_id is not None else None


def wait_turn(conn: Connection, newsletter_id: int) -> None:
    """Waits until nobody else opens an edition of the newsletter; others wait until this commit."""
    in_turn = select(newsletter.c.id).where(newsletter.c.id == newsletter_id)
    conn.execute(in_turn.with_for_update(key_share=True))


def get_edition(conn: Connection, edition_id: int) -> Edition:
    """The edition of this number. Raises NotFound."""
    row = conn.execute(select(edition).where(edition.c.id == edition_id)).one_or_none()
    if row is None:
        raise NotFound("edition", edition_id)
    return _edition(row)


def lock_edition(conn: Connection, edition_id: int) -> Edition:
    """The same, and nobody else changes its state before the end of this transaction.

    For who decides by its deliveries what becomes of an edition: of a retry and the end of a run that come at
    once, the second sees what the first has done.
    """
    conn.execute(select(edition.c.id).where(edition.c.id == edition_id).with_for_update(key_share=True))
    return get_edition(conn, edition_id)


def find_edition(conn: Connection, newsletter_id: int, cadence: str, slot: str) -> Edition | None:
    """The edition of a slot, or None."""
    row = conn.execute(
        select(edition).where(
            edition.c.newsletter_id == newsletter_id, edition.c.cadence == cadence, edition.c.slot == slot
        )
    ).one_or_none()
    return _edition(row) if row else None


def list_editions(
    conn: Connection,
    *,
    newsletter_id: int | None = None,
    states: Collection[EditionState] = (),
    limit: int | None = None,
    offset: int = 0,
) -> list[Edition]:
    """Editions, the newest first."""
    query = select(edition).order_by(edition.c.id.desc()).limit(limit).offset(offset)
    if newsletter_id is not None:
        query = query.where(edition.c.newsletter_id == newsletter_id)
    if states:
        query = query.where(edition.c.state.in_(states))
    return [_edition(row) for row in conn.execute(query)]


def count_editions(conn: Connection, newsletter_id: int, states: Collection[EditionState]) -> int:
    """How many editions of a newsletter are in the given states."""
    query = select(func.count()).where(edition.c.newsletter_id == newsletter_id, edition.c.state.in_(states))
    return int(conn.execute(query).scalar_one())


def count_articles(conn: Connection, edition_id: int) -> int:
    """How many articles an edition may include."""
    query = select(func.count()).where(edition_article.c.edition_id == edition_id)
    return int(conn.execute(query).scalar_one())


def put_articles(conn: Connection, edition_id: int, articles: Sequence[Article]) -> None:
    """Freezes what an edition may include, in editorial order, each in its current revision."""
    conn.execute(
        insert(edition_article),
        [
            {"edition_id": edition_id, "article_id": a.id, "revision": a.revision, "position": n}
            for n, a in enumerate(articles)
        ],
    )


def put_compiled(conn: Connection, edition_id: int, *, subject: str, compiled: bytes) -> None:
    """Freezes an edition's compiled text, with the subject by which lists name it."""
    conn.execute(update(edition).where(edition.c.id == edition_id).values(subject=subject))
    digest = hashlib.sha256(compiled).hexdigest()
    conn.execute(insert(edition_content).values(edition_id=edition_id, compiled=compiled, sha256=digest))


def get_compiled(conn: Connection, edition_id: int) -> bytes:
    """The compiled text, as it was frozen. Raises StateError if it was damaged since."""
    row = conn.execute(select(edition_content).where(edition_content.c.edition_id == edition_id)).one()
    compiled = bytes(row.compiled)
    if hashlib.sha256(compiled).hexdigest() != row.sha256:
        raise StateError(
            f"edition {edition_id}: its stored text does not match its checksum; nothing was sent"
        )
    return compiled


def change_edition_state(
    conn: Connection, edition_id: int, state: EditionState, *, reason: str = "", now: datetime
) -> Edition:
    """Moves an edition to another state. Raises StateError where there is no such transition."""
    current = get_edition(conn, edition_id)
    if state not in _NEXT[current.state]:
        raise StateError(f"edition {edition_id} is {current.state}; it cannot become {state}")
    finished_at = now if state in {EditionState.SENT, EditionState.CANCELLED} else None
    changed = conn.execute(
        update(edition)
        .where(edition.c.id == edition_id, edition.c.state == current.state)
        .values(state=state, reason=reason, finished_at=finished_at)
    ).rowcount
    if not changed:
        raise StateError(f"edition {edition_id}: somebody else changed its state just now; look again")
    return get_edition(conn, edition_id)


def has_editions(conn: Connection, newsletter_id: int) -> bool:
    """Whether a newsletter ever opened an edition."""
    query = select(edition.c.id).where(edition.c.newsletter_id == newsletter_id).limit(1)
    return conn.execute(query).first() is not None
