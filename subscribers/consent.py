"""Whether we may write to somebody: what each event makes of a subscription. No I/O.

    (none)        --form-->         pending, or active where no confirmation is asked for
    (none)        --import-->       active
    pending       --form-->         pending, with another letter
    pending       --confirm-->      active
    paused        --confirm-->      active
    any           --unsubscribe-->  unsubscribed
    unsubscribed  --form-->         pending, even where no confirmation is asked for
    unsubscribed  --import, confirm (an old link)-->  unsubscribed

A suppression stands above all of this. What the reader did or the mailbox said (unsubscribe-all, hard bounce)
is lifted by a confirmed opt-in that is newer; a complaint, the operator's word and an erasure are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from subscribers.model import Subscription, SubscriptionStatus, Suppression, SuppressionReason

__all__ = [
    "LIFTABLE",
    "Decision",
    "decide_confirm",
    "decide_enrol",
    "decide_subscribe",
    "decide_suppress",
    "decide_unsubscribe",
]

#: Suppressions that a confirmed new opt-in lifts.
LIFTABLE: Final = frozenset({SuppressionReason.UNSUBSCRIBE_ALL, SuppressionReason.HARD_BOUNCE})

#: From the weakest to the strongest: a later reason never makes an earlier one easier to lift.
_STRENGTH: Final = (
    SuppressionReason.HARD_BOUNCE,
    SuppressionReason.UNSUBSCRIBE_ALL,
    SuppressionReason.MANUAL,
    SuppressionReason.COMPLAINT,
    SuppressionReason.ERASED,
)

_S: Final = SubscriptionStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What an event changes, and why. The default is that it changes nothing."""

    reason: str  #: for the operator's record; never shown to who asked, since it tells who is on the list
    status: SubscriptionStatus | None = None  #: the new one; None: as it was
    action: str | None = None  #: the line of the consent record: requested, granted, withdrawn; None: none
    letter: bool = False  #: whether a confirmation letter goes out
    lifts: bool = False  #: whether the suppression ends
    void: bool = False  #: whether what was presented, a link, counts no more


def decide_subscribe(
    current: Subscription | None, suppression: Suppression | None, *, confirmed_opt_in: bool
) -> Decision:
    """What a form does that anybody can fill in with anybody's address.

    Without ``confirmed_opt_in`` it is enough for somebody new. Everybody else has to confirm: who asks again
    while waiting may have left before, so that asking twice would be a way round.
    """
    if suppression is not None and suppression.reason not in LIFTABLE:
        return Decision(reason=f"suppressed: {suppression.reason}")
    status = current.status if current is not None else None
    if status is _S.ACTIVE and suppression is None:
        return Decision(reason="already active")
    if status is None and suppression is None and not confirmed_opt_in:
        return Decision(reason="taken at its word", status=_S.ACTIVE, action="granted")
    return Decision(
        reason="to be confirmed",
        status=_S.PENDING if status in (None, _S.UNSUBSCRIBED) else None,
        action="requested",
        letter=True,
    )


def decide_confirm(
    current: Subscription,
    suppression: Suppression | None,
    *,
    issued_at: datetime,
    withdrawn_at: datetime | None,
) -> Decision:
    """What a confirmation does, posted with a link issued at an instant; again and again, the same.

    ``withdrawn_at`` is when the reader last left: a link from before is void, and so is one from before a
    suppression.
    """
    if suppression is not None and suppression.reason not in LIFTABLE:
        return Decision(reason=f"suppressed: {suppression.reason}", void=True)
    if suppression is not None and issued_at < suppression.at:
        return Decision(reason=f"issued before the suppression: {suppression.reason}", void=True)
    if current.status is _S.UNSUBSCRIBED or (withdrawn_at is not None and issued_at < withdrawn_at):
        return Decision(reason="issued before the reader left", void=True)
    if current.status is _S.ACTIVE and suppression is None:
        return Decision(reason="already active")
    return Decision(reason="confirmed", status=_S.ACTIVE, action="granted", lifts=suppression is not None)


def decide_unsubscribe(current: Subscription) -> Decision:
    """What the reader's wish to leave does: always what it says."""
    if current.status is _S.UNSUBSCRIBED:
        return Decision(reason="already unsubscribed")
    return Decision(reason="left", status=_S.UNSUBSCRIBED, action="withdrawn")


def decide_enrol(current: Subscription | None, suppression: Suppression | None) -> Decision:
    """What the operator's statement does that somebody has agreed elsewhere, by hand or in a file.

    It starts a subscription where there is none, and is stronger than nothing: neither than a reader who
    left or has still to confirm, nor than a suppression.
    """
    if suppression is not None:
        return Decision(reason=f"suppressed: {suppression.reason}")
    if current is None:
        return Decision(reason="added", status=_S.ACTIVE, action="granted")
    return Decision(
        reason={
            _S.ACTIVE: "already subscribed",
            _S.PAUSED: "paused, left alone",
            _S.PENDING: "waits for its confirmation, left alone",
            _S.UNSUBSCRIBED: "unsubscribed, left alone",
        }[current.status]
    )


def decide_suppress(current: SuppressionReason | None, reason: SuppressionReason) -> bool:
    """Whether a new reason takes the place of the one that stands: if it is at least as strong.

    An equal one does, since it is newer: a link issued between the two is void.
    """
    return current is None or _STRENGTH.index(reason) >= _STRENGTH.index(current)
