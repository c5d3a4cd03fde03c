from __future__ import annotations

from collections import Counter, defaultdict, deque
from math import inf
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from syndicate.deliver.limits import DomainLimit, DomainLimits
from syndicate.deliver.routing import Candidate, Dispatcher, Lane

NO_LIMITS = DomainLimits()
ONE = (Lane(name="one", slots=4),)


def people(domain: str, *keys: int) -> list[Candidate]:
    return [Candidate(key, domain) for key in keys]


def keys(picked: list[tuple[Candidate, str]]) -> list[int]:
    return [candidate.key for candidate, _ in picked]


def limited(domain: str, **limit: float) -> DomainLimits:
    return DomainLimits(named={domain: DomainLimit(**limit)})  # type: ignore[arg-type]  # ints are floats


def test_without_limits_everybody_leaves_in_order_as_slots_become_free() -> None:
    dispatcher = Dispatcher(ONE, domains=NO_LIMITS)
    assert dispatcher.offer(people("a.example", 1, 2, 3) + people("b.example", 4, 5, 6)) == []

    assert keys(dispatcher.pick(3, 0.0)) == [1, 2, 3]
    assert keys(dispatcher.pick(3, 0.0)) == [4]
    assert dispatcher.next_turn_s(0.0) is None, "only a release helps"
    dispatcher.release(2)
    assert dispatcher.next_turn_s(7.0) == 7.0
    assert dispatcher.pick(3, 7.0) == [(Candidate(5, "b.example"), "one")]
    assert dispatcher.waiting == 1


def test_a_domain_at_its_limit_holds_up_no_other_one() -> None:
    dispatcher = Dispatcher(ONE, domains=limited("slow.example", connections=1))
    dispatcher.offer(people("slow.example", 1, 2, 3) + people("b.example", 4, 5))

    assert keys(dispatcher.pick(4, 0.0)) == [1, 4, 5]
    assert dispatcher.pick(4, 0.0) == []
    dispatcher.release(4)
    assert dispatcher.next_turn_s(0.0) is None
    dispatcher.release(1)
    assert keys(dispatcher.pick(4, 0.0)) == [2]


def test_domains_that_may_go_take_turns() -> None:
    dispatcher = Dispatcher(
        (Lane(name="one", slots=9),), domains=DomainLimits(others=DomainLimit(connections=9))
    )
    dispatcher.offer(people("a.example", 1, 2, 3, 4) + people("b.example", 5, 6) + people("c.example", 7))

    assert keys(dispatcher.pick(9, 0.0)) == [1, 5, 7, 2, 6, 3, 4]


def test_a_domain_with_a_rate_gets_one_message_after_the_other_and_says_when() -> None:
    dispatcher = Dispatcher(ONE, domains=limited("slow.example", rate_s=2.0))
    dispatcher.offer(people("slow.example", 1, 2, 3) + people("b.example", 4))

    assert keys(dispatcher.pick(4, 10.0)) == [1, 4]
    assert dispatcher.next_turn_s(10.0) == 10.5
    assert dispatcher.pick(4, 10.4) == []
    assert keys(dispatcher.pick(4, 10.5)) == [2]
    assert keys(dispatcher.pick(4, 99.0)) == [3], "unused turns do not add up"


def test_a_fast_rate_is_used_in_groups_of_a_tenth_of_a_second() -> None:
    dispatcher = Dispatcher((Lane(name="one", slots=100, rate_s=100.0),), domains=NO_LIMITS)
    dispatcher.offer(people("a.example", *range(60)))

    assert len(dispatcher.pick(100, 0.0)) == 10
    next_s = dispatcher.next_turn_s(0.0)
    assert next_s is not None
    assert 0.0 < next_s < 0.1
    assert 4 <= len(dispatcher.pick(100, next_s)) <= 6


def test_a_limit_of_all_other_domains_does_not_touch_a_named_one() -> None:
    domains = DomainLimits(named={"big.example": DomainLimit()}, others=DomainLimit(connections=1))
    dispatcher = Dispatcher(ONE, domains=domains)
    dispatcher.offer(people("big.example", 1, 2) + people("a.example", 3, 4))

    assert sorted(keys(dispatcher.pick(9, 0.0))) == [1, 2, 3]


def test_those_for_whom_their_domain_has_no_room_are_given_back() -> None:
    dispatcher = Dispatcher(ONE, domains=limited("slow.example", connections=1), most_waiting_per_domain=2)
    crowd = people("slow.example", 1, 2, 3, 4)

    assert dispatcher.offer(crowd + people("b.example", 5, 6, 7)) == crowd[2:]
    assert dispatcher.waiting == 5
    dispatcher.pick(1, 0.0)
    assert dispatcher.offer(crowd[2:]) == crowd[3:]


