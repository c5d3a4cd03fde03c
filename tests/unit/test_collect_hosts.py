import asyncio
import tracemalloc

import pytest

from syndicate.collect.hosts import HostGate, HostHeld, host_of
from tests.virtual_time import run_in_no_time


def starts(hosts, *, lasts=0.0, gate=None, gap_s=0.0):
    """When each of these tasks, which come all at once, had its turn: (host, start, end)."""

    async def run():
        here = gate or HostGate()
        loop = asyncio.get_running_loop()
        turns = []

        async def visit(host):
            async with here.turn(host, gap_s=gap_s):
                start = loop.time()
                await asyncio.sleep(lasts)
                turns.append((host, start, loop.time()))

        await asyncio.gather(*(visit(host) for host in hosts))
        return turns

    return run_in_no_time(run())


def test_turns_at_one_host_start_a_second_apart_in_the_order_in_which_they_came():
    assert [start for _, start, _ in starts(["a"] * 4)] == [0, 1, 2, 3]


def test_one_visitor_at_a_time_is_at_a_host_however_long_it_takes():
    assert [(start, end) for _, start, end in starts(["a"] * 3, lasts=5)] == [(0, 5), (5, 10), (10, 15)]


def test_hosts_do_not_wait_for_one_another():
    turns = starts(["slow", "slow", "slow", "a", "b", "c"], lasts=9)
    assert {host: start for host, start, _ in turns if host != "slow"} == {"a": 0, "b": 0, "c": 0}


def test_more_visitors_at_once_still_start_apart():
    turns = starts(["a"] * 4, lasts=10, gate=HostGate(per_host=2))
    assert [start for _, start, _ in turns] == [0, 1, 10, 11]


def test_a_site_that_wants_a_longer_pause_gets_it_and_a_shorter_one_does_not_count():
    assert [start for _, start, _ in starts(["a"] * 3, gap_s=10)] == [0, 10, 20]
    assert [start for _, start, _ in starts(["a"] * 3, gap_s=0.1)] == [0, 1, 2]


def test_a_held_host_sends_away_those_who_come_and_those_who_wait():
    async def run():
        gate = HostGate()
        loop = asyncio.get_running_loop()

        async def come_later():
            async with gate.turn("a"):
                pass

        async with gate.turn("a"):
            waiting = [asyncio.create_task(come_later()) for _ in range(3)]
            await asyncio.sleep(0.5)
            gate.hold("a", 60)
            gate.hold("a", 30)  # shortens nothing
        for task in waiting:
            with pytest.raises(HostHeld) as sent_away:
                await task
            assert sent_away.value.wait_s == pytest.approx(60)
        with pytest.raises(HostHeld) as refused:
            await come_later()
        assert str(refused.value) == "a: asked us to wait 60 s more"
        assert refused.value.retry_after_s == refused.value.wait_s
        assert (gate.held_s("a"), gate.held_s("b")) == (pytest.approx(60), 0.0)
        async with gate.turn("b"):
            pass
        await asyncio.sleep(60)
        assert gate.held_s("a") == 0.0
        async with gate.turn("a"):
            return loop.time()

    assert run_in_no_time(run()) == pytest.approx(60.5)


def test_who_leaves_with_an_error_or_is_cancelled_blocks_nobody():
    async def run():
        gate = HostGate()

        async def visit(error):
            async with gate.turn("a"):
                if error:
                    raise error
                await asyncio.sleep(100)

        with pytest.raises(LookupError):
            await visit(LookupError())
        cancelled = [asyncio.create_task(visit(None)) for _ in range(3)]
        await asyncio.sleep(5)
        for task in cancelled:
            task.cancel()
        await asyncio.gather(*cancelled, return_exceptions=True)
        async with gate.turn("a"):
            return asyncio.get_running_loop().time()

    assert run_in_no_time(run()) == 5


def test_a_gate_outlives_the_event_loop_that_it_was_used_in():
    gate = HostGate()
    starts(["a"] * 3, gate=gate)
    assert [start for _, start, _ in starts(["a"] * 3, gate=gate)][1:] == [4, 5]


def test_hosts_that_nobody_visits_any_more_are_forgotten():
    async def run():
        gate = HostGate()

        async def visit(hosts):
            for host in hosts:
                async with gate.turn(host):
                    pass
            await asyncio.sleep(2)

        tracemalloc.start()
        used = []
        try:
            for number in range(6):
                await visit(f"{n}.in-round-{number}.example" for n in range(2_000))
                used.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
        return used

    used = run_in_no_time(run())
    assert used[-1] < 1.5 * used[1]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://Example.ORG:8080/feed", "example.org"),
        ("https://me:secret@example.org./", "example.org"),
        ("https://[::1]:8000/", "::1"),
        ("nothing", ""),
        ("http://[", ""),
    ],
)
def test_the_host_of_a_url_is_the_same_for_every_way_to_reach_it(url, host):
    assert host_of(url) == host
