"""Kills the sender at random instants and counts what it cost: ``python -m tests.faults.kill --kills 200``.

The oracle is the relay: what it accepted, it accepted, whatever the ledger says. Each sender is a process
that is ended by SIGKILL. Its successor does not wait for the lease: its clock is ahead by as much.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import multiprocessing
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from syndicate.cli.logs import configure_logs
from syndicate.model import DeliveryState, Edition, EditionState
from syndicate.service.editions import retry_edition
from syndicate.service.installation import utc_now
from syndicate.service.sending import send_edition
from syndicate.storage import deliveries, editions
from syndicate.storage.engine import migrate, open_engine, reading, writing
from tests.builders import add_newsletter, add_reader, add_source
from tests.installation_builders import make_installation, open_now, publish, relay_in_thread
from tests.smtp_server import ScriptedServer

__all__ = ["Figures", "SlowServer", "kill_senders", "prepare"]

WINDOW = 8
LEASE_S = 15.0


class SlowServer(ScriptedServer):
    """Lets recipients and accepted messages wait for their answer, for up to some milliseconds."""

    def __init__(self, *, slowness_s: float = 0.01, seed: int = 1) -> None:
        super().__init__()
        self._slowness_s, self._random = slowness_s, random.Random(seed)

    async def _write(self, wire: Any, says: str) -> int:
        if says.startswith(("250 2.1.5", "250 2.0.0 queued")):
            await asyncio.sleep(self._random.uniform(0, self._slowness_s))
        return await super()._write(wire, says)


@dataclass
class Figures:
    """What the kills cost."""

    seed: int
    readers: int
    kills: int = 0
    lost: int = 0  #: readers for whom the relay never accepted a copy
    duplicates: int = 0
    most_in_a_kill: int = 0
    unflagged: int = 0  #: duplicates that were not under way when a sender was killed
    false_sent: int = 0  #: readers who are ``sent`` in the ledger and were not accepted
    changed_copies: int = 0  #: readers whose copies are not the same bytes
    undecided: int = 0  #: readers whom three kills in a row had hit
    integrity: str = ""
    state: str = ""
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Fails if the promise was not kept."""
        zero = (self.lost, self.unflagged, self.false_sent, self.changed_copies)
        assert zero == (0, 0, 0, 0), self
        assert self.most_in_a_kill <= WINDOW, self
        assert (self.integrity, self.state, self.problems) == ("ok", "sent", []), self


def prepare(engine: Engine, folder: Path, readers: int) -> Edition:
    """An open edition for so many readers, r0@example.com and so on."""
    inst = make_installation(engine, folder, clock=utc_now)
    with writing(engine) as conn:
        source = add_source(conn, utc_now())
        newsletter = add_newsletter(conn, utc_now(), draws_from=[source.id])
        for n in range(readers):
            add_reader(conn, newsletter.id, utc_now(), f"r{n}")
    publish(inst, source.id, "Coast")
    return open_now(inst, newsletter)


def _send(url: str, folder: str, port: int, edition_id: int, ahead_s: float) -> None:
    configure_logs(logging.ERROR)  # in a process of its own
    engine = open_engine(url)

    def clock() -> datetime:
        return utc_now() + timedelta(seconds=ahead_s)

    inst = make_installation(
        engine, Path(folder), port=port, clock=clock, connections=WINDOW, lease_s=LEASE_S
    )
    send_edition(inst, edition_id)