def test_a_closed_lane_gets_nothing_until_its_time_and_the_other_gets_all() -> None:
    lanes = (Lane(name="one", slots=9), Lane(name="two", slots=2))
    dispatcher = Dispatcher(lanes, domains=NO_LIMITS)
    dispatcher.close_lane("one", 60.0)
    dispatcher.offer(people("a.example", 1, 2, 3, 4))

    assert [name for _, name in dispatcher.pick(9, 0.0)] == ["two", "two"]
    assert dispatcher.next_turn_s(0.0) == 60.0
    assert [name for _, name in dispatcher.pick(1, 60.0)] == ["one"]
    dispatcher.close_lane("one", inf)
    assert dispatcher.next_turn_s(60.0) is None
    dispatcher.open_lane("one")
    assert [name for _, name in dispatcher.pick(9, 60.0)] == ["one"]


def test_who_was_not_picked_is_forgotten_on_demand_and_slots_stay_as_they_are() -> None:
    dispatcher = Dispatcher(ONE, domains=limited("slow.example", connections=1, rate_s=1.0))
    dispatcher.offer(people("slow.example", 1, 2) + people("b.example", 3, 4, 5, 6, 7, 8))
    assert keys(dispatcher.pick(3, 0.0)) == [1, 3, 4]

    dispatcher.drop_waiting()

    assert dispatcher.waiting == 0
    assert dispatcher.pick(9, 9.0) == []
    assert dispatcher.next_turn_s(9.0) is None
    assert dispatcher.offer(people("slow.example", 9) + people("b.example", 10)) == []
    assert keys(dispatcher.pick(9, 9.0)) == [10], "one slot of the lane is left, none of the slow domain"
    dispatcher.release(1)
    assert keys(dispatcher.pick(9, 9.0)) == [9]


def test_a_key_that_holds_nothing_frees_nothing() -> None:
    dispatcher = Dispatcher((Lane(name="one", slots=1),), domains=NO_LIMITS)
    dispatcher.offer(people("a.example", 1, 2, 3))
    dispatcher.pick(1, 0.0)
    dispatcher.release(99)
    assert dispatcher.pick(1, 0.0) == []
    dispatcher.release(1)
    dispatcher.release(1)
    assert len(dispatcher.pick(9, 0.0)) == 1


def test_a_domain_that_has_been_served_is_remembered_no_longer_than_its_rate_asks_for() -> None:
    dispatcher = Dispatcher(ONE, domains=DomainLimits(others=DomainLimit(connections=2, rate_s=1.0)))
    for number in range(100):
        dispatcher.offer(people(f"{number}.example", number))
        dispatcher.pick(1, float(number))
        dispatcher.release(number)

    assert len(dispatcher._queues) <= 2  # the seam hides memory, and this is about memory


@given(weights=st.lists(st.integers(1, 9), min_size=1, max_size=4), rounds=st.integers(1, 6))
def test_the_weights_hold_whenever_all_lanes_have_room(weights: list[int], rounds: int) -> None:
    lanes = [Lane(name=str(n), slots=1000, weight=weight) for n, weight in enumerate(weights)]
    dispatcher = Dispatcher(lanes, domains=NO_LIMITS)
    many = rounds * sum(weights)
    dispatcher.offer(people("a.example", *range(many)))

    shares = Counter(name for _, name in dispatcher.pick(many, 0.0))

    assert shares == {str(n): rounds * weight for n, weight in enumerate(weights)}


@given(weights=st.lists(st.integers(1, 9), min_size=2, max_size=4), closed=st.integers(1, 50))
def test_a_lane_that_was_closed_does_not_make_up_for_it(weights: list[int], closed: int) -> None:
    lanes = [Lane(name=str(n), slots=1000, weight=weight) for n, weight in enumerate(weights)]
    dispatcher = Dispatcher(lanes, domains=NO_LIMITS)
    dispatcher.offer(people("a.example", *range(1000)))
    dispatcher.close_lane("0", inf)
    dispatcher.pick(closed, 0.0)
    dispatcher.open_lane("0")

    shares = Counter(name for _, name in dispatcher.pick(2 * sum(weights), 0.0))

    assert shares["0"] <= 2 * weights[0] + 1


