from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from subscribers.consent import (
    LIFTABLE,
    decide_confirm,
    decide_enrol,
    decide_subscribe,
    decide_suppress,
    decide_unsubscribe,
)
from subscribers.model import (
    Cadence,
    Subscription,
    SubscriptionStatus,
    Suppression,
    SuppressionReason,
)

NOW = datetime(2026, 3, 14, tzinfo=UTC)
EARLIER, LATER = NOW - timedelta(hours=1), NOW + timedelta(hours=1)
S, R = SubscriptionStatus, SuppressionReason
FINAL = sorted(set(R) - LIFTABLE)


def subscription(status: SubscriptionStatus) -> Subscription:
    return Subscription(
        id=1,
        subscriber_id=1,
        newsletter_id=1,
        status=status,
        cadence=Cadence.DAILY,
        topics=(),
        watermark=0,
        created_at=NOW,
        confirmed_at=None,
    )


def suppression(reason: SuppressionReason, at: datetime = NOW) -> Suppression:
    return Suppression(email_key="a@example.com", reason=reason, at=at, evidence="")


@pytest.mark.parametrize(
    ("status", "confirmed_opt_in", "becomes", "action", "letter"),
    [
        (None, True, S.PENDING, "requested", True),
        (None, False, S.ACTIVE, "granted", False),
        (S.PENDING, True, None, "requested", True),
        (S.PENDING, False, None, "requested", True),
        (S.PAUSED, True, None, "requested", True),
        (S.PAUSED, False, None, "requested", True),
        (S.UNSUBSCRIBED, True, S.PENDING, "requested", True),
        (S.UNSUBSCRIBED, False, S.PENDING, "requested", True),
        (S.ACTIVE, True, None, None, False),
        (S.ACTIVE, False, None, None, False),
    ],
)
def test_what_the_form_does(
    status: SubscriptionStatus | None,
    *,
    confirmed_opt_in: bool,
    becomes: SubscriptionStatus | None,
    action: str | None,
    letter: bool,
) -> None:
    current = subscription(status) if status else None
    decision = decide_subscribe(current, None, confirmed_opt_in=confirmed_opt_in)
    assert (decision.status, decision.action, decision.letter) == (becomes, action, letter)
    assert decision.reason


@pytest.mark.parametrize("reason", FINAL)
@pytest.mark.parametrize("status", [None, *S])
@pytest.mark.parametrize("confirmed_opt_in", [True, False])
def test_the_form_does_nothing_for_an_address_that_is_suppressed_for_good(
    reason: SuppressionReason, status: SubscriptionStatus | None, *, confirmed_opt_in: bool
) -> None:
    current = subscription(status) if status else None
    decision = decide_subscribe(current, suppression(reason), confirmed_opt_in=confirmed_opt_in)
    assert (decision.status, decision.action, decision.letter) == (None, None, False)


@pytest.mark.parametrize("reason", sorted(LIFTABLE))
@pytest.mark.parametrize("status", [None, *S])
def test_a_suppressed_address_has_to_confirm_even_where_nobody_else_has_to(
    reason: SuppressionReason, status: SubscriptionStatus | None
) -> None:
    current = subscription(status) if status else None
    decision = decide_subscribe(current, suppression(reason), confirmed_opt_in=False)
    assert decision.letter
    assert decision.status is not S.ACTIVE


@pytest.mark.parametrize("status", [S.PENDING, S.PAUSED])
def test_a_confirmation_makes_active(status: SubscriptionStatus) -> None:
    decision = decide_confirm(subscription(status), None, issued_at=NOW, withdrawn_at=None)
    assert (decision.status, decision.action, decision.void) == (S.ACTIVE, "granted", False)


def test_a_second_confirmation_changes_nothing_and_is_welcome() -> None:
    decision = decide_confirm(subscription(S.ACTIVE), None, issued_at=NOW, withdrawn_at=None)
    assert (decision.status, decision.action, decision.void) == (None, None, False)


@pytest.mark.parametrize("status", list(S))
def test_a_link_from_before_the_reader_left_is_void(status: SubscriptionStatus) -> None:
    decision = decide_confirm(subscription(status), None, issued_at=EARLIER, withdrawn_at=NOW)
    assert decision.void
    assert decision.status is None


def test_a_link_from_after_the_reader_left_counts_once_they_asked_again() -> None:
    asked_again = decide_confirm(subscription(S.PENDING), None, issued_at=LATER, withdrawn_at=NOW)
    assert asked_again.status is S.ACTIVE
    left_again = decide_confirm(subscription(S.UNSUBSCRIBED), None, issued_at=LATER, withdrawn_at=NOW)
    assert left_again.void


@pytest.mark.parametrize(
    ("reason", "status"), list(product(sorted(LIFTABLE), [S.PENDING, S.ACTIVE, S.PAUSED]))
)
def test_a_newer_confirmation_lifts_what_can_be_lifted(
    reason: SuppressionReason, status: SubscriptionStatus
) -> None:
    newer = decide_confirm(subscription(status), suppression(reason), issued_at=LATER, withdrawn_at=None)
    assert (newer.status, newer.lifts, newer.void) == (S.ACTIVE, True, False)
    older = decide_confirm(subscription(status), suppression(reason), issued_at=EARLIER, withdrawn_at=None)
    assert (older.status, older.lifts, older.void) == (None, False, True)


