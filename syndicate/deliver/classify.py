"""What a reply of the relay means, by its code and by how far the conversation had come. No I/O.

Never by the class of an exception: a client library reports 421 at RCPT as a refused recipient, and the
reader would pay for it.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

from syndicate.deliver.outcome import OutcomeKind, Stage

__all__ = ["RelayFault", "blames_reader", "classify", "is_overload"]

#: An enhanced status code stands first in the text (RFC 2034 section 4).
_STATUS: Final = re.compile(r"[245]\.(\d{1,3})\.(\d{1,3})(?!\S)")

#: Subjects of an enhanced status (RFC 3463) that speak of dialogue, content and policy, never of a mailbox.
_NOT_THE_READERS_SUBJECTS: Final = frozenset({5, 6, 7})

#: Of the other subjects, those that speak of our sender address, of the size of the message, or of a loop.
_NOT_THE_READERS: Final = frozenset({(1, 7), (1, 8), (2, 3), (3, 4), (4, 6)})


class RelayFault(StrEnum):
    """The relay itself is at fault, or we are towards it: no reader is concerned."""

    BUSY = "busy"  # it will pass: come again after a while
    REFUSED = "refused"  # an operator has to act; repeating it may lock the account


def classify(stage: Stage, code: int | None, reply: str) -> OutcomeKind | RelayFault:
    """What the reply that ended an attempt makes of it.

    ``code`` is None where no proper reply came: a drop, a timeout, garbage, a reply that is out of place.
    Uncertain is only what had begun to send content (RFC 5321 section 4.5.3.2.6, RFC 1047).
    """
    severity = code // 100 if code is not None else None
    match stage:
        case Stage.DOT:  # first, since it ends each message that is well
            return _classify_dot(severity)
        case Stage.CONNECT | Stage.TLS | Stage.AUTH:
            return RelayFault.REFUSED if severity == 5 else RelayFault.BUSY
        case Stage.MAIL if severity == 5:
            return RelayFault.REFUSED
        case Stage.ENVELOPE:
            return OutcomeKind.FAILED
        case _:
            return _classify_command(stage, code, reply)


def blames_reader(stage: Stage, reply: str) -> bool:
    """Whether a refusal for good is about the reader's address, not about our content, identity or manners.

    Without a telling status only RCPT is taken to speak of the mailbox: what comes later, the relay says of
    a recipient that it had accepted.
    """
    status = _find_status(reply)
    if stage is Stage.ENVELOPE:
        return True
    if stage is Stage.DATA:
        return False
    if status is None or status[0] == 0:
        return stage is Stage.RCPT
    return status[0] not in _NOT_THE_READERS_SUBJECTS and status not in _NOT_THE_READERS


def is_overload(code: int | None, reply: str) -> bool:
    """Whether it asks for less: 421 at any time, or a refusal for now whose status is 4.7.x."""
    status = _find_status(reply)
    return code == 421 or (code is not None and code // 100 == 4 and status is not None and status[0] == 7)


def _classify_command(stage: Stage, code: int | None, reply: str) -> OutcomeKind:
    if code == 421:  # the server closes down and may say so instead of any reply (RFC 5321 section 3.8)
        return OutcomeKind.UNSENT
    is_final = code is not None and code // 100 == 5
    if is_final and not _is_too_many_recipients(stage, code, reply):
        return OutcomeKind.FAILED
    return OutcomeKind.DEFERRED


def _classify_dot(severity: int | None) -> OutcomeKind:
    match severity:
        case 2:
            return OutcomeKind.SENT
        case 4:  # 421 too: it is a reply, and it says that the message was not taken
            return OutcomeKind.DEFERRED
        case 5:
            return OutcomeKind.FAILED
        case _:
            return OutcomeKind.UNCERTAIN


def _is_too_many_recipients(stage: Stage, code: int | None, reply: str) -> bool:
    """552 at RCPT means what 452 means (RFC 5321 section 4.5.3.1.10), unless it names a full mailbox."""
    return stage is Stage.RCPT and code == 552 and _find_status(reply) != (2, 2)


def _find_status(reply: str) -> tuple[int, int] | None:
    found = _STATUS.match(reply)
    return (int(found[1]), int(found[2])) if found else None
