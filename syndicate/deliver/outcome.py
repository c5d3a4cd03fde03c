"""What is handed to the relay and what comes back. No I/O; decides nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import NamedTuple

from syndicate.errors import RelayError

__all__ = ["DeliveryReport", "Envelope", "Outcome", "OutcomeKind", "Stage"]


class Stage(StrEnum):
    """How far a conversation with the relay had come."""

    CONNECT = "connect"  # the connection, the greeting, EHLO
    TLS = "tls"
    AUTH = "auth"
    ENVELOPE = "envelope"  # refused by ourselves: nothing went out
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"  # up to the reply to DATA: no content has gone out
    DOT = "dot"  # from the first byte of content to the reply to the final dot


class OutcomeKind(StrEnum):
    """What became of one attempt."""

    SENT = "sent"  # the relay took the message
    DEFERRED = "deferred"  # certainly not taken; try again later
    FAILED = "failed"  # refused for good
    UNCERTAIN = "uncertain"  # content went out and no reply came: nobody can know (RFC 1047)
    UNSENT = "unsent"  # no content went out and nobody but the relay is to blame: no attempt
    STALE = "stale"  # no content went out, since the time to begin it had passed: no attempt


class Envelope(NamedTuple):
    """One message for one recipient. A tuple, since it is made for each message."""

    key: int  #: the caller's own; comes back in the outcome
    sender: str
    recipient: str
    #: The message is their concatenation: CRLF line ends, CRLF at the end, no dots doubled. They are joined
    #: once, on the way to the socket.
    pieces: tuple[bytes, ...]
    #: The caller made it so that it is 7 bit (but for the address of a recipient that ``needs_utf8``), CRLF
    #: ends each line and no line begins with a dot: it goes out unread. Looking through 40 KB costs more than
    #: all the rest of sending them.
    is_canonical: bool = False
    #: By the loop's clock. After that its content is not begun any more and it comes back as stale: what
    #: allowed it is too old by then, and an unsubscribe may have come since.
    begin_before_s: float = inf

    def __repr__(self) -> str:
        """Without the message, which nobody wants to see in a log."""
        return f"Envelope(key={self.key}, sender={self.sender!r}, recipient={self.recipient!r})"

    @property
    def needs_utf8(self) -> bool:
        """Whether only a relay that speaks SMTPUTF8 can take it: the local part is not ASCII (RFC 6531)."""
        return not self.recipient.isascii() and not self.recipient.rpartition("@")[0].isascii()


class Outcome(NamedTuple):
    """What became of one envelope. A tuple, as above."""

    key: int
    kind: OutcomeKind
    stage: Stage  #: where it was decided
    code: int | None  #: of the reply that decided; None: there was no proper one
    reply: str  #: its text, or what happened instead; one line of at most 500 characters


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryReport:
    """What became of several envelopes."""

    outcomes: tuple[Outcome, ...]  #: one for each envelope, in the same order
    fault: RelayError | None  #: why the relay stopped the work; what it did not reach is unsent