class Dispatching(RuleBasedStateMachine):
    """Against a model of plain counters: no limit is exceeded, nobody is lost, overtaken or passed over."""

    LANES = (
        Lane(name="one", slots=3, weight=2),
        Lane(name="two", slots=2),
        Lane(name="rated", slots=5, rate_s=20.0),
    )
    NAMED: ClassVar = {
        "few": DomainLimit(connections=1),
        "slow": DomainLimit(rate_s=1.0),
        "both": DomainLimit(connections=2, rate_s=30.0),
        "free": DomainLimit(),
    }
    OTHERS = DomainLimit(connections=3)
    DOMAINS = (*NAMED, "x", "y")
    MOST_WAITING = 6

    def __init__(self) -> None:
        super().__init__()
        limits = DomainLimits(named=self.NAMED, others=self.OTHERS)
        self.dispatcher = Dispatcher(self.LANES, domains=limits, most_waiting_per_domain=self.MOST_WAITING)
        self.now_s = 0.0
        self.keys = 0
        self.waiting: dict[str, deque[int]] = defaultdict(deque)
        self.under_way: dict[int, tuple[str, str]] = {}
        self.gone_s: dict[str, list[float]] = defaultdict(list)
        self.closed_s: dict[str, float] = {}

    @rule(domain=st.sampled_from(DOMAINS), many=st.integers(1, 8))
    def offer(self, domain: str, many: int) -> None:
        offered = people(domain, *range(self.keys, self.keys + many))
        self.keys += many
        refused = self.dispatcher.offer(offered)
        assert refused == offered[many - len(refused) :]
        if domain == "free":
            assert not refused
        elif refused:
            assert len(self.waiting[domain]) + many - len(refused) == self.MOST_WAITING
        self.waiting[domain].extend(c.key for c in offered[: many - len(refused)])

    @rule(limit=st.integers(0, 12))
    def pick(self, limit: int) -> None:
        picked = self.dispatcher.pick(limit, self.now_s)
        assert len(picked) <= limit
        for candidate, lane in picked:
            assert self.waiting[candidate.domain].popleft() == candidate.key
            assert self.closed_s.get(lane, -inf) <= self.now_s
            self.under_way[candidate.key] = (candidate.domain, lane)
            self.gone_s[candidate.domain].append(self.now_s)
            self.gone_s[lane].append(self.now_s)
        if len(picked) < limit:
            self.nothing_more_goes()

    def nothing_more_goes(self) -> None:
        assert self.dispatcher.pick(1, self.now_s) == []
        turn_s = self.dispatcher.next_turn_s(self.now_s)
        if turn_s is None:
            return
        assert turn_s > self.now_s
        later = self.dispatcher.pick(1, turn_s)
        assert len(later) == 1, "at the time that it names, somebody goes"
        ((candidate, lane),) = later
        self.now_s = turn_s
        assert self.waiting[candidate.domain].popleft() == candidate.key
        self.under_way[candidate.key] = (candidate.domain, lane)
        self.gone_s[candidate.domain].append(turn_s)
        self.gone_s[lane].append(turn_s)

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        if self.under_way:
            key = data.draw(st.sampled_from(sorted(self.under_way)))
            del self.under_way[key]
            self.dispatcher.release(key)

    @rule(seconds=st.floats(0.001, 3.0))
    def let_time_pass(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(lane=st.sampled_from(LANES), seconds=st.floats(0.1, 5.0))
    def close(self, lane: Lane, seconds: float) -> None:
        self.closed_s[lane.name] = self.now_s + seconds
        self.dispatcher.close_lane(lane.name, self.now_s + seconds)

    @rule(lane=st.sampled_from(LANES))
    def open(self, lane: Lane) -> None:
        self.closed_s.pop(lane.name, None)
        self.dispatcher.open_lane(lane.name)

    @rule()
    def drop(self) -> None:
        self.waiting.clear()
        self.dispatcher.drop_waiting()

    @invariant()
    def nobody_is_lost(self) -> None:
        assert self.dispatcher.waiting == sum(map(len, self.waiting.values()))

    @invariant()
    def no_slot_is_given_twice(self) -> None:
        domains = Counter(domain for domain, _ in self.under_way.values())
        lanes = Counter(lane for _, lane in self.under_way.values())
        assert all(lanes[lane.name] <= lane.slots for lane in self.LANES)
        for domain in self.DOMAINS:
            assert domains[domain] <= (self.NAMED.get(domain, self.OTHERS).connections or inf)

    @invariant()
    def no_rate_is_exceeded(self) -> None:
        rates = {"rated": 20.0, "slow": 1.0, "both": 30.0}
        for name, rate_s in rates.items():
            times_s, group = self.gone_s[name][-40:], max(1, int(rate_s * 0.1))
            for first, begin_s in enumerate(times_s):
                for last in range(first, len(times_s)):
                    span_s = times_s[last] - begin_s
                    assert last - first + 1 <= span_s * rate_s + group + 1e-6, name

    def teardown(self) -> None:
        """Everybody who waits gets a turn in the end."""
        for lane in self.LANES:
            self.dispatcher.open_lane(lane.name)
        for _ in range(10_000):
            if not self.dispatcher.waiting:
                return
            for key in self.under_way:
                self.dispatcher.release(key)
            self.under_way.clear()
            turn_s = self.dispatcher.next_turn_s(self.now_s)
            assert turn_s is not None, "somebody waits for ever"
            self.now_s = turn_s
            for candidate, name in self.dispatcher.pick(4, self.now_s):
                self.under_way[candidate.key] = (candidate.domain, name)
        pytest.fail("nobody gets on")


TestDispatching = Dispatching.TestCase
TestDispatching.settings = settings(max_examples=40, stateful_step_count=40)
