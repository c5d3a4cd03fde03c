"""Several relays, limits and signatures at work: who gets what, and nobody waits for another's limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from subscribers import store
from subscribers.addresses import parse_address
from subscribers.model import Cadence, SubscriptionStatus
from syndicate.errors import OperationError
from syndicate.model import DeliveryState, Edition, EditionState, Newsletter
from syndicate.service.editions import cancel_edition, hold_edition, pause_edition
from syndicate.service.installation import Installation, utc_now
from syndicate.service.sending import SendReport, send_edition
from syndicate.settings import DkimSettings, DomainSettings, SmtpSettings
from syndicate.storage import deliveries
from syndicate.storage.engine import reading, writing
from tests.builders import add_newsletter, add_source
from tests.dkim_oracle import DATA, judge
from tests.installation_builders import make_installation, open_now, publish, relay_in_thread
from tests.smtp_server import HANG, ScriptedServer

S = DeliveryState


@dataclass
class World:
    """A newsletter with one article; relays are added by name."""

    inst: Installation
    newsletter: Newsletter
    stack: ExitStack
    servers: dict[str, ScriptedServer] = field(default_factory=dict)
    edition: Edition | None = None

    def add_relay(
        self, name: str, *, settings: dict[str, Any] | None = None, **script: Any
    ) -> ScriptedServer:
        server = self.servers[name] = self.stack.enter_context(relay_in_thread(**script))
        section = SmtpSettings(host="127.0.0.1", port=server.port, tls="none", **(settings or {}))
        self.change(relays=self.inst.settings.relays | {name: section})
        return server

    def change(self, **sections: Any) -> None:
        # The first relay of the builder is not used where others are named.
        settings = self.inst.settings.model_copy(update=sections)
        settings.model_fields_set.discard("smtp")
        self.inst = replace(self.inst, settings=settings)

    def open(self, *addresses: str) -> None:
        with writing(self.inst.engine) as conn:
            for address in addresses:
                person = store.create_or_get_subscriber(
                    conn, parse_address(address), name="", language="", time_zone="", now=utc_now()
                )
                store.add_subscription(
                    conn,
                    subscriber_id=person.id,
                    newsletter_id=self.newsletter.id,
                    status=SubscriptionStatus.ACTIVE,
                    cadence=Cadence.WEEKLY,
                    topics=(),
                    watermark=0,
                    now=utc_now(),
                )
        self.edition = open_now(self.inst, self.newsletter)

    def send(self, **options: Any) -> SendReport:
        assert self.edition is not None
        return send_edition(self.inst, self.edition.id, **options)

    def recipients(self, name: str) -> list[str]:
        return sorted(mail.recipient for mail in self.servers[name].accepted)

    def states(self) -> dict[str, DeliveryState]:
        assert self.edition is not None
        with reading(self.inst.engine) as conn:
            return {row.address: row.state for row in deliveries.list_deliveries(conn, self.edition.id)}


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> Iterator[World]:
    inst = make_installation(engine, tmp_path, clock=utc_now)
    with writing(engine) as conn:
        source = add_source(conn, utc_now())
        newsletter = add_newsletter(conn, utc_now(), draws_from=[source.id])
    publish(inst, source.id)
    with ExitStack() as stack:
        yield World(inst, newsletter, stack)


def readers(count: int, domain: str = "example.com") -> list[str]:
    return sorted(f"r{n}@{domain}" for n in range(count))


def wait_until(condition: Any) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came")


def in_thread(work: Any) -> tuple[threading.Thread, list[Any]]:
    ended: list[Any] = []
    thread = threading.Thread(target=lambda: ended.append(work()))
    thread.start()
    return thread, ended


def test_relays_share_the_mail_by_their_weights_and_each_reader_gets_one(world: World) -> None:
    world.add_relay("big", settings={"weight": 3})
    world.add_relay("small")
    # With a place for everybody: where places are scarce, the quicker relay gets more.
    world.change(delivery=world.inst.settings.delivery.model_copy(update={"window": 200}))
    world.open(*readers(40))

    report = world.send()

    assert report.edition.state is EditionState.SENT
    assert sorted(world.recipients("big") + world.recipients("small")) == readers(40)
    assert (len(world.recipients("big")), len(world.recipients("small"))) == (30, 10)


def test_what_a_relay_does_not_take_another_one_does(world: World) -> None:
    world.add_relay("refusing", plan={"connect": "554 5.7.1 not you"})
    world.add_relay("down", plan={"connect": "421 4.3.2 closing"})
    world.add_relay("up")
    world.open(*readers(12))

    report = world.send()

    assert (report.edition.state, report.fault) == (EditionState.SENT, None)
    assert world.recipients("up") == readers(12)
    assert report.counts[S.SENT] == 12


def test_with_no_relay_left_the_run_ends_and_tells_what_an_operator_has_to_see_to(world: World) -> None:
    world.add_relay("refusing", plan={"connect": "554 5.7.1 not you"})
    world.add_relay("down", plan={"connect": "421 4.3.2 closing"})
    world.open(*readers(4))

    report = world.send()

    assert report.fault is not None
    assert (report.fault.stage, report.fault.is_temporary) == ("connect", False)
    assert report.counts[S.PENDING] == 4


def test_the_limit_of_a_day_holds_over_runs_and_the_rest_stays_open(world: World) -> None:
    world.add_relay("limited", settings={"per_day": 5})
    world.open(*readers(12))

    first, second = world.send(), world.send()

    assert len(world.recipients("limited")) == 5
    assert first.fault is not None
    assert "its 5 messages of today are sent" in str(first.fault)
    assert (first.sent, second.sent, second.counts[S.PENDING]) == (5, 0, 7)
    world.add_relay("other")
    assert world.send().edition.state is EditionState.SENT
    assert sorted(world.recipients("limited") + world.recipients("other")) == readers(12)


def test_a_domain_that_answers_slowly_holds_up_nobody_else(world: World) -> None:
    slow = readers(6, "slow.example")
    world.add_relay("relay", recipients={slow[0]: {"dot": HANG}})
    world.change(
        domains={"slow.example": DomainSettings(connections=1)},
        delivery=world.inst.settings.delivery.model_copy(update={"stop_s": 0.0, "connections": 2}),
    )
    world.open(*slow, *readers(30, "quick.example"))

    # The slow one has the only place of its domain, and keeps it until the stop.
    report = world.send(should_stop=lambda: len(world.recipients("relay")) >= 30)

    assert world.recipients("relay") == readers(30, "quick.example")
    assert (report.counts[S.SENT], report.counts[S.UNCERTAIN], report.uncertain) == (30, 1, 1)
    assert report.counts[S.PENDING] == 5


def test_the_limit_of_a_domain_is_never_exceeded(world: World) -> None:
    server = world.add_relay("relay", settings={"connections": 8})
    world.change(domains={"small.example": DomainSettings(connections=1)})
    world.open(*readers(20, "small.example"))

    assert world.send().edition.state is EditionState.SENT
    assert server.most_at_once <= 1


@pytest.mark.parametrize("act", [pause_edition, hold_edition, cancel_edition])
def test_an_operators_word_acts_while_a_relay_keeps_everybody_waiting(world: World, act: Any) -> None:
    server = world.add_relay("relay", recipients={"r0@example.com": {"dot": [HANG]}})
    world.change(delivery=world.inst.settings.delivery.model_copy(update={"connections": 1, "stop_s": 0.0}))
    world.open(*readers(9))
    assert world.edition is not None
    stop = threading.Event()
    thread, ended = in_thread(lambda: world.send(should_stop=stop.is_set))
    wait_until(server.hanging.is_set)

    act(world.inst, world.edition.id)
    # What is on its way is waited for, and all else is as it was, at once.
    wait_until(lambda: list(world.states().values()).count(S.ATTEMPTING) == 1)
    assert thread.is_alive()
    stop.set()
    thread.join(30)

    [report] = ended
    assert report.counts[S.UNCERTAIN] == report.uncertain == 1
    assert (report.sent, len(server.accepted)) == (0, 0)
    assert report.counts[S.PENDING] + report.counts[S.SKIPPED] == 8


def test_who_unsubscribes_while_marked_and_not_begun_gets_nothing(world: World) -> None:
    server = world.add_relay("relay", recipients={"r0@example.com": {"dot": [HANG]}})
    delivery = {"connections": 1, "window": 9, "stop_s": 0.0, "lease_s": 1.0}
    world.change(delivery=world.inst.settings.delivery.model_copy(update=delivery))
    world.open(*readers(9))
    stop = threading.Event()
    thread, ended = in_thread(lambda: world.send(should_stop=stop.is_set))
    wait_until(server.hanging.is_set)

    with writing(world.inst.engine) as conn:
        for n in range(2, 10):
            store.set_status(conn, n, SubscriptionStatus.UNSUBSCRIBED)
    # Their marks grow old, they are asked for again, and may not be mailed any more.
    wait_until(lambda: list(world.states().values()).count(S.SKIPPED) >= 1)
    stop.set()
    thread.join(30)

    assert server.accepted == []
    [report] = ended
    assert report.counts[S.SENT] == 0


def test_each_mail_is_signed_so_that_receivers_agree(world: World, tmp_path: Path) -> None:
    world.add_relay("relay")
    world.change(dkim=_dkim(tmp_path))
    world.open(*readers(9))

    world.send()

    accepted = world.servers["relay"].accepted
    assert len(accepted) == 9
    assert all(judge(mail.content) == [True, True] for mail in accepted)


def test_a_key_that_does_not_stand_for_the_sender_is_told_before_anybody_is_marked(
    world: World, tmp_path: Path
) -> None:
    world.add_relay("relay")
    world.change(dkim=_dkim(tmp_path, domain="example.net"))
    world.open(*readers(3))

    with pytest.raises(OperationError, match=r"the DKIM key of example\.net does not stand for mail from"):
        world.send()

    assert set(world.states().values()) == {S.PENDING}


def test_mail_for_trials_goes_into_a_maildir(world: World, tmp_path: Path) -> None:
    world.change(relays={"box": SmtpSettings(transport="maildir", path=tmp_path / "box")})
    world.open(*readers(5))

    assert world.send().edition.state is EditionState.SENT
    assert len(list((tmp_path / "box" / "new").iterdir())) == 5


def _dkim(folder: Path, domain: str = "example.org") -> DkimSettings:
    """Keys in files that nobody else can read: a checkout does not keep that."""
    for name in ("dkim-rsa.pem", "dkim-ed25519.pem"):
        (folder / name).touch(mode=0o600)
        (folder / name).write_bytes((DATA / name).read_bytes())
    return DkimSettings(
        domain=domain,
        selector="rsa-1",
        key_file=folder / "dkim-rsa.pem",
        ed25519_selector="ed25519-1",
        ed25519_key_file=folder / "dkim-ed25519.pem",
    )
