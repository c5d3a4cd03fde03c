"""Hands messages to the relay over several connections at once.

Knows no edition and no reader, stores nothing, and never tries a message again that the relay may have.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

from syndicate.deliver.classify import blames_reader
from syndicate.deliver.handshake import open_session
from syndicate.deliver.outcome import DeliveryReport, Envelope, Outcome, OutcomeKind, Stage
from syndicate.deliver.pace import Pace
from syndicate.deliver.relay import RelaySettings, make_tls_context
from syndicate.deliver.session import Session, Timeouts
from syndicate.deliver.wording import with_code
from syndicate.errors import RelayError

__all__ = ["RelaySettings", "SmtpRelay"]

#: A connection that says 421 to two messages in a row gets no third one; our choice.
_MAX_STRIKES: Final = 2

#: Readers refused in a row for no fault of theirs, after which the work stops; our choice.
_MAX_REFUSALS: Final = 10


class SmtpRelay:
    """A relay and the connections to it, kept open as long as the context lasts.

    Its methods are for one task: a second ``deliver`` must not begin before the first has ended.
    Raises ConfigurationError if the CA file cannot be read.
    """

    def __init__(self, settings: RelaySettings, timeouts: Timeouts = Timeouts()) -> None:  # noqa: B008 - frozen
        self._settings, self._timeouts = settings, timeouts
        self._tls_context = make_tls_context(settings)
        self._pace = Pace(settings.rate_s)
        self._sessions: list[Session | None] = [None] * settings.connections
        self._refusals = 0

    async def __aenter__(self) -> Self:
        """Opens no connection yet."""
        if not self._settings.local_hostname:
            name = await asyncio.to_thread(socket.getfqdn)  # asks a name server: once is enough
            self._settings = replace(self._settings, local_hostname=name)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Says goodbye on every connection."""
        sessions = [session for session in self._sessions if session is not None]
        self._sessions = [None] * self._settings.connections
        await asyncio.gather(*(session.close() for session in sessions))

    async def check(self) -> None:
        """Connects, greets, encrypts and authenticates, and sends nothing. Raises RelayError."""
        session = self._sessions[0]
        if session is None or not session.is_open():
            self._sessions[0] = await self._open()

    async def deliver(self, envelopes: Sequence[Envelope]) -> DeliveryReport:
        """Hands over each message in a transaction of its own and tells what became of each.

        Never raises for what a server or a network does. If the relay itself refuses us, or nothing can be
        got through to it, ``fault`` says so, and what was not reached is unsent; what is known by then
        stands. A message whose content has begun is waited for, up to ten minutes. Cancelling it loses the
        outcomes: the caller has to take what was open as uncertain.
        """
        run = _Run(envelopes)
        async with asyncio.TaskGroup() as group:
            for slot in range(min(len(self._sessions), len(envelopes))):
                group.create_task(self._work(run, slot))
        return run.report()

    async def _work(self, run: _Run, slot: int) -> None:
        """Sends on one connection until nothing is left, or the relay wants no more of it."""
        strikes = 0
        while strikes < _MAX_STRIKES and (turn := run.next()) is not None:
            delay_s = self._pace.reserve(asyncio.get_running_loop().time())
            if delay_s > 0:
                await asyncio.sleep(delay_s)
            if run.fault is not None:
                return
            try:
                outcome = await self._attempt(slot, run.envelopes[turn])
            except RelayError as fault:
                run.give_back(turn, fault)
                return
            run.outcomes[turn] = outcome
            if outcome.kind is OutcomeKind.UNSENT:
                strikes += 1
                run.trouble = self._fault(outcome, is_temporary=True)
            else:
                strikes = 0
                self._count_refusals(run, outcome)

    async def _attempt(self, slot: int, envelope: Envelope) -> Outcome:
        session = self._sessions[slot]
        try:
            if session is not None and session.is_open():
                outcome = await session.send(envelope)
                # Relays end connections that were idle, or have had their share. If that shows at MAIL it
                # says nothing about this message, of which they have not seen a byte.
                if session.is_open() or outcome.stage is not Stage.MAIL:
                    return outcome
            session = self._sessions[slot] = await self._open()
            return await session.send(envelope)
        except BaseException:
            # Cancelled, or refused: nobody can tell which reply would come next on this connection.
            if session is not None:
                session.abort()
            raise

    async def _open(self) -> Session:
        return await open_session(self._settings, self._tls_context, self._timeouts)

    def _count_refusals(self, run: _Run, outcome: Outcome) -> None:
        if outcome.kind is OutcomeKind.FAILED and not blames_reader(outcome.stage, outcome.reply):
            self._refusals += 1
            if self._refusals >= _MAX_REFUSALS:
                run.fault = self._fault(outcome, is_temporary=False)
        elif outcome.kind in {OutcomeKind.SENT, OutcomeKind.FAILED}:
            self._refusals = 0

    def _fault(self, outcome: Outcome, *, is_temporary: bool) -> RelayError:
        words = with_code(outcome.code, outcome.reply)
        return RelayError(self._settings.name, outcome.stage, words, is_temporary=is_temporary)


class _Run:
    """The state that the connections share during one ``deliver``."""

    def __init__(self, envelopes: Sequence[Envelope]) -> None:
        self.envelopes = envelopes
        self.outcomes: list[Outcome | None] = [None] * len(envelopes)
        self.fault: RelayError | None = None  #: ends the run
        self.trouble: RelayError | None = None  #: ended one connection; others may go on
        self._queue = deque(range(len(envelopes)))

    def next(self) -> int | None:
        return self._queue.popleft() if self._queue and self.fault is None else None

    def give_back(self, turn: int, fault: RelayError) -> None:
        self._queue.appendleft(turn)
        if fault.is_temporary:
            self.trouble = fault
        else:
            self.fault = fault

    def report(self) -> DeliveryReport:
        fault = self.fault or (self.trouble if self._is_stuck() else None)
        words = str(fault) if fault else ""
        outcomes = (
            outcome
            or Outcome(key=e.key, kind=OutcomeKind.UNSENT, stage=Stage.CONNECT, code=None, reply=words)
            for e, outcome in zip(self.envelopes, self.outcomes, strict=True)
        )
        return DeliveryReport(outcomes=tuple(outcomes), fault=fault)

    def _is_stuck(self) -> bool:
        """One message that met 421 beside others that went through is no fault of the relay's."""
        return bool(self._queue) or all(o is None or o.kind is OutcomeKind.UNSENT for o in self.outcomes)
