"""The words of this package: who receives what, and why we may write to them. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

__all__ = [
    "Cadence",
    "Consent",
    "ConsentMethod",
    "Subscriber",
    "Subscription",
    "SubscriptionStatus",
    "Suppression",
    "SuppressionReason",
]


class Cadence(StrEnum):
    """How often a reader wants mail."""

    IMMEDIATE = "immediate"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"


class SubscriptionStatus(StrEnum):
    """Where a subscription stands; only ``active`` receives mail."""

    PENDING = "pending"  # asked for, not confirmed yet
    ACTIVE = "active"
    PAUSED = "paused"
    UNSUBSCRIBED = "unsubscribed"


class ConsentMethod(StrEnum):
    """What a line of the consent record stands for."""

    FORM = "form"  # asked on the form; proves nothing yet
    CONFIRMED = "confirmed"  # opened the confirmation and posted it: double opt-in
    IMPORT = "import"  # the operator states that consent was given elsewhere
    OPERATOR = "operator"  # added by hand
    PREFERENCES = "preferences"  # changed on the preferences page
    UNSUBSCRIBE_PAGE = "unsubscribe-page"
    ONE_CLICK = "one-click"  # RFC 8058


class SuppressionReason(StrEnum):
    """Why an address is never to be mailed."""

    UNSUBSCRIBE_ALL = "unsubscribe-all"
    HARD_BOUNCE = "hard-bounce"
    COMPLAINT = "complaint"
    MANUAL = "manual"
    ERASED = "erased"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscriber:
    """A person's address, once for the installation."""

    id: int
    email: str  #: as the person writes it
    email_key: str  #: case-folded, IDN as A-label: equal for equal mailboxes; unique
    name: str  #: may be empty
    language: str  #: BCP 47, or empty for the newsletter's own
    time_zone: str  #: IANA name, or empty for the newsletter's own
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A person's link to one newsletter."""

    id: int
    subscriber_id: int
    newsletter_id: int
    status: SubscriptionStatus
    cadence: Cadence
    topics: tuple[str, ...]  #: topic slugs, sorted; empty means every topic
    watermark: int  #: the sequence up to which this subscription has been served
    created_at: datetime
    confirmed_at: datetime | None  #: when it became active for the first time


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """One line of the append-only record of who agreed to what, when, how, with which proof."""

    id: int
    subscriber_id: int
    newsletter_id: int | None  #: None: every newsletter
    action: str  #: requested, granted, changed, withdrawn
    method: ConsentMethod
    at: datetime
    text: str  #: what the person was shown, or what changed
    proof: str  #: network address, import file and line, operator's statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppression:
    """An address never to be mailed, and why."""

    email_key: str
    reason: SuppressionReason
    at: datetime
    evidence: str
