"""A day of many sources by the rules of ``collect.rhythm`` and of the host gate, on a clock of its own.

What is asked how often does not depend on how quickly it is answered, so nothing is fetched here:
``python scripts/bench_day.py [SOURCES]`` prints what the plan says, what was asked, and how closely together.
"""

from __future__ import annotations

import heapq
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from syndicate.collect.rhythm import Check, decide_interval_s, decide_next_check, decide_state
from syndicate.model import SourceState

DAY_S = 86_400.0
START = datetime(2026, 11, 24, tzinfo=UTC)
#: Of a hundred sources, so many are at the five hosts where everybody is; the others have one for themselves.
SHARED = 5
SHARED_HOSTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedSource:
    """A source as it behaves all day."""

    host: str
    check: Check
    first_s: float  #: when it is due first
    gone_s: float  #: when it begins to answer 410; the day's end for most


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """What became of the day."""

    planned: float  #: requests, if each source were asked exactly by its interval
    made: int
    smallest_gap_s: float  #: between two starts at one host
    most_per_host: int  #: of all hosts the one that was asked most
    gone: int  #: sources that said 410
    after_gone: int  #: requests to sources that had said 410
    longest_wait_s: float  #: of a source that was due, for its host


def list_sources(number: int, dice: random.Random) -> list[SimulatedSource]:
    """So many sources: from busy to silent, some with wishes of their own, one in a hundred ends today."""
    sources = []
    for n in range(number):
        check = Check(
            interval_s=decide_interval_s(
                new_articles=int(dice.lognormvariate(2.5, 1.5)), watched_s=30 * DAY_S
            ),
            fresh_s=dice.choice([None, None, 0.0, 300.0, 3600.0]),
            min_interval_s=dice.choice([None, None, None, 3600.0, 43_200.0]),
        )
        is_shared = n % 100 < SHARED
        sources.append(
            SimulatedSource(
                host=f"{n % SHARED_HOSTS}.shared.example" if is_shared else f"{n}.example",
                check=check,
                first_s=dice.uniform(0, _planned_s(check)),
                gone_s=dice.uniform(0, DAY_S) if n % 100 == 99 else DAY_S,
            )
        )
    return sources


def simulate_day(sources: list[SimulatedSource], dice: random.Random, *, gap_s: float = 1.0) -> Day:
    """Asks each source whenever it is due and its host is free, from midnight to midnight."""
    due = [(source.first_s, n) for n, source in enumerate(sources)]
    heapq.heapify(due)
    hosts = _Hosts(gap_s)
    gone: set[int] = set()
    after_gone = 0
    while due and due[0][0] < DAY_S:
        due_s, n = heapq.heappop(due)
        source = sources[n]
        start_s = hosts.visit(source.host, due_s)
        after_gone += n in gone
        now = START + timedelta(seconds=start_s)
        state = decide_state(
            SourceState.ACTIVE,
            reason="gone" if start_s >= source.gone_s else "",
            failing_since=None,
            now=now,
        )
        if state is SourceState.GONE:
            gone.add(n)
            continue
        next_at = decide_next_check(source.check, now=now, jitter=dice.random())
        heapq.heappush(due, ((next_at - START).total_seconds(), n))
    return Day(
        planned=sum(min(source.gone_s, DAY_S) / _planned_s(source.check) for source in sources),
        made=hosts.visits.total(),
        smallest_gap_s=hosts.smallest_gap_s,
        most_per_host=max(hosts.visits.values()),
        gone=len(gone),
        after_gone=after_gone,
        longest_wait_s=hosts.longest_wait_s,
    )


class _Hosts:
    """The host gate's rule, without tasks that wait: answers come at once."""

    def __init__(self, gap_s: float) -> None:
        self.visits: Counter[str] = Counter()
        self.smallest_gap_s, self.longest_wait_s = DAY_S, 0.0
        self._gap_s = gap_s
        self._visited_at: dict[str, float] = {}

    def visit(self, host: str, due_s: float) -> float:
        """When somebody who is due at a host gets there."""
        before_s = self._visited_at.get(host, -DAY_S)
        start_s = max(due_s, before_s + self._gap_s)
        self.smallest_gap_s = min(self.smallest_gap_s, start_s - before_s)
        self.longest_wait_s = max(self.longest_wait_s, start_s - due_s)
        self._visited_at[host] = start_s
        self.visits[host] += 1
        return start_s


def _planned_s(check: Check) -> float:
    return max(check.interval_s, check.fresh_s or 0.0, check.min_interval_s or 0.0)


def main() -> None:
    """Simulates a day and prints it."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    dice = random.Random(1)  # noqa: S311 - the same day each time
    sources = list_sources(number, dice)
    begun = time.process_time()
    day = simulate_day(sources, dice)
    spent = time.process_time() - begun
    print(f"sources                 {number:>12,}")
    print(f"requests planned        {day.planned:>12,.0f}")
    print(f"requests made           {day.made:>12,}   {day.made / day.planned:.1%} of the plan")
    print(f"requests a second       {day.made / DAY_S:>12.2f}   on average")
    print(f"smallest gap at a host  {day.smallest_gap_s:>12.2f} s")
    print(f"most at one host        {day.most_per_host:>12,}")
    print(f"longest wait for a host {day.longest_wait_s:>12.1f} s")
    print(f"asked after a 410       {day.after_gone:>12,}   of {day.gone:,} sources that said it")
    print(f"decisions               {day.made / spent:>12,.0f} a second of processor time")


if __name__ == "__main__":
    main()
