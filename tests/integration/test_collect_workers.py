import asyncio
import math
import os
import pickle
import re
import select
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from syndicate.collect.parse import parse_document
from syndicate.collect.workers import ParserPool
from syndicate.errors import ParseError
from tests.malformed_feeds import BOMBS

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
FEED = (Path(__file__).parent.parent / "golden" / "collect" / "rss.xml").read_bytes()
URL = "https://salt.example/feed.xml"

# Each takes its process down in another way, or would keep it for ever.
HOSTILE = {
    "timeout": (re.fullmatch, "(a+)+b", "a" * 60),
    "xml_limit": (bytes, 4 << 30),
    "crashed": (os._exit, 3),
}


async def reason_of(pool, function, *args):
    with pytest.raises(ParseError) as caught:
        await pool.run(function, *args)
    assert "\n" not in str(caught.value)
    return caught.value.reason


def in_pool(use, *, processes=2, **options):
    async def opened():
        async with ParserPool(processes, **options) as pool:
            return await use(pool)

    return asyncio.run(opened())


def test_a_document_is_parsed_elsewhere_as_it_would_be_here():
    async def use(pool):
        return await pool.parse(FEED, url=URL, content_type="", now=NOW), await pool.run(os.getpid)

    source, process = in_pool(use)
    assert source == parse_document(FEED, url=URL, content_type="", now=NOW)
    assert process != os.getpid()


def test_what_is_no_feed_raises_here_what_it_raised_there():
    async def use(pool):
        with pytest.raises(ParseError) as caught:
            await pool.parse(b"hello", url=URL, content_type="", now=NOW)
        return caught.value

    error = in_pool(use)
    assert (error.location, error.reason) == (URL, "not_a_feed")
    assert "begins with" in error.detail


def test_hostile_jobs_meet_their_limits_and_the_good_ones_beside_them_arrive():
    async def use(pool):
        parse = [pool.parse(FEED, url=URL, content_type="", now=NOW) for _ in range(50)]
        hostile = [reason_of(pool, *job) for job in HOSTILE.values()]
        mixed = [*parse[:5], *hostile[:2], *parse[5:20], *hostile[2:], *parse[20:]]
        return await asyncio.gather(*mixed)

    results = in_pool(use, limit_s=3.0)
    assert [r for r in results if isinstance(r, str)] == list(HOSTILE)
    assert sum(len(r.articles) == 6 for r in results if not isinstance(r, str)) == 50


@pytest.mark.parametrize("reason", HOSTILE)
def test_a_process_that_is_lost_is_replaced(reason):
    async def use(pool):
        assert await reason_of(pool, *HOSTILE[reason]) == reason
        return await pool.run(math.sqrt, 9)

    assert in_pool(use, limit_s=3.0) == 3


def test_a_fault_of_ours_is_one_documents_error_and_keeps_the_process():
    async def use(pool):
        before = await pool.run(os.getpid)
        reasons = [await reason_of(pool, math.sqrt, -1), await reason_of(pool, pickle.Pickler, None)]
        return before, reasons, await pool.run(os.getpid)

    before, reasons, after = in_pool(use)
    assert reasons == ["crashed", "crashed"]
    assert before == after


def test_an_answer_that_is_larger_than_the_service_may_take_is_left_where_it_is():
    async def use(pool):
        return await reason_of(pool, bytes, 100 << 20)

    assert in_pool(use) == "xml_limit"


def test_a_job_that_is_given_up_takes_its_process_along():
    async def use(pool):
        process = await pool.run(os.getpid)
        job = asyncio.create_task(pool.run(time.sleep, 1_000))
        for _ in range(3):
            await asyncio.sleep(0)  # until it is handed over
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        return process, await pool.run(os.getpid)

    before, after = in_pool(use)
    assert before != after


def test_nothing_is_started_before_there_is_something_to_do_and_nothing_stays():
    async def use(pool):
        none = children()
        process = await pool.run(os.getpid)
        return none, process

    before = children()
    none, process = in_pool(use)
    assert none == before
    assert process not in children()


def children():
    return {int(n) for n in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()}


PARENT = f"""
import asyncio, os, sys
sys.path[:] = {sys.path!r}
from syndicate.collect.workers import ParserPool
async def main():
    async with ParserPool(1) as pool:
        print(await pool.run(os.getpid), flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


def test_processes_end_by_themselves_when_their_parent_is_killed():
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        worker = os.pidfd_open(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    try:
        assert select.select([worker], [], [], 30)[0], "the worker goes on without its parent"
    finally:
        os.close(worker)


def test_where_no_process_starts_the_document_says_so(monkeypatch):
    async def use(pool):
        return await reason_of(pool, os.getpid)

    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert in_pool(use) == "crashed"
    monkeypatch.setattr(sys, "executable", "/bin/true")
    assert in_pool(use) == "crashed"


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_bombs_take_two_seconds_at_most_and_no_memory_of_the_service():
    async def use(pool):
        spent_s = {}
        for name, bomb in BOMBS.items():
            body = bomb if isinstance(bomb, bytes) else bomb.encode()
            before_s = await pool.run(time.process_time)
            with pytest.raises(ParseError) as caught:
                await pool.parse(body, url=URL, content_type="", now=NOW)
            assert caught.value.reason == "xml_limit"
            spent_s[name] = await pool.run(time.process_time) - before_s
        return spent_s

    before = resident_bytes()
    spent_s = in_pool(use, processes=1)
    assert {name: s for name, s in spent_s.items() if s > 2} == {}
    assert resident_bytes() - before <= 64 << 20
