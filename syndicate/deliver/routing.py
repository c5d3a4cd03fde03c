"""Who is next, and over which relay: queues for limited domains, lanes to relays. No I/O; reads no clock.

Knows no message and no connection. A domain that is slow or limited waits in a queue of its own and holds up
nobody else; a relay that is closed gets nothing, and the others get all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import NamedTuple

from syndicate.deliver.limits import DomainLimits, Turns

__all__ = ["Candidate", "Dispatcher", "Lane"]


class Candidate(NamedTuple):
    """Somebody whose turn to get a message is to come. A tuple, since a million of them are made."""

    key: int  #: the caller's own
    domain: str  #: what stands after the @, in small letters and as A-labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """The way to one relay."""

    name: str
    slots: int  #: messages that it may hold at once
    weight: int = 1  #: its share beside the other lanes
    rate_s: float = 0.0  #: messages a second; 0: no limit


@dataclass(slots=True, eq=False)
class _Lane:
    name: str
    weight: int
    free: int
    turns: Turns | None
    credit: int = 0  #: of the weighted choice
    opens_at_s: float = -inf

    def is_free(self, now_s: float) -> bool:
        return self.free > 0 and now_s >= self.opens_at_s and (self.turns is None or self.turns.is_due(now_s))

    @property
    def next_s(self) -> float:
        return self.opens_at_s if self.turns is None else max(self.opens_at_s, self.turns.due_s)


@dataclass(slots=True, eq=False)
class _Queue:
    """One limited domain, or all that are not."""

    domain: str = ""
    most: float = inf  #: under way at once
    turns: Turns | None = None
    waiting: deque[Candidate] = field(default_factory=deque)
    under_way: int = 0
    is_listed: bool = False  #: among those that are ready or asleep


class Dispatcher:
    """Chooses whom to send to next and over which lane, within every limit.

    Candidates of one domain leave in the order in which they came; domains that may go take turns. A lane is
    chosen by weight among those that are open and have a free slot and a turn: where slots are scarce, the
    quicker one gets more. Instants (``now_s``) are those of one monotonic clock.
    """

    def __init__(
        self, lanes: Sequence[Lane], *, domains: DomainLimits, most_waiting_per_domain: int = 1000
    ) -> None:
        self._lanes = {
            lane.name: _Lane(lane.name, lane.weight, lane.slots, Turns(lane.rate_s) if lane.rate_s else None)
            for lane in lanes
        }
        self._limits, self._has_limits = domains, domains.are_set
        self._most_waiting = most_waiting_per_domain
        self._unlimited = _Queue()
        self._queues: dict[str, _Queue] = {}  #: of limited domains
        self._ready: deque[_Queue] = (
            deque()
        )  #: with somebody waiting and a free slot; a turn is looked for later
        self._asleep: list[
            tuple[float, int, _Queue]
        ] = []  #: the same, waiting for a turn; a heap by its time
        self._unused: list[tuple[float, int, _Queue]] = []  #: to be forgotten when it changes no turn; a heap
        self._order = count()  #: so that a heap compares no queues
        self._held: dict[int, tuple[_Lane, _Queue]] = {}
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """How many candidates have not been picked."""
        return self._waiting

    def offer(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        """Takes candidates in, and returns those whose domain has too many waiting: offer them again later.

        Domains without a limit share one queue, which refuses nobody.
        """
        refused = []
        for candidate in candidates:
            queue = self._queue_of(candidate.domain) if self._has_limits else self._unlimited
            if queue is not self._unlimited and len(queue.waiting) >= self._most_waiting:
                refused.append(candidate)
                continue
            queue.waiting.append(candidate)
            self._waiting += 1
            if not queue.is_listed:
                self._list(queue)
        return refused

    def pick(self, limit: int, now_s: float) -> list[tuple[Candidate, str]]:
        """At most ``limit`` candidates that may be sent to now, each with the name of its lane.

        They hold a slot of the lane and of the domain until they are released; turns are used up.
        """
        self._wake(now_s)
        if len(self._lanes) == 1 and len(self._ready) == 1 and self._ready[0] is self._unlimited:
            (lane,) = self._lanes.values()
            if lane.turns is None:
                return self._pick_unlimited(lane, limit, now_s)
        picked: list[tuple[Candidate, str]] = []
        while len(picked) < limit and (queue := self._first_due(now_s)) is not None:
            chosen = self._choose_lane(now_s)
            if chosen is None:
                break
            picked.append((self._take(queue, chosen, now_s), chosen.name))
        return picked

    def next_turn_s(self, now_s: float) -> float | None:
        """When ``pick`` is worth calling, ``now_s`` or later; None if no time will help, but only a release,
        an opened lane, or another offer.
        """
        self._wake(now_s)
        lane_s = min((lane.next_s for lane in self._lanes.values() if lane.free > 0), default=inf)
        queue_s = now_s
        if self._first_due(now_s) is None:
            queue_s = self._asleep[0][0] if self._asleep else inf
        turn_s = max(now_s, lane_s, queue_s)
        return turn_s if turn_s < inf else None

    def release(self, key: int) -> None:
        """Frees the slots of one who was picked: the outcome is known, or nothing was sent after all.

        A key that holds nothing changes nothing.
        """
        held = self._held.pop(key, None)
        if held is None:
            return
        lane, queue = held
        lane.free += 1
        queue.under_way -= 1
        if queue is self._unlimited:
            return
        if queue.waiting and not queue.is_listed:
            self._list(queue)
        else:
            self._forget_if_unused(queue)

    def close_lane(self, name: str, until_s: float) -> None:
        """Gives a lane nothing more until then; ``math.inf`` is until it is opened."""
        self._lanes[name].opens_at_s = until_s

    def open_lane(self, name: str) -> None:
        """Gives a lane its share again."""
        self._lanes[name].opens_at_s = -inf

    def drop_waiting(self) -> None:
        """Forgets everybody who was not picked."""
        self._ready.clear()
        self._asleep.clear()
        self._waiting = 0
        for queue in (self._unlimited, *self._queues.values()):
            queue.waiting.clear()
            queue.is_listed = False
        for queue in list(self._queues.values()):
            self._forget_if_unused(queue)

    def _queue_of(self, domain: str) -> _Queue:
        queue = self._queues.get(domain)
        if queue is None:
            limit = self._limits.get(domain)
            if not limit.is_set:
                return self._unlimited
            turns = Turns(limit.rate_s) if limit.rate_s else None
            queue = self._queues[domain] = _Queue(domain, limit.connections or inf, turns)
        return queue

    def _list(self, queue: _Queue) -> None:
        if queue.under_way < queue.most:
            queue.is_listed = True
            self._ready.append(queue)

    def _wake(self, now_s: float) -> None:
        while self._asleep and self._asleep[0][0] <= now_s:
            self._ready.append(heappop(self._asleep)[2])
        while self._unused and self._unused[0][0] <= now_s:
            self._forget_if_unused(heappop(self._unused)[2], now_s)

    def _forget_if_unused(self, queue: _Queue, now_s: float = -inf) -> None:
        if queue.waiting or queue.under_way or self._queues.get(queue.domain) is not queue:
            return
        if queue.turns is None or queue.turns.full_at_s <= now_s:
            del self._queues[queue.domain]
        else:
            heappush(self._unused, (queue.turns.full_at_s, next(self._order), queue))

    def _first_due(self, now_s: float) -> _Queue | None:
        while self._ready:
            queue = self._ready[0]
            if queue.turns is None or queue.turns.is_due(now_s):
                return queue
            heappush(self._asleep, (queue.turns.due_s, next(self._order), self._ready.popleft()))
        return None

    def _choose_lane(self, now_s: float) -> _Lane | None:
        # Smooth weighted round robin: each lane earns its weight, and the richest pays for all of them.
        best, total = None, 0
        for lane in self._lanes.values():
            if lane.is_free(now_s):
                total += lane.weight
                lane.credit += lane.weight
                if best is None or lane.credit > best.credit:
                    best = lane
        if best is not None:
            best.credit -= total
        return best

    def _take(self, queue: _Queue, lane: _Lane, now_s: float) -> Candidate:
        self._ready.popleft()
        candidate = queue.waiting.popleft()
        self._waiting -= 1
        self._held[candidate.key] = (lane, queue)
        lane.free -= 1
        queue.under_way += 1
        for turns in (lane.turns, queue.turns):
            if turns is not None:
                turns.take(now_s)
        queue.is_listed = False
        if queue.waiting:
            self._list(queue)
        return candidate

    def _pick_unlimited(self, lane: _Lane, limit: int, now_s: float) -> list[tuple[Candidate, str]]:
        """The same where there is nothing to choose: a tenth of the cost."""
        waiting, name = self._unlimited.waiting, lane.name
        room = min(limit, lane.free, len(waiting)) if lane.is_free(now_s) else 0
        picked = [(waiting.popleft(), name) for _ in range(room)]
        held = (lane, self._unlimited)
        for candidate, _ in picked:
            self._held[candidate.key] = held
        self._waiting -= room
        lane.free -= room
        self._unlimited.under_way += room
        if not waiting:
            self._ready.clear()
            self._unlimited.is_listed = False
        return picked
