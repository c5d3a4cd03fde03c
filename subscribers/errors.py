"""Every error that this package raises on purpose.

    SubscribersError
    ├── InvalidAddress        not an address that mail can be sent to
    ├── InvalidPreferences    choices that are not on offer; lists every one
    ├── InvalidLink           a link that we did not make, or that was damaged on its way
    │   ├── ExpiredLink       ... that was good until an instant
    │   └── VoidLink          ... that something which happened since has made worthless
    ├── UnknownSubscriber     nobody has this address or number
    └── ImportProblem         a file that cannot be read as a list of subscribers

Each message is one line; each error carries its data. Writes no log and knows no status codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

__all__ = [
    "ExpiredLink",
    "ImportProblem",
    "InvalidAddress",
    "InvalidLink",
    "InvalidPreferences",
    "SubscribersError",
    "UnknownSubscriber",
    "VoidLink",
]


class SubscribersError(Exception):
    """The root: something that a reader or an operator can act on."""


class InvalidAddress(SubscribersError):
    """Mail cannot be sent to this address; ``detail`` is a sentence that can be shown to its owner."""

    def __init__(self, address: str, detail: str) -> None:
        self.address, self.detail = address, detail
        super().__init__(f"{address[:100]!a}: {detail}")


class InvalidPreferences(SubscribersError):
    """Some choices are not on offer; ``problems`` has a sentence for each of them."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class InvalidLink(SubscribersError):
    """The token of a link is not one of ours, or is one for another purpose."""

    def __init__(self, detail: str = "this link is not valid; copy it whole from the mail") -> None:
        super().__init__(detail)


class ExpiredLink(InvalidLink):
    """The link was good until ``expired_at``."""

    def __init__(self, expired_at: datetime) -> None:
        self.expired_at = expired_at
        super().__init__(f"this link expired on {expired_at:%Y-%m-%d}; subscribe again to get a new one")


class VoidLink(InvalidLink):
    """The link is genuine and counts no more; ``reason`` says why, for the record and not for the page."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__("this link is no longer valid; subscribe again to get a new one")


class UnknownSubscriber(SubscribersError):
    """Nobody by this address, or no subscription by this number."""

    def __init__(self, who: str | int) -> None:
        self.who = who
        kind = "subscription" if isinstance(who, int) else "subscriber"
        super().__init__(f"unknown {kind} {who!a}; 'subscriber list' shows who there is")


class ImportProblem(SubscribersError):
    """The file cannot be read any further; ``line`` counts from 1. Nothing of it should be kept."""

    def __init__(self, line: int, detail: str) -> None:
        self.line, self.detail = line, detail
        super().__init__(f"line {line}: {detail}")
