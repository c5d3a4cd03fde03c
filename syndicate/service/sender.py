"""One run of one sender over one edition: a loop between the ledger and the relays.

    record what came, mark who is next (one durable commit) -> compose -> hand over -> whatever comes next

The window slides: a reader's place is free as soon as the outcome is durable, so an answer that takes ten
minutes stalls one place and not the rest. A commit that is quick, with its composing, is done between two
looks at the connections; where commits are slow they have a thread of their own and hold up nothing. Ends
when nobody is ready, when the edition stands still, when it is asked to stop, or when no relay is left; and
never with an outcome that is known and not on record.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final, TypeVar

import structlog

from syndicate.deliver.backoff import decide_next_attempt
from syndicate.deliver.outcome import Envelope, Outcome, OutcomeKind, Stage
from syndicate.errors import OperationError, RelayError, StateError, SyndicateError
from syndicate.model import DeliveryState, EditionState
from syndicate.service.composing import Composer
from syndicate.service.installation import Installation
from syndicate.service.ledger import Ledger, Step
from syndicate.service.relays import RelayPool
from syndicate.storage.deliveries import DeliveryOutcome, ReadyDelivery

__all__ = ["Run", "Sender"]

_T = TypeVar("_T")

_log = structlog.get_logger(__name__)

#: What an outcome on the wire makes of a delivery.
_STATES: Final[dict[OutcomeKind, DeliveryState]] = {
    OutcomeKind.DEFERRED: DeliveryState.DEFERRED,
    OutcomeKind.FAILED: DeliveryState.FAILED,
    OutcomeKind.UNCERTAIN: DeliveryState.UNCERTAIN,
    OutcomeKind.UNSENT: DeliveryState.PENDING,
    OutcomeKind.STALE: DeliveryState.PENDING,
}

#: Looked up once: on the path of each message.
_WAS_SENT, _IS_SENT = OutcomeKind.SENT, DeliveryState.SENT

#: Where a refusal to go on was said to one reader's message, whatever it meant.
_MET_BY_A_READER: Final = frozenset({Stage.RCPT, Stage.DATA})

#: How often at least the edition's state is looked at and the lease kept: an operator's word acts within it.
_TICK_S: Final = 0.5

#: For how long a mark is good: the message is begun by then, or the reader is asked for again. What is
#: promised is five seconds from an unsubscribe to the last attempt.
_FRESH_S: Final = 4.0

#: How long outcomes may wait for others to share a commit with while the connections have work; our choice.
_GATHER_S: Final = 0.1

#: As long as a commit may keep the connections waiting: two threads that take turns at one interpreter cost
#: more than that. A slower one has a thread of its own; our choice.
_SHORT_S: Final = 0.02

#: Commits of which the mean is taken.
_LATELY: Final = 4

#: Readers who were found and wait for their domain's turn, at the most; our choice, some megabytes.
_MOST_WAITING: Final = 20_000

#: Before a commit that failed is repeated, and before shards are asked for again after there was none.
_PAUSE_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How a run ended."""

    has_worked: bool  #: whether there was anything to do for this sender
    sent: int
    uncertain: int  #: of how many readers this run does not know whether they have it
    fault: RelayError | None  #: why no relay was left, if that ended it


