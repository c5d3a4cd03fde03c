"""What every way for mail to leave has in common, and those among them that hand it to this machine itself.

Knows no edition and no reader, stores nothing, and never tries a message again.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from syndicate.deliver.outcome import DeliveryReport, Envelope, Outcome, OutcomeKind, Stage
from syndicate.deliver.pace import Allowance, Pace
from syndicate.deliver.stream import Stream
from syndicate.deliver.wire import encode_path
from syndicate.errors import AddressError, RelayError

__all__ = ["LocalTransport", "Transport", "Verdict"]


class Transport(ABC):
    """A relay, for as long as the context lasts.

    Messages are submitted and their outcomes taken at any time, by one task; ``news`` is set when there is
    an outcome or a fault, and cleared by ``take_outcomes``. Whatever goes wrong is told in outcomes and in
    ``fault``, never raised. Each message that was submitted and not withdrawn has one outcome in the end.
    """

    def __init__(self, stream: Stream, allowance: Allowance) -> None:
        self._stream, self._allowance = stream, allowance

    async def __aenter__(self) -> Self:
        """Opens nothing yet."""
        return self

    @abstractmethod
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends as ``abort`` does, and leaves nothing behind."""

    @property
    def news(self) -> asyncio.Event:
        """Set when there is something to look at."""
        return self._stream.news

    @property
    def waiting(self) -> int:
        """How many messages are not begun."""
        return len(self._stream.waiting)

    @property
    def open(self) -> int:
        """How many messages are on their way."""
        return self._stream.open

    @property
    def connections(self) -> int:
        """How many messages may be on their way at once now: fewer after trouble."""
        return self._allowance.count

    @property
    def fault(self) -> RelayError | None:
        """Why it stopped. What was not begun is unsent then, and so is what is submitted, until ``reset``."""
        return self._stream.fault

    @property
    def settled(self) -> int:
        """How many outcomes there are to be taken."""
        return self._stream.settled

    def gather(self, count: int) -> None:
        """From now on that many messages have to be sent to be news, unless connections run out of others.
        All else is news at once.
        """
        self._stream.enough = count

    def submit(self, envelopes: Iterable[Envelope]) -> None:
        """Takes messages on; their turn comes as it can."""
        self._stream.add(envelopes)
        self._dispatch()

    def take_outcomes(self) -> list[Outcome]:
        """All that came since the last call, in any order."""
        return self._stream.take_outcomes()

    def withdraw(self) -> list[Envelope]:
        """Takes back what is not begun; it has no outcome."""
        envelopes = list(self._stream.waiting)
        self._stream.waiting.clear()
        return envelopes

    def reset(self) -> None:
        """Makes it go on after a fault."""
        self._stream.reset()
        self._dispatch()

    async def drain(self, timeout_s: float) -> list[Envelope]:
        """Begins nothing more, waits for what is begun, and aborts after the timeout.

        Returns what was withdrawn. The outcomes are there to be taken.
        """
        envelopes = self.withdraw()
        self._stream.is_stopping = True
        try:
            async with asyncio.timeout(timeout_s):
                await self._settled()
        except TimeoutError:
            self.abort()
        finally:
            self._stream.is_stopping = False
        return envelopes

    async def deliver(self, envelopes: Sequence[Envelope]) -> DeliveryReport:
        """Hands over all of them, whose keys differ, and tells what became of each; nothing else may be open.

        If the relay stops, what it did not reach is unsent; what is known by then stands. Cancelling it loses
        the outcomes: the caller has to take what was open as uncertain.
        """
        self.reset()
        self.submit(envelopes)
        try:
            await self._settled()
        except BaseException:
            self.abort()
            raise
        outcomes = {outcome.key: outcome for outcome in self.take_outcomes()}
        is_any_reached = any(o.kind is not OutcomeKind.UNSENT for o in outcomes.values())
        fault = self.fault or (None if is_any_reached else self._stream.trouble)
        return DeliveryReport(outcomes=tuple(outcomes[e.key] for e in envelopes), fault=fault)

    @abstractmethod
    async def check(self) -> None:
        """Does all that comes before a message, and sends nothing. Raises RelayError."""

    def let_go(self, now_s: float) -> None:  # noqa: B027 - only on a connection can one wait behind another
        """Gives up messages that wait behind a slow answer and whose time to begin has passed."""

    @abstractmethod
    def abort(self) -> None:
        """Ends at once: what may have left is uncertain, all else unsent."""

    @abstractmethod
    def _dispatch(self) -> None:
        """Begins what may be begun."""

    async def _settled(self) -> None:
        """Until nothing waits and nothing is open."""
        while self.waiting or self.open:
            self._stream.quiet.clear()
            await self._stream.quiet.wait()


