"""Several senders, and senders that are asked to stop."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import Engine

from syndicate.model import DeliveryState, EditionState
from syndicate.service.installation import utc_now
from syndicate.service.sending import send_edition
from syndicate.storage import deliveries
from syndicate.storage.engine import reading
from tests.faults.kill import WINDOW, SlowServer
from tests.faults.stops import ask_senders_to_stop
from tests.faults.two_senders import stop_senders
from tests.faults.world import address_of, prepare
from tests.installation_builders import SECRET, make_installation, relay_in_thread
from tests.smtp_server import ScriptedServer

ROOT = Path(__file__).parents[2]
READERS = 40
S = DeliveryState


def test_of_two_senders_one_that_was_stopped_past_its_lease_doubles_no_more_than_its_window(
    engine: Engine, tmp_path: Path
) -> None:
    seed = random.SystemRandom().randrange(10**6)

    figures = stop_senders(engine, tmp_path, stops=2, readers=120, seed=seed)

    sys.stdout.write(f"{figures}\n")  # shown where it fails, with the seed
    figures.check()
    assert figures.stops


def test_senders_that_are_asked_to_stop_leave_nothing_unclear_and_nothing_comes_twice(
    sqlite_engine: Engine, tmp_path: Path
) -> None:
    seed = random.SystemRandom().randrange(10**6)

    figures = ask_senders_to_stop(sqlite_engine, tmp_path, stops=3, readers=100, seed=seed)

    sys.stdout.write(f"{figures}\n")
    figures.check()
    assert figures.stops == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", [["send", "tide", "--yes"], ["serve", "--port", "0"]])
def test_a_process_that_is_asked_to_stop_finishes_its_window_and_the_next_one_the_rest(
    sqlite_engine: Engine, tmp_path: Path, command: list[str], number: signal.Signals
) -> None:
    edition = prepare(sqlite_engine, tmp_path, READERS)
    with relay_in_thread(server=SlowServer(slowness_s=0.1)) as relay:
        config = write_config(tmp_path, relay)
        process = start(config, command)
        while len(relay.accepted) < WINDOW:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)

        process.send_signal(number)
        out, err = process.communicate(timeout=30)

        assert process.returncode == (1 if command[0] == "send" else 0), err
        assert ("Stopped, with every answer on record" in err) == (command[0] == "send"), out + err
        assert "Traceback" not in err
        with reading(sqlite_engine) as conn:
            counts = deliveries.count_states(conn, edition.id)
        assert counts[S.SENT] == len(relay.accepted) < READERS
        assert counts[S.PENDING] == READERS - len(relay.accepted)

        inst = make_installation(sqlite_engine, tmp_path, port=relay.port, clock=utc_now)
        assert send_edition(inst, edition.id).edition.state is EditionState.SENT
    assert Counter(mail.recipient for mail in relay.accepted) == {address_of(n): 1 for n in range(READERS)}


def write_config(folder: Path, relay: ScriptedServer) -> Path:
    """The configuration of an installation whose database is ``syndicate.db`` in the same folder."""
    config = folder / "syndicate.toml"
    config.write_text(
        f'[site]\nurl = "https://news.example.org"\nsecret = "{SECRET}"\n'
        f'[smtp]\nhost = "127.0.0.1"\nport = {relay.port}\ntls = "none"\n'
        f"[delivery]\nconnections = {WINDOW}\n",
        "utf-8",
    )
    return config


def start(config: Path, command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "syndicate", "--config", str(config), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
