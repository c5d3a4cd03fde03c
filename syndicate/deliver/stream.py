"""What the connections to a relay share: the messages that wait, what became of others, why it stops.

No I/O, no clock; speaks no SMTP and opens no connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Final

from syndicate.deliver.classify import blames_reader, is_overload
from syndicate.deliver.outcome import Envelope, Outcome, OutcomeKind, Stage
from syndicate.deliver.pace import Allowance, Pace
from syndicate.deliver.wording import clean_reply, with_code
from syndicate.errors import RelayError

__all__ = ["Stream"]

#: Looked up once: on the path of each message.
_SENT, _DOT = OutcomeKind.SENT, Stage.DOT

#: A relay that answers two messages in a row with 421, and nothing else, gets no third one; our choice.
_MAX_STRIKES: Final = 2

#: Readers refused in a row for no fault of theirs, after which the work stops; our choice.
_MAX_REFUSALS: Final = 10


class Stream:
    """Gives each message to one connection at a time, and gathers what becomes of it."""

    def __init__(self, relay: str, pace: Pace, allowance: Allowance, news: asyncio.Event) -> None:
        self.relay, self.pace, self.allowance = relay, pace, allowance
        self.waiting: deque[Envelope] = deque()
        self.open = 0  #: with a connection: neither waiting nor settled
        self._sent: list[tuple[int, int, str]] = []  #: what was taken: key, code, text
        self._others: list[Outcome] = []  #: what else became of messages
        self.news = news  #: set when there is something to look at
        self.enough = 1  #: messages that were sent before that is something, unless the others run out
        self.quiet = asyncio.Event()  #: nothing waits and nothing is open
        self.fault: RelayError | None = None  #: nothing is begun any more
        self.trouble: RelayError | None = None  #: the last that was no fault, since others got through
        self.is_stopping = False  #: what a connection gives back does not wait again
        self.now_s = float("-inf")  #: by the loop's clock, when a connection was last looked at
        self._strikes = 0
        self._refusals = 0

    @property
    def settled(self) -> int:
        """How many outcomes there are to be taken."""
        return len(self._sent) + len(self._others)

    @property
    def is_struck(self) -> bool:
        """Whether message after message met 421, so that only a connection at work speaks for the relay."""
        return self._strikes >= _MAX_STRIKES

    def add(self, envelopes: Iterable[Envelope]) -> None:
        """Lets them wait for a connection; after a fault they are unsent at once."""
        self.waiting.extend(envelopes)
        if self.fault is not None:
            self.fail(self.fault)

    def take(self, now_s: float) -> Envelope | None:
        """The next message and its turn, or None if there is none, or it has to wait for its turn.

        One whose time to begin has passed is settled here.
        """
        waiting = self.waiting
        while waiting and (not self.pace.is_limited or self.pace.is_free(now_s)):
            envelope = waiting.popleft()
            self.open += 1
            if envelope.begin_before_s >= now_s:
                if self.pace.is_limited:
                    self.pace.reserve(now_s)
                return envelope
            self.expire(envelope)
        return None

    def settle_sent(self, envelope: Envelope, code: int, text: str) -> None:
        """The relay has taken a message: what ``settle`` does, at less cost."""
        self.open -= 1
        self._sent.append((envelope.key, code, text))
        self._strikes = self._refusals = 0
        if len(self._sent) >= self.enough or len(self.waiting) <= self.allowance.count:
            self._tell()

    def settle(
        self, envelope: Envelope, kind: OutcomeKind, stage: Stage, code: int | None, text: str
    ) -> None:
        """Keeps what became of a message."""
        self.open -= 1
        outcome = Outcome(key=envelope.key, kind=kind, stage=stage, code=code, reply=clean_reply(text))
        self._others.append(outcome)
        self._look_at(outcome)
        self._tell()

    def take_outcomes(self) -> list[Outcome]:
        """All that came since the last call, in any order; there are no news after that."""
        outcomes, self._others = self._others, []
        sent, self._sent = self._sent, []
        outcomes += [Outcome(key, _SENT, _DOT, code, clean_reply(text)) for key, code, text in sent]
        self.news.clear()
        return outcomes

    def expire(self, envelope: Envelope) -> None:
        """A message that a connection has, and whose time to begin has passed."""
        self.open -= 1
        self._end(envelope, OutcomeKind.STALE, "the time to begin it had passed")

    def give_back(self, envelope: Envelope, fault: RelayError | None = None) -> None:
        """Makes a message the next one again: no attempt was made on it.

        ``fault`` is why, if an operator has to see to it; then nothing is begun any more.
        """
        self.open -= 1
        self.waiting.appendleft(envelope)
        fault = fault or self.fault
        if fault is not None:
            self.fail(fault)
        elif self.is_stopping:
            self.drop_waiting("sending was stopped")

    def fail(self, fault: RelayError) -> None:
        """Stops: whatever waits is unsent."""
        self.fault = fault
        self.drop_waiting(str(fault))

    def drop_waiting(self, words: str) -> None:
        """Whatever waits is unsent."""
        while self.waiting:
            self._end(self.waiting.popleft(), OutcomeKind.UNSENT, words)
        self.news.set()

    def reset(self) -> None:
        """Makes it go on after a fault. Readers who were refused in a row still count."""
        self.fault = self.trouble = None
        self._strikes = 0
        self.allowance.restore()

    def _end(self, envelope: Envelope, kind: OutcomeKind, words: str) -> None:
        """A message that is over without an attempt."""
        self._others.append(
            Outcome(key=envelope.key, kind=kind, stage=Stage.CONNECT, code=None, reply=clean_reply(words))
        )
        self._tell()

    def _tell(self) -> None:
        self.news.set()
        if not (self.open or self.waiting):
            self.quiet.set()

    def _look_at(self, outcome: Outcome) -> None:
        """What it says about the relay."""
        if is_overload(outcome.code, outcome.reply):
            self.allowance.halve(self.now_s)
        if outcome.kind is OutcomeKind.UNSENT:
            self._strikes += 1
            self.trouble = self._error(outcome, is_temporary=True)
            return
        self._strikes = 0
        if outcome.kind is OutcomeKind.FAILED and not blames_reader(outcome.stage, outcome.reply):
            self._refusals += 1
            if self._refusals >= _MAX_REFUSALS:
                self.fail(self._error(outcome, is_temporary=False))
        elif outcome.kind in {OutcomeKind.SENT, OutcomeKind.FAILED}:
            self._refusals = 0

    def _error(self, outcome: Outcome, *, is_temporary: bool) -> RelayError:
        words = with_code(outcome.code, outcome.reply)
        return RelayError(self.relay, outcome.stage, words, is_temporary=is_temporary)