class Verdict(NamedTuple):
    """What became of one message."""

    kind: OutcomeKind
    stage: Stage
    words: str


class LocalTransport(Transport):
    """A transport that does one thing for each message, several at once. ``name`` is how messages call it."""

    def __init__(self, name: str, *, connections: int, news: asyncio.Event | None) -> None:
        allowance = Allowance(connections)
        super().__init__(Stream(name, Pace(0.0), allowance, news or asyncio.Event()), allowance)
        self._name = name
        self._workers: set[asyncio.Task[None]] = set()
        self._at_work: dict[asyncio.Task[None], Envelope] = {}

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends as ``abort`` does, and leaves nothing behind."""
        self.abort()
        if self._workers:
            await asyncio.wait(self._workers)

    def abort(self) -> None:
        """Ends at once: what may have left is uncertain, all else unsent."""
        for task, envelope in self._at_work.items():
            task.cancel()
            self._stream.settle(envelope, OutcomeKind.UNCERTAIN, Stage.DOT, None, "sending was stopped")
        self._at_work.clear()
        self._stream.drop_waiting("sending was stopped")

    @abstractmethod
    async def _hand_over(self, envelope: Envelope) -> Verdict:
        """Does it. Raises RelayError if the message is not to blame and certainly did not leave."""

    def _dispatch(self) -> None:
        loop = asyncio.get_running_loop()
        self._allowance.grow(loop.time())
        for _ in range(min(self.connections - len(self._workers), self.waiting)):
            task = loop.create_task(self._work())
            self._workers.add(task)
            task.add_done_callback(self._on_ended)
        self._allowance.in_use = len(self._workers)

    def _on_ended(self, task: asyncio.Task[None]) -> None:
        self._workers.discard(task)
        if (envelope := self._at_work.pop(task, None)) is not None:  # a mistake of ours, which the loop tells
            self._stream.settle(envelope, OutcomeKind.UNCERTAIN, Stage.DOT, None, "handing it over failed")
        self._dispatch()  # something may have come after it had looked for more

    async def _work(self) -> None:
        """One message after the other, until none waits."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101 - only tasks run this
        while not self._allowance.is_exceeded and (envelope := self._stream.take(loop.time())) is not None:
            self._at_work[task] = envelope
            try:
                verdict = await self._judge(envelope)
            except RelayError as fault:
                del self._at_work[task]
                self._stream.give_back(envelope, fault)
                return
            del self._at_work[task]
            self._stream.settle(envelope, verdict.kind, verdict.stage, None, verdict.words)

    async def _judge(self, envelope: Envelope) -> Verdict:
        """The verdict on a message, after a look at its addresses: they get into lines and arguments."""
        try:
            encode_path(envelope.recipient, is_utf8=not envelope.recipient.isascii())
        except AddressError as error:
            return Verdict(OutcomeKind.FAILED, Stage.ENVELOPE, str(error))
        try:
            encode_path(envelope.sender)
        except AddressError as error:
            raise RelayError(self._name, Stage.MAIL, f"sender {error}") from None
        return await self._hand_over(envelope)
