from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection, select

from subscribers import suppression, tables
from subscribers.model import Suppression, SuppressionReason

R = SuppressionReason
KEY = "reader@example.com"
SECRET = b"a secret of at least 16 bytes"


def suppress(connection: Connection, reason: SuppressionReason, now: datetime, evidence: str = "why") -> None:
    suppression.suppress(connection, KEY, reason=reason, now=now, evidence=evidence)


def test_a_suppression_is_found_with_its_evidence(connection: Connection, now: datetime) -> None:
    assert suppression.find(connection, KEY, secret=SECRET) is None
    suppress(connection, R.HARD_BOUNCE, now, "550 5.1.1 \udcff\0 no such user")
    assert suppression.find(connection, KEY, secret=SECRET) == Suppression(
        email_key=KEY, reason=R.HARD_BOUNCE, at=now, evidence="550 5.1.1 ? no such user"
    )
    assert suppression.is_suppressed(connection, KEY, secret=SECRET)
    assert not suppression.is_suppressed(connection, "other@example.com", secret=SECRET)


@pytest.mark.parametrize(
    ("first", "second", "stands"),
    [
        (R.HARD_BOUNCE, R.COMPLAINT, R.COMPLAINT),
        (R.COMPLAINT, R.HARD_BOUNCE, R.COMPLAINT),
        (R.MANUAL, R.UNSUBSCRIBE_ALL, R.MANUAL),
        (R.UNSUBSCRIBE_ALL, R.MANUAL, R.MANUAL),
    ],
)
def test_the_stronger_reason_stands(
    connection: Connection,
    now: datetime,
    first: SuppressionReason,
    second: SuppressionReason,
    stands: SuppressionReason,
) -> None:
    suppress(connection, first, now)
    suppress(connection, second, now + timedelta(hours=1))
    found = suppression.find(connection, KEY, secret=SECRET)
    assert found is not None
    assert found.reason is stands


def test_the_same_reason_again_is_newer(connection: Connection, now: datetime) -> None:
    later = now + timedelta(hours=1)
    suppress(connection, R.HARD_BOUNCE, now, "first")
    suppress(connection, R.HARD_BOUNCE, later, "second")
    found = suppression.find(connection, KEY, secret=SECRET)
    assert found is not None
    assert (found.at, found.evidence) == (later, "second")


def test_a_suppression_is_lifted_only_for_the_reasons_given(connection: Connection, now: datetime) -> None:
    suppress(connection, R.COMPLAINT, now)
    assert not suppression.lift(connection, KEY, secret=SECRET, reasons=[R.HARD_BOUNCE])
    assert suppression.is_suppressed(connection, KEY, secret=SECRET)
    assert suppression.lift(connection, KEY, secret=SECRET)
    assert not suppression.lift(connection, KEY, secret=SECRET)
    assert not suppression.is_suppressed(connection, KEY, secret=SECRET)


def test_an_erased_address_is_known_again_and_stands_nowhere(connection: Connection, now: datetime) -> None:
    suppress(connection, R.COMPLAINT, now, f"complaint about mail to {KEY}")
    suppression.suppress_erased(connection, KEY, now=now, secret=SECRET)
    assert suppression.find(connection, KEY, secret=SECRET) == Suppression(
        email_key=KEY, reason=R.ERASED, at=now, evidence=""
    )
    (row,) = connection.execute(select(tables.suppression)).all()
    assert "reader" not in repr(row)
    assert suppression.find(connection, KEY, secret=b"another secret of 16 bytes") is None


def test_what_comes_in_about_an_erased_address_does_not_make_it_easier_to_lift(
    connection: Connection, now: datetime
) -> None:
    suppression.suppress_erased(connection, KEY, now=now, secret=SECRET)
    suppress(connection, R.HARD_BOUNCE, now)
    found = suppression.find(connection, KEY, secret=SECRET)
    assert found is not None
    assert found.reason is R.ERASED
    assert suppression.lift(connection, KEY, secret=SECRET)
    assert not suppression.is_suppressed(connection, KEY, secret=SECRET)


def test_many_addresses_are_asked_about_at_once(connection: Connection, now: datetime) -> None:
    suppress(connection, R.MANUAL, now)
    suppression.suppress_erased(connection, "gone@example.com", now=now, secret=SECRET)
    asked = [KEY, "gone@example.com", *(f"r{n}@example.com" for n in range(2000))]
    found = suppression.find_many(connection, asked, secret=SECRET)
    assert {key: its.reason for key, its in found.items()} == {KEY: R.MANUAL, "gone@example.com": R.ERASED}
