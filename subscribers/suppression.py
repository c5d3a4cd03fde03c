"""Statements about addresses that are never to be mailed. Ends no subscription: ``subscribing`` does.

An erased person's address is not kept: in its place stands a keyed hash, by which the address is known again
when somebody brings it back, and which tells nothing to who does not have the installation's secret.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, delete, select

from subscribers.consent import decide_suppress
from subscribers.model import Suppression, SuppressionReason
from subscribers.store import clean_text, insert_for
from subscribers.tables import suppression as table

__all__ = ["find", "find_many", "is_suppressed", "lift", "suppress", "suppress_erased"]


def find(conn: Connection, email_key: str, *, secret: bytes) -> Suppression | None:
    """Why this address is never to be mailed, or None; of two reasons the stronger one."""
    return find_many(conn, [email_key], secret=secret).get(email_key)


def find_many(conn: Connection, email_keys: Collection[str], *, secret: bytes) -> dict[str, Suppression]:
    """The suppressions among up to some thousand addresses, by the key that was asked for."""
    asked = {stored: key for key in email_keys for stored in (key, _erased_key(key, secret))}
    found: dict[str, Suppression] = {}
    for row in conn.execute(select(table).where(table.c.email_key.in_(asked))):
        key, reason = asked[row.email_key], SuppressionReason(row.reason)
        if decide_suppress(found[key].reason if key in found else None, reason):
            found[key] = Suppression(email_key=key, reason=reason, at=row.at, evidence=row.evidence)
    return found


def is_suppressed(conn: Connection, email_key: str, *, secret: bytes) -> bool:
    """Whether this address is never to be mailed."""
    return find(conn, email_key, secret=secret) is not None


def suppress(
    conn: Connection, email_key: str, *, reason: SuppressionReason, now: datetime, evidence: str
) -> None:
    """Has an address never mailed again, from the moment of the commit on.

    A reason that already stands is replaced only by one that is as strong. ``evidence`` is what happened, in
    words for the operator. For ``erased`` there is ``suppress_erased``.
    """
    statement = insert_for(conn, table).values(
        email_key=email_key, reason=reason, at=now, evidence=clean_text(evidence)
    )
    weaker = [standing for standing in SuppressionReason if decide_suppress(standing, reason)]
    conn.execute(
        statement.on_conflict_do_update(
            index_elements=["email_key"],
            set_={
                "reason": statement.excluded.reason,
                "at": statement.excluded.at,
                "evidence": statement.excluded.evidence,
            },
            where=table.c.reason.in_(weaker),
        )
    )


def suppress_erased(conn: Connection, email_key: str, *, now: datetime, secret: bytes) -> None:
    """Has an address never mailed again without keeping it; an earlier reason goes with its evidence."""
    conn.execute(delete(table).where(table.c.email_key == email_key))
    suppress(conn, _erased_key(email_key, secret), reason=SuppressionReason.ERASED, now=now, evidence="")


def lift(
    conn: Connection,
    email_key: str,
    *,
    secret: bytes,
    reasons: Collection[SuppressionReason] = tuple(SuppressionReason),
) -> bool:
    """Ends the suppression of an address if its reason is among the given ones; True if there was one."""
    keys = [email_key, _erased_key(email_key, secret)]
    return (
        conn.execute(delete(table).where(table.c.email_key.in_(keys), table.c.reason.in_(reasons))).rowcount
        > 0
    )


def _erased_key(email_key: str, secret: bytes) -> str:
    mac = hmac.new(secret, f"subscribers.erased:{email_key}".encode(), hashlib.sha256)
    return f"sha256:{mac.hexdigest()}"
