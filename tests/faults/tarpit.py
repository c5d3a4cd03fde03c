"""A relay or a domain that never answers holds up nobody else: ``python -m tests.faults.tarpit``.

The tar pit takes the content and says nothing. Once everybody else has been served the run is asked to stop;
what the tar pit holds then is uncertain, and no more than its connections or the domain's limit.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine

from subscribers import store
from subscribers.addresses import parse_address
from subscribers.model import Cadence, SubscriptionStatus
from syndicate.model import DeliveryState
from syndicate.service.installation import Installation
from syndicate.service.sending import send_edition
from syndicate.settings import DomainSettings, SmtpSettings
from syndicate.storage.engine import writing
from tests.builders import add_newsletter, add_source
from tests.faults.databases import KINDS, open_database
from tests.faults.world import Account, ClockAhead, finish, list_rows, take_account
from tests.installation_builders import make_installation, open_now, publish, relay_in_thread
from tests.smtp_server import HANG, ScriptedServer

__all__ = ["Figures", "send_beside_slow_domain", "send_beside_slow_relay"]

S = DeliveryState

CONNECTIONS: Final = 4
LIMIT: Final = 2  #: of the tar pit: its connections, or messages under way to the domain
PATIENCE_S: Final = 30.0


class TarPit(ScriptedServer):
    """Says nothing any more once it has the content of a message to a domain; empty: to any."""

    def __init__(self, domain: str = "") -> None:
        super().__init__()
        self.is_sticky = True
        self._domain = domain

    def _next(self, wire: Any, stage: str, recipient: str = "", default: str = "") -> str:
        if self.is_sticky and stage == "dot" and recipient.endswith(self._domain):
            return HANG
        return super()._next(wire, stage, recipient, default)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a tar pit cost."""

    held_up: int  #: readers who were not served while it held its own, and had nothing to do with it
    stuck: int  #: readers whom it held
    account: Account  #: at the end, when it answers

    def check(self) -> None:
        """Fails if somebody had to wait, or was lost."""
        self.account.check()
        assert self.held_up == 0, self
        assert 0 < self.stuck <= LIMIT, self
        assert set(self.account.copies.values()) == {1}, self


def send_beside_slow_relay(engine: Engine, folder: Path, *, readers: int) -> Figures:
    """Sends an edition over two relays, of which one is a tar pit."""
    with ExitStack() as stack:
        pit = stack.enter_context(relay_in_thread(server=TarPit()))
        fine = stack.enter_context(relay_in_thread())
        slow = SmtpSettings(host="127.0.0.1", port=pit.port, tls="none", connections=LIMIT)
        inst = _installation(engine, folder, fine.port, relays={"pit": slow})
        return _send(inst, [fine, pit], {"example.com": readers}, must_be_served=readers - LIMIT)


def send_beside_slow_domain(engine: Engine, folder: Path, *, readers: int) -> Figures:
    """Sends an edition of which every fifth reader is at a domain that is a tar pit."""
    with relay_in_thread(server=TarPit("@slow.example")) as relay:
        domains = {"slow.example": DomainSettings(connections=LIMIT)}
        inst = _installation(engine, folder, relay.port, domains=domains)
        audience = {"slow.example": readers // 5, "example.com": readers - readers // 5}
        return _send(inst, [relay], audience, must_be_served=audience["example.com"])


def _installation(engine: Engine, folder: Path, port: int, **settings: Any) -> Installation:
    inst = make_installation(
        engine,
        folder,
        port=port,
        clock=ClockAhead(),
        connections=CONNECTIONS,
        window=3 * CONNECTIONS,  # so that messages wait behind others
        stop_s=0.0,
    )
    return replace(inst, settings=inst.settings.model_copy(update=settings))


def _send(
    inst: Installation, relays: list[ScriptedServer], audience: Mapping[str, int], *, must_be_served: int
) -> Figures:
    now = inst.clock()
    with writing(inst.engine) as conn:
        source = add_source(conn, now)
        newsletter = add_newsletter(conn, now, draws_from=[source.id])
        for domain, count in audience.items():
            for n in range(count):
                _add_reader(conn, newsletter.id, now, f"r{n}@{domain}")
    publish(inst, source.id)
    edition = open_now(inst, newsletter)
    until_s = time.monotonic() + PATIENCE_S

    def count_served() -> int:
        return sum(len(relay.accepted) for relay in relays)

    def should_stop() -> bool:
        return count_served() >= must_be_served or time.monotonic() > until_s

    send_edition(inst, edition.id, should_stop=should_stop)
    held_up = must_be_served - count_served()
    stuck = sum(row.state is S.UNCERTAIN for row in list_rows(inst.engine, edition.id))
    for relay in relays:
        if isinstance(relay, TarPit):
            relay.is_sticky = False
    finish(inst, edition.id)
    accepted = [mail for relay in relays for mail in relay.accepted]
    return Figures(
        held_up=max(0, held_up), stuck=stuck, account=take_account(inst.engine, edition.id, accepted)
    )


def _add_reader(conn: Connection, newsletter_id: int, now: datetime, address: str) -> None:
    parsed = parse_address(address, allow_private=True)
    person = store.create_or_get_subscriber(conn, parsed, name="", language="", time_zone="", now=now)
    store.add_subscription(
        conn,
        subscriber_id=person.id,
        newsletter_id=newsletter_id,
        status=SubscriptionStatus.ACTIVE,
        cadence=Cadence.WEEKLY,
        topics=(),
        watermark=0,
        now=now,
    )


def main() -> None:
    """Prints the figures; fails if somebody had to wait."""
    parser = argparse.ArgumentParser(description="A relay or a domain that never answers.")
    parser.add_argument("--readers", type=int, default=5_000)
    parser.add_argument("--database", choices=KINDS, default="sqlite")
    given = parser.parse_args()
    for send in (send_beside_slow_relay, send_beside_slow_domain):
        with open_database(given.database) as database:
            figures = send(database.engine, database.folder, readers=given.readers)
        sys.stdout.write(f"{given.database}: {send.__name__}: {figures}\n")
        figures.check()


if __name__ == "__main__":
    main()