def kill_senders(url: str, folder: Path, *, kills: int, readers: int, seed: int) -> Figures:
    """Sends an edition to the end while its senders are killed, and tells what came of it."""
    began = time.monotonic()
    figures, dice = Figures(seed=seed, readers=readers), random.Random(seed)
    engine = open_engine(url)
    edition = prepare(engine, folder, readers)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["syndicate.service.sending", "tests.installation_builders"])
    flagged: Counter[str] = Counter()
    with relay_in_thread(server=SlowServer(seed=seed)) as relay:

        def start() -> Any:
            arguments = (url, str(folder), relay.port, edition.id, (LEASE_S + 3600) * figures.kills)
            process = context.Process(target=_send, args=arguments)
            process.start()
            return process

        while figures.kills < kills:
            process, before = start(), len(relay.accepted)
            # So that the kills are spread over what is left.
            left = (readers - len({m.recipient for m in relay.accepted})) / (kills - figures.kills + 1)
            target = before + dice.randint(1, max(1, round(left * 1.5)))
            while len(relay.accepted) < target and process.is_alive():
                time.sleep(0.001)
            time.sleep(dice.uniform(0, 0.02))
            process.kill()
            process.join()
            if process.exitcode == 0:
                break  # it was done before
            if process.exitcode != -signal.SIGKILL:
                figures.problems.append(f"a sender ended with {process.exitcode}")
            figures.kills += 1
            taken = {mail.recipient for mail in relay.accepted[before:]}
            _look(engine, edition, relay, figures, flagged, taken)
        _finish(start, engine, edition, figures)
    _count(relay, figures, flagged, readers)
    with reading(engine) as conn:
        figures.integrity = (
            conn.execute(text("PRAGMA integrity_check")).scalar_one()
            if engine.dialect.name == "sqlite"
            else "ok"
        )
    engine.dispose()
    figures.seconds = round(time.monotonic() - began, 1)
    return figures


def _look(
    engine: Engine,
    edition: Edition,
    relay: ScriptedServer,
    figures: Figures,
    flagged: Counter[str],
    taken: set[str],
) -> None:
    """After a kill: what is marked is what may come twice, and nothing is ``sent`` that was not accepted."""
    accepted = Counter(mail.recipient for mail in relay.accepted)
    with reading(engine) as conn:
        rows = deliveries.list_deliveries(conn, edition.id)
    marked = [row.address for row in rows if row.state is DeliveryState.ATTEMPTING]
    if len(marked) > WINDOW:
        figures.problems.append(f"{len(marked)} rows were marked at once")
    flagged.update(marked)
    figures.false_sent += sum(row.state is DeliveryState.SENT and not accepted[row.address] for row in rows)
    # Accepted in this run, and not on record: these come twice.
    figures.most_in_a_kill = max(figures.most_in_a_kill, len(taken & set(marked)))


def _finish(start: Any, engine: Engine, edition: Edition, figures: Figures) -> None:
    inst = make_installation(engine, Path(), clock=utc_now)
    for _ in range(10):
        with reading(engine) as conn:
            state = editions.get_edition(conn, edition.id).state
        if state is EditionState.SENT:
            break
        if state is EditionState.HELD:
            figures.undecided += retry_edition(inst, edition.id, {DeliveryState.UNCERTAIN})
        process = start()
        process.join()
    figures.state = state


def _count(relay: ScriptedServer, figures: Figures, flagged: Counter[str], readers: int) -> None:
    copies: dict[str, list[bytes]] = {f"r{n}@example.com": [] for n in range(readers)}
    for mail in relay.accepted:
        copies[mail.recipient].append(mail.content)
    figures.lost = sum(not mails for mails in copies.values())
    figures.duplicates = sum(len(mails) - 1 for mails in copies.values() if mails)
    figures.changed_copies = sum(len(set(mails)) > 1 for mails in copies.values())
    figures.unflagged = sum(max(0, len(mails) - 1 - flagged[to]) for to, mails in copies.items())


def main() -> None:
    """Prints the figures; fails if the promise was not kept."""
    parser = argparse.ArgumentParser(description="Kill the sender, count lost and double mails.")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--readers", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = parser.parse_args()
    configure_logs(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="syndicate-kill-") as folder:
        url = f"sqlite:///{folder}/syndicate.db"
        engine = open_engine(url)
        migrate(engine)
        engine.dispose()
        figures = kill_senders(url, Path(folder), kills=given.kills, readers=given.readers, seed=given.seed)
    sys.stdout.write(f"{figures}\n")
    figures.check()


if __name__ == "__main__":
    main()