@dataclass(slots=True, kw_only=True)
class Sender:
    """Sends one edition, once."""

    inst: Installation
    ledger: Ledger
    composer: Composer
    pool: RelayPool
    on_progress: Callable[[int], None]
    should_stop: Callable[[], bool]
    _rows: dict[int, ReadyDelivery] = field(default_factory=dict)  #: found or marked, by reader
    _known: list[DeliveryOutcome] = field(default_factory=list)  #: outcomes that are not on record yet
    _has_worked: bool = False
    _sent: int = 0
    _uncertain: int = 0
    _depth: int = 0  #: how many may be marked at once: the window, or fewer while the relays are slow
    _is_ending: bool = False
    _abort_at_s: float = inf  #: when a wish to stop has waited long enough for answers
    _tidied_at_s: float = -inf  #: when marks were last looked through for old ones
    _look_at_s: float = -inf  #: when to ask for another shard again
    _step_s: float = 0.0  #: what a commit has taken lately, with composing
    _failing_since_s: float | None = None  #: since when nothing can be recorded
    _error: BaseException | None = None  #: what no repeating mends: why messages cannot be composed, a bug

    async def run(self) -> Run:
        """Sends until nobody is ready any more.

        Raises StateError if another process took over, OperationError if outcomes could not be recorded for
        as long as a stop may take, and whatever keeps messages from being composed.
        """
        self._depth = self._window
        _loop().set_exception_handler(self._on_bug)
        with ThreadPoolExecutor(1, "ledger") as thread:
            try:
                while not await self._turn(thread):
                    await self._wait()
            finally:
                # Also after an error: who comes next need not wait for a lease to run out.
                await _loop().run_in_executor(thread, self._close)
        if self._error is not None:
            raise self._error
        return Run(
            has_worked=self._has_worked,
            sent=self._sent,
            uncertain=self._uncertain,
            fault=self.pool.fault if self.pool.is_exhausted else None,
        )

    def _on_bug(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A mistake of ours in a callback: whoever waited for it would wait for ever."""
        loop.default_exception_handler(context)
        self._error = context.get("exception") or RuntimeError(context["message"])
        self._end()
        self.pool.abort()

    def _close(self) -> None:
        self.composer.close()
        try:
            self.ledger.close()
        except OperationError as error:
            _log.warning("shards_not_given_back", edition_id=self.ledger.edition_id, error=str(error))

    @property
    def _window(self) -> int:
        return self.inst.settings.window_size

    async def _turn(self, thread: Executor) -> bool:
        """One commit and what it allows; True if it was the last one."""
        self._take_outcomes()
        self._look_at_wishes()
        picked = self._pick()
        wants_more = self._wants_more(len(picked))
        step = await self._step(thread, picked, wants_more=wants_more)
        if step is None:
            return False
        if step.state is not EditionState.SENDING:
            self._end()
        self._offer(step)
        if self.ledger.attempting or self._known:
            return False
        is_idle = wants_more and step.is_all_taken and not self.pool.waiting
        return self._is_ending or (is_idle and not self.ledger.has_declined)

    def _take_outcomes(self) -> None:
        now_s = _loop().time()
        if now_s >= self._tidied_at_s + _TICK_S:
            self._tidied_at_s = now_s
            self._take_back_stale()
        stale = 0
        for outcome in self.pool.take_outcomes():
            if outcome.kind is _WAS_SENT:
                self._known.append(DeliveryOutcome(outcome.key, _IS_SENT, outcome.reply))
                continue
            stale += outcome.kind is OutcomeKind.STALE
            self._known.append(self._settle(self._rows[outcome.key], outcome))
        if stale:
            self._depth = max(self.pool.connections, self._depth // 2)

    def _look_at_wishes(self) -> None:
        now_s = _loop().time()
        if self.should_stop() and self._abort_at_s == inf:
            self._abort_at_s = now_s + self.inst.settings.delivery.stop_s
            self._end()
        if self.pool.is_exhausted:
            self._end()
        if now_s >= self._abort_at_s:
            self.pool.abort()

    def _end(self) -> None:
        """Begins nothing any more: what no connection has begun is taken back."""
        if self._is_ending:
            return
        self._is_ending = True
        for reader in self.pool.withdraw():
            self._known.append(_unattempted(self._rows[reader]))

    def _pick(self) -> dict[int, str]:
        """Who is to be marked next, each with the relay that is to have the message."""
        free = self._depth - self.ledger.attempting + len(self._known)
        return {} if self._is_ending or free <= 0 else self.pool.pick(free, _loop().time())

    def _wants_more(self, picked: int) -> bool:
        waiting = self.pool.waiting
        if self._is_ending or waiting >= _MOST_WAITING:
            return False
        if not (picked or waiting or self.ledger.attempting):
            return True
        is_short = waiting < self._window or self.ledger.attempting + picked < self._depth
        return is_short and _loop().time() >= self._look_at_s

    async def _step(self, thread: Executor, picked: Mapping[int, str], *, wants_more: bool) -> Step | None:
        """Records, marks, and hands over the messages of whoever was marked; None if the database failed."""
        outcomes, self._known = self._known, []
        turns: list[int] = []
        begin_before_s = _loop().time() + min(_FRESH_S, self.inst.settings.delivery.lease_s / 2)

        def work() -> tuple[Step, list[Envelope], list[DeliveryOutcome]]:
            turns.extend(self.pool.take_turns(picked))
            step = self.ledger.step(outcomes, turns, wants_more=wants_more)
            marked = [self._rows[reader] for reader in turns if reader in step.marked]
            try:
                return step, *self.composer.compose(marked, begin_before_s)
            except SyndicateError as error:
                # That is no reader's fault, and by repeating it nothing gets better.
                self._error = error
                return step, [], [_unattempted(row) for row in marked]

        try:
            step, envelopes, failed = await self._do(thread, work)
        except StateError:
            raise
        except OperationError as error:
            self._known = outcomes + self._known
            self._put_back(picked)
            await self._bear(error)
            return None
        self._failing_since_s = None
        self._note(outcomes)
        for reader in turns:
            if reader not in step.marked:
                self.pool.give_up(reader)
                del self._rows[reader]
        for outcome in failed:
            self.pool.give_up(outcome.subscriber_id)
        self._known += failed
        self._forget(outcomes)
        if self._error is not None:
            self._end()
        self._put_back(picked.keys() - set(turns))
        self.pool.submit(envelopes)
        return step

    async def _do(self, thread: Executor, work: Callable[[], _T]) -> _T:
        """Does it at once as long as that is quick; otherwise in the thread, beside the relays."""
        began_s = _loop().time()
        if self._step_s < _SHORT_S:
            done = work()
        else:
            done = await _loop().run_in_executor(thread, work)
        self._step_s += (_loop().time() - began_s - self._step_s) / _LATELY
        return done

    async def _bear(self, error: OperationError) -> None:
        """Waits before a commit is repeated, or gives up: what is marked is found out by the next sender."""
        now_s = _loop().time()
        if self._failing_since_s is None:
            self._failing_since_s = now_s
            _log.error("not_recorded", edition_id=self.ledger.edition_id, error=str(error))
        if now_s - self._failing_since_s >= self.inst.settings.delivery.stop_s:
            raise error
        await asyncio.sleep(_PAUSE_S)

    def _note(self, outcomes: Sequence[DeliveryOutcome]) -> None:
        states = [outcome.state for outcome in outcomes]
        sent = states.count(DeliveryState.SENT)
        self._sent += sent
        self._uncertain += states.count(DeliveryState.UNCERTAIN)
        self._depth = min(self._window, self._depth + sent)
        if outcomes:
            self.on_progress(len(states) - states.count(DeliveryState.PENDING))

    def _offer(self, step: Step) -> None:
        if not step.found:
            if step.is_all_taken:
                self._look_at_s = _loop().time() + _PAUSE_S
            return
        self._has_worked = True
        if self._is_ending:
            return
        self._rows |= {row.subscriber_id: row for row in step.found}
        self._decline(self.pool.offer(step.found))

    def _forget(self, outcomes: Sequence[DeliveryOutcome]) -> None:
        """Lets go of readers whose outcome is on record; who was not attempted after all is offered again."""
        again: list[ReadyDelivery] = []
        for outcome in outcomes:
            if outcome.state is DeliveryState.PENDING and not self._is_ending:
                again.append(self._rows[outcome.subscriber_id])
            else:
                del self._rows[outcome.subscriber_id]
        if again:
            self._decline(self.pool.offer(again))

    def _put_back(self, readers: Collection[int]) -> None:
        if readers:
            rows = [self._rows[reader] for reader in readers]
            self._decline(self.pool.put_back(rows, _loop().time()))

    def _decline(self, readers: Sequence[int]) -> None:
        self.ledger.decline(readers)
        for reader in readers:
            del self._rows[reader]

    async def _wait(self) -> None:
        """Until something has come that is worth a commit, or a tick has passed."""
        if self._failing_since_s is not None:
            return
        began_s = _loop().time()
        until_s = min(began_s + _TICK_S, self.pool.next_turn_s(began_s))
        is_idle = not self.ledger.attempting and not self.pool.waiting and not self.ledger.has_declined
        if is_idle or self._can_mark():
            return
        self.pool.gather(self._depth // 2)
        while not await self._has_news(min(until_s, _loop().time() + _GATHER_S)):
            if self.pool.settled or _loop().time() >= until_s:
                return
        if self.pool.settled < self.ledger.attempting // 2:
            # The others would wait as long for this commit.
            await asyncio.sleep(min(self._step_s, _SHORT_S))

    async def _has_news(self, until_s: float) -> bool:
        """Waits for news of the relays, but no longer than until then."""
        try:
            async with asyncio.timeout_at(until_s):
                return await self.pool.news.wait()
        except TimeoutError:
            return False

    def _take_back_stale(self) -> None:
        """Asks again for readers whose messages no connection has come to."""
        for reader in self.pool.take_back_stale(_loop().time()):
            self._known.append(_unattempted(self._rows[reader]))

    def _can_mark(self) -> bool:
        """Whether there is room, and somebody for it: as at the beginning, and while a shard was read."""
        room = self._depth - self.ledger.attempting
        return not self._is_ending and room > 0 and self.pool.has_turn(_loop().time())

    def _settle(self, row: ReadyDelivery, outcome: Outcome) -> DeliveryOutcome:
        state = _STATES[outcome.kind]
        if state is DeliveryState.PENDING and self._is_told_to_wait(outcome):
            state = DeliveryState.DEFERRED
        next_attempt_at = None
        if state in {DeliveryState.DEFERRED, DeliveryState.UNCERTAIN}:
            jitter = random.random()  # noqa: S311 - spreads load, keeps no secret
            now = self.inst.clock()
            next_attempt_at = decide_next_attempt(row.attempts + 1, now=now, jitter=jitter)
        if outcome.kind in {OutcomeKind.FAILED, OutcomeKind.UNCERTAIN}:
            _log.warning(
                "delivery_" + outcome.kind.value,
                edition_id=self.ledger.edition_id,
                subscriber_id=row.subscriber_id,
                stage=outcome.stage,
                reply=outcome.reply,
            )
        return DeliveryOutcome(
            subscriber_id=row.subscriber_id,
            state=state,
            reply=outcome.reply,
            next_attempt_at=next_attempt_at,
        )

    def _is_told_to_wait(self, outcome: Outcome) -> bool:
        """Whether the relay works and did not want this one: at once again would be for ever."""
        return outcome.stage in _MET_BY_A_READER or (
            outcome.kind is OutcomeKind.UNSENT and outcome.stage is Stage.MAIL and not self.pool.is_exhausted
        )


def _unattempted(row: ReadyDelivery) -> DeliveryOutcome:
    return DeliveryOutcome(subscriber_id=row.subscriber_id, state=DeliveryState.PENDING, reply="")


def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()
