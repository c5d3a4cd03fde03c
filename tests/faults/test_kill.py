"""A sender that is killed loses nobody; a sender that is asked to stop leaves nothing unclear."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from syndicate.model import DeliveryState
from syndicate.storage import deliveries
from syndicate.storage.engine import open_engine, reading
from tests.faults.kill import WINDOW, SlowServer, kill_senders, prepare
from tests.installation_builders import SECRET, relay_in_thread
from tests.smtp_server import ScriptedServer

ROOT = Path(__file__).parents[2]
READERS = 60
S = DeliveryState


def test_a_sender_that_is_killed_loses_nobody_and_doubles_no_more_than_its_window(
    database_url: str, tmp_path: Path
) -> None:
    seed = random.SystemRandom().randrange(10**6)

    figures = kill_senders(database_url, tmp_path, kills=6, readers=200, seed=seed)

    sys.stdout.write(f"{figures}\n")  # shown where it fails, with the seed
    figures.check()
    assert figures.kills >= 4  # the last one may have come too late
    assert figures.duplicates <= figures.kills * WINDOW


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", [["send", "tide", "--yes"], ["serve", "--port", "0"]])
def test_a_process_that_is_asked_to_stop_finishes_its_window_and_the_next_one_the_rest(
    sqlite_url: str, tmp_path: Path, command: list[str], number: signal.Signals
) -> None:
    engine = open_engine(sqlite_url)
    edition = prepare(engine, tmp_path, READERS)
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
        with reading(engine) as conn:
            counts = deliveries.count_states(conn, edition.id)
        assert counts[S.SENT] == len(relay.accepted) < READERS
        assert counts[S.PENDING] == READERS - len(relay.accepted)

        again = start(config, ["send", "tide", "--yes"])
        out, err = again.communicate(timeout=60)
        assert again.returncode == 0, out + err
    assert Counter(mail.recipient for mail in relay.accepted) == {
        f"r{n}@example.com": 1 for n in range(READERS)
    }
    engine.dispose()


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
