"""Two senders of one edition in two processes: each shard has one of them, and its fence stops the other."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from syndicate.model import DeliveryState, EditionState
from syndicate.service.installation import utc_now
from syndicate.service.sending import send_edition
from syndicate.storage import deliveries, editions, shards, tables
from syndicate.storage.engine import reading, writing
from tests.builders import add_newsletter, add_reader, add_source
from tests.installation_builders import make_installation, open_now, publish, relay_in_thread
from tests.smtp_server import HANG, ScriptedServer

READERS = 40
WINDOW = 4
ROOT = Path(__file__).parents[2]


class Rendezvous(ScriptedServer):
    """Takes no message before two connections have one each."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting = 0
        self._both = asyncio.Event()

    async def _take(self, wire: Any, recipient: str) -> None:
        self._waiting += 1
        if self._waiting > 1:
            self._both.set()
        await self._both.wait()
        await super()._take(wire, recipient)


def start(
    engine: Engine, relay: ScriptedServer, edition_id: int, *, connections: int = WINDOW
) -> subprocess.Popen[str]:
    url = engine.url.render_as_string(hide_password=False)
    command = [
        sys.executable,
        "-m",
        "tests.faults.sender",
        url,
        str(relay.port),
        str(edition_id),
        str(connections),
    ]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    while (line := process.stdout.readline()) != "ready\n":
        assert line, process.communicate()[1]
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def end(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return [line for line in out.splitlines() if not re.match(r"\d{4}-", line)][-1]


def copies(relay: ScriptedServer) -> Counter[str]:
    return Counter(mail.recipient for mail in relay.accepted)


def prepare(engine: Engine, folder: Path, relay: ScriptedServer) -> int:
    inst = make_installation(engine, folder, port=relay.port, clock=utc_now)
    with writing(engine) as conn:
        source = add_source(conn, utc_now())
        newsletter = add_newsletter(conn, utc_now(), draws_from=[source.id])
        for n in range(READERS):
            add_reader(conn, newsletter.id, utc_now(), f"r{n}")
    publish(inst, source.id)
    return open_now(inst, newsletter).id


def test_of_two_senders_at_once_every_reader_gets_one_mail(engine: Engine, tmp_path: Path) -> None:
    with relay_in_thread() as relay:
        edition_id = prepare(engine, tmp_path, relay)
        both = [start(engine, relay, edition_id) for _ in range(2)]
        for process in both:
            go(process)
        said = [end(process) for process in both]

    assert copies(relay) == {f"r{n}@example.com": 1 for n in range(READERS)}
    # The second one was refused, or came when all was done.
    sent = [int(line) for line in said if line.isdecimal()]
    refused = [line for line in said if line.startswith("taken: ")]
    assert sum(sent) == READERS
    assert len(sent) + len(refused) == 2
    with reading(engine) as conn:
        assert deliveries.count_states(conn, edition_id)[DeliveryState.SENT] == READERS


def test_two_senders_at_once_share_an_edition_of_several_shards(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_SIZE", 4)
    with relay_in_thread(server=Rendezvous()) as relay:
        edition_id = prepare(engine, tmp_path, relay)
        # With one connection each, the relay has a message of both before it takes the first.
        both = [start(engine, relay, edition_id, connections=1) for _ in range(2)]
        for process in both:
            go(process)
        sent = [int(end(process)) for process in both]

    assert copies(relay) == {f"r{n}@example.com": 1 for n in range(READERS)}
    assert sum(sent) == READERS
    assert min(sent) >= 1
    with reading(engine) as conn:
        assert editions.get_edition(conn, edition_id).state is EditionState.SENT
        assert list(conn.execute(select(tables.shard.c.fence)).scalars()) == [1] * (READERS // 4)


def test_a_sender_that_was_stopped_past_its_lease_writes_nothing_when_it_wakes_up(
    engine: Engine, tmp_path: Path
) -> None:
    # It is stopped while it waits for an answer that never comes.
    script = {f"r{n}@example.com": {"dot": [HANG]} for n in range(READERS)}
    with relay_in_thread() as relay:
        with relay_in_thread(recipients=script) as first_relay:
            edition_id = prepare(engine, tmp_path, first_relay)
            process = start(engine, first_relay, edition_id)
            go(process)
            wait_until(first_relay.hanging.is_set)
            os.kill(process.pid, signal.SIGSTOP)
            inst = make_installation(engine, tmp_path, port=relay.port, clock=utc_now, connections=WINDOW)
            wait_until(lambda: is_free(engine, edition_id))

            report = send_edition(inst, edition_id)

        # Now its connections are gone, so that it has outcomes to record.
        rows = list_rows(engine, edition_id)
        os.kill(process.pid, signal.SIGCONT)
        said = end(process)

    assert said == f"taken: edition {edition_id}: another process has taken it over; this one stops"
    assert list_rows(engine, edition_id) == rows
    assert (report.edition.state, report.sent) == ("sent", READERS)
    with reading(engine) as conn:
        assert conn.execute(select(tables.shard.c.fence)).scalar_one() == 2
    assert copies(relay) == {f"r{n}@example.com": 1 for n in range(READERS)}
    assert set(first_relay.raw_contents) < set(relay.raw_contents)  # the same bytes


def is_free(engine: Engine, edition_id: int) -> bool:
    with reading(engine) as conn:
        return not shards.is_any_leased(conn, edition_id, now=utc_now())


def list_rows(engine: Engine, edition_id: int) -> list[object]:
    with reading(engine) as conn:
        return list(deliveries.list_deliveries(conn, edition_id))


def wait_until(condition: object) -> None:
    assert callable(condition)
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within 30 seconds")