@pytest.mark.parametrize(("reason", "status"), list(product(FINAL, S)))
def test_no_confirmation_lifts_a_complaint_an_operator_s_word_or_an_erasure(
    reason: SuppressionReason, status: SubscriptionStatus
) -> None:
    decision = decide_confirm(subscription(status), suppression(reason), issued_at=LATER, withdrawn_at=None)
    assert (decision.status, decision.lifts, decision.void) == (None, False, True)


@pytest.mark.parametrize("status", list(S))
def test_unsubscribing_always_works_and_is_recorded_once(status: SubscriptionStatus) -> None:
    decision = decide_unsubscribe(subscription(status))
    if status is S.UNSUBSCRIBED:
        assert (decision.status, decision.action) == (None, None)
    else:
        assert (decision.status, decision.action) == (S.UNSUBSCRIBED, "withdrawn")


@pytest.mark.parametrize(("status", "reason"), list(product([None, *S], [None, *R])))
def test_an_import_only_ever_adds(
    status: SubscriptionStatus | None, reason: SuppressionReason | None
) -> None:
    current = subscription(status) if status else None
    decision = decide_enrol(current, suppression(reason) if reason else None)
    assert (decision.status is S.ACTIVE) == (status is None and reason is None)
    assert decision.status in (None, S.ACTIVE)
    assert (decision.lifts, decision.letter) == (False, False)


def test_a_later_reason_never_makes_a_suppression_easier_to_lift() -> None:
    for standing, reason in product(R, R):
        if decide_suppress(standing, reason):
            assert standing in LIFTABLE or reason not in LIFTABLE
        assert decide_suppress(None, reason)
        assert decide_suppress(reason, reason)


class ConsentMachine(RuleBasedStateMachine):
    """One address and one newsletter, whatever happens in whatever order; a fact is noted beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.at = NOW
        self.current: Subscription | None = None
        self.suppressed: Suppression | None = None
        self.left_at: datetime | None = None
        self.links: list[datetime] = []
        self.agreed_at: datetime | None = None
        self.condemned = False

    def _tick(self) -> datetime:
        self.at += timedelta(minutes=1)
        return self.at

    def _become(self, status: SubscriptionStatus | None) -> None:
        if status is not None:
            self.current = replace(self.current or subscription(status), status=status)

    @rule(confirmed_opt_in=st.booleans())
    def subscribe(self, *, confirmed_opt_in: bool) -> None:
        now = self._tick()
        decision = decide_subscribe(self.current, self.suppressed, confirmed_opt_in=confirmed_opt_in)
        if decision.letter:
            self.links.append(now)
        if decision.status is S.ACTIVE:
            assert self.current is None
            assert not confirmed_opt_in
            self.agreed_at = now
        self._become(decision.status)

    @precondition(lambda self: self.links and self.current)
    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        now = self._tick()
        assert self.current is not None
        issued_at = data.draw(st.sampled_from(self.links))
        decision = decide_confirm(
            self.current, self.suppressed, issued_at=issued_at, withdrawn_at=self.left_at
        )
        if decision.status is S.ACTIVE:
            assert self.left_at is None or issued_at > self.left_at
            assert self.suppressed is None or issued_at > self.suppressed.at
            self.agreed_at = now
        if decision.lifts:
            self.suppressed = None
        self._become(decision.status)

    @precondition(lambda self: self.current)
    @rule()
    def unsubscribe(self) -> None:
        now = self._tick()
        assert self.current is not None
        decision = decide_unsubscribe(self.current)
        if decision.action:
            self.left_at = now
        self._become(decision.status)
        assert self.current.status is S.UNSUBSCRIBED

    @rule()
    def enrol(self) -> None:
        now, before = self._tick(), self.current
        decision = decide_enrol(self.current, self.suppressed)
        if decision.status is S.ACTIVE:
            assert before is None
            self.agreed_at = now
        self._become(decision.status)

    @precondition(lambda self: self.current and self.current.status is S.ACTIVE)
    @rule()
    def pause(self) -> None:
        self._become(S.PAUSED)

    @rule(reason=st.sampled_from(list(R)))
    def suppress(self, reason: SuppressionReason) -> None:
        now = self._tick()
        self.condemned |= reason not in LIFTABLE
        if decide_suppress(self.suppressed.reason if self.suppressed else None, reason):
            self.suppressed = suppression(reason, now)

    @invariant()
    def nobody_is_active_without_a_consent_newer_than_the_last_farewell(self) -> None:
        if self.current is not None and self.current.status is S.ACTIVE:
            assert self.agreed_at is not None
            assert self.left_at is None or self.agreed_at > self.left_at

    @invariant()
    def who_complained_is_never_mailed_again(self) -> None:
        if self.condemned:
            assert self.suppressed is not None
            assert self.suppressed.reason not in LIFTABLE


ConsentMachine.TestCase.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, database=None
)
TestConsentMachine = ConsentMachine.TestCase
