"""What the connections share while one call hands over its messages. No I/O; speaks no SMTP."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from syndicate.deliver.classify import blames_reader
from syndicate.deliver.outcome import DeliveryReport, Envelope, Outcome, OutcomeKind, Stage
from syndicate.deliver.pace import Pace
from syndicate.deliver.wording import clean_reply, with_code
from syndicate.errors import RelayError

__all__ = ["Run"]

#: A connection that says 421 to two messages in a row gets no third one; our choice.
_MAX_STRIKES: Final = 2

#: Readers refused in a row for no fault of theirs, after which the work stops; our choice.
_MAX_REFUSALS: Final = 10


class Run:
    """Gives each message to one connection at a time, and gathers what became of it.

    A message is named by its place among the envelopes, a connection by its slot.
    """

    def __init__(
        self, envelopes: Sequence[Envelope], *, relay: str, pace: Pace, slots: int, refusals: int
    ) -> None:
        self.envelopes = envelopes
        self.fault: RelayError | None = None  #: ends the run
        self.refusals = refusals  #: in a row, over several runs
        self._relay, self._pace = relay, pace
        self._trouble: RelayError | None = None  #: ended one connection; others may go on
        self._outcomes: list[Outcome | None] = [None] * len(envelopes)
        self._queue = deque(range(len(envelopes)))
        self._held = 0  #: with a connection: neither waiting nor settled
        self._strikes = [0] * slots
        self._news = asyncio.Event()  #: something came back, or nothing can any more

    def take(self, slot: int) -> int | None:
        """The next message, or None if this connection gets none now."""
        if not self._queue or self._is_over(slot):
            return None
        self._held += 1
        return self._queue.popleft()

    def take_if_due(self, slot: int, now_s: float) -> int | None:
        """The next message and its turn in the pace, or None if it would have to wait for that."""
        if not self._pace.is_free(now_s) or (place := self.take(slot)) is None:
            return None
        self._pace.reserve(now_s)
        return place

    async def wait_for_next(self, slot: int) -> int | None:
        """The next message, as soon as there is one; None if no more can come for this connection.

        Another connection may still give back what it has.
        """
        while (place := self.take(slot)) is None and self._held and not self._is_over(slot):
            self._news.clear()
            await self._news.wait()
        return place

    def settle(
        self, slot: int, place: int, kind: OutcomeKind, stage: Stage, code: int | None, reply: str
    ) -> None:
        """Keeps what became of a message."""
        outcome = Outcome(
            key=self.envelopes[place].key, kind=kind, stage=stage, code=code, reply=clean_reply(reply)
        )
        self._outcomes[place] = outcome
        self._release()
        if kind is OutcomeKind.UNSENT:
            self._strikes[slot] += 1
            self._trouble = self._fault(outcome, is_temporary=True)
            return
        self._strikes[slot] = 0
        if kind is OutcomeKind.FAILED and not blames_reader(stage, outcome.reply):
            self.refusals += 1
            if self.refusals >= _MAX_REFUSALS:
                self.fault = self._fault(outcome, is_temporary=False)
        elif kind in (OutcomeKind.SENT, OutcomeKind.FAILED):
            self.refusals = 0

    def give_back(self, place: int, fault: RelayError | None = None) -> None:
        """Makes a message the next one again: no attempt was made on it.

        ``fault`` is why, if the relay is to blame; one that an operator has to see to ends the run.
        """
        self._queue.appendleft(place)
        if fault is not None and fault.is_temporary:
            self._trouble = fault
        elif fault is not None:
            self.fault = fault
        self._release()
        self._news.set()

    def report(self) -> DeliveryReport:
        """What became of each message; what was not reached is unsent."""
        fault = self.fault or (self._trouble if self._is_stuck() else None)
        words = str(fault) if fault else ""
        outcomes = (
            outcome
            or Outcome(key=e.key, kind=OutcomeKind.UNSENT, stage=Stage.CONNECT, code=None, reply=words)
            for e, outcome in zip(self.envelopes, self._outcomes, strict=True)
        )
        return DeliveryReport(outcomes=tuple(outcomes), fault=fault)

    def _release(self) -> None:
        self._held -= 1
        if not self._held:
            self._news.set()

    def _is_over(self, slot: int) -> bool:
        return self.fault is not None or self._strikes[slot] >= _MAX_STRIKES

    def _is_stuck(self) -> bool:
        """One message that met 421 beside others that went through is no fault of the relay's."""
        return bool(self._queue) or all(o is None or o.kind is OutcomeKind.UNSENT for o in self._outcomes)

    def _fault(self, outcome: Outcome, *, is_temporary: bool) -> RelayError:
        words = with_code(outcome.code, outcome.reply)
        return RelayError(self._relay, outcome.stage, words, is_temporary=is_temporary)
