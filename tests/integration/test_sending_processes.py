"""Two senders of one edition in two processes: the lease lets one through, the fence stops the other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from sqlalchemy import Engine

from syndicate.model import DeliveryState
from syndicate.service.installation import utc_now
from syndicate.service.sending import send_edition
from syndicate.storage import deliveries, editions
from syndicate.storage.engine import reading, writing
from tests.builders import add_newsletter, add_reader, add_source
from tests.installation_builders import make_installation, open_now, publish, relay_in_thread
from tests.smtp_server import HANG, ScriptedServer

READERS = 40
WINDOW = 4
ROOT = Path(__file__).parents[2]


def start(engine: Engine, relay: ScriptedServer, edition_id: int) -> subprocess.Popen[str]:
    url = engine.url.render_as_string(hide_password=False)
    command = [
        sys.executable,
        "-m",
        "tests.faults.sender",
        url,
        str(relay.port),
        str(edition_id),
        str(WINDOW),
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
    return [line for line in out.splitlines() if not line.startswith("20")][-1]


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


def test_a_sender_that_was_stopped_past_its_lease_writes_nothing_when_it_wakes_up(
    engine: Engine, tmp_path: Path
) -> None:
    # It is stopped with its first window at the relay: the answer to the fourth message never comes.
    script = {"r3@example.com": {"dot": [HANG]}}
    with relay_in_thread() as relay:
        with relay_in_thread(recipients=script) as first_relay:
            edition_id = prepare(engine, tmp_path, first_relay)
            process = start(engine, first_relay, edition_id)
            go(process)
            wait_until(lambda: first_relay.hanging.is_set() and len(first_relay.accepted) == WINDOW - 1)
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
    assert (report.edition.state, report.edition.fence, report.sent) == ("sent", 2, READERS)
    assert copies(relay) == {f"r{n}@example.com": 1 for n in range(READERS)}
    again = [mail.content for mail in first_relay.accepted]
    assert set(again) <= {mail.content for mail in relay.accepted}  # the same bytes


def is_free(engine: Engine, edition_id: int) -> bool:
    with reading(engine) as conn:
        return editions.is_lease_free(conn, edition_id, now=utc_now())


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
