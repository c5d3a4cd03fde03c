"""What the relay says and what becomes of the readers: deferred, failed, uncertain, and nobody lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from subscribers.audience import select_active
from syndicate.errors import StateError
from syndicate.model import DeliveryState, Edition, EditionState, Newsletter, UncertainPolicy
from syndicate.service.editions import report_edition, retry_edition
from syndicate.service.installation import Installation
from syndicate.service.sending import SendReport, has_work, send_edition
from syndicate.storage import deliveries
from syndicate.storage.engine import reading, writing
from tests.builders import add_newsletter, add_reader, add_source
from tests.installation_builders import (
    FakeClock,
    articles_to,
    make_installation,
    message_id_of,
    open_now,
    publish,
    relay_in_thread,
)
from tests.smtp_server import ACCEPT_AND_DROP, DROP, ScriptedServer

S = DeliveryState
NAMES = ("ada", "bob", "cleo", "dan", "eve")


@dataclass
class World:
    """A newsletter with one article and some readers, and a relay that follows a script."""

    inst: Installation
    clock: FakeClock
    relay: ScriptedServer
    newsletter: Newsletter
    source_id: int
    edition: Edition

    def send(self) -> SendReport:
        return send_edition(self.inst, self.edition.id)

    def states(self, edition: Edition | None = None) -> dict[str, DeliveryState]:
        with reading(self.inst.engine) as conn:
            rows = deliveries.list_deliveries(conn, (edition or self.edition).id)
        return {row.name.lower(): row.state for row in rows}

    def watermarks(self) -> dict[str, int]:
        with reading(self.inst.engine) as conn:
            found = select_active(self.newsletter.id, None)
            return {row.name.lower(): row.watermark for row in conn.execute(found)}

    def mails_to(self, name: str) -> list[bytes]:
        return [m.content for m in self.relay.accepted if m.recipient == f"{name}@example.com"]

    def open_next(self) -> Edition:
        publish(self.inst, self.source_id)
        self.clock.move(days=1)
        return open_now(self.inst, self.newsletter)


@pytest.fixture
def build(engine: Engine, tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Makes the world: ``recipients`` by name, ``plan`` as the server takes it."""
    with ExitStack() as stack:

        def make(
            recipients: Mapping[str, Any] | None = None,
            *,
            plan: Mapping[str, Any] | None = None,
            policy: UncertainPolicy = UncertainPolicy.RESEND,
            names: tuple[str, ...] = NAMES,
            extensions: tuple[str, ...] = (),
            **delivery: Any,
        ) -> World:
            script = {f"{name}@example.com": says for name, says in (recipients or {}).items()}
            relay = stack.enter_context(relay_in_thread(plan=plan, recipients=script, extensions=extensions))
            clock = FakeClock()
            inst = make_installation(engine, tmp_path, port=relay.port, clock=clock, **delivery)
            with writing(engine) as conn:
                source = add_source(conn, clock.at)
                newsletter = add_newsletter(conn, clock.at, draws_from=[source.id], uncertain_policy=policy)
                for name in names:
                    add_reader(conn, newsletter.id, clock.at, name)
            publish(inst, source.id)
            return World(inst, clock, relay, newsletter, source.id, open_now(inst, newsletter))

        yield make


def all_but(name: str, state: DeliveryState) -> dict[str, DeliveryState]:
    return {n: state if n == name else S.SENT for n in NAMES}


def test_who_is_told_to_wait_is_tried_again_when_the_time_has_come(build: Callable[..., World]) -> None:
    world = build({"cleo": {"rcpt": ["451 4.7.1 greylisted", "450 4.2.0 not yet"]}})

    report = world.send()

    assert world.states() == all_but("cleo", S.DEFERRED)
    assert (report.edition.state, report.sent, report.fault) == (EditionState.SENDING, 4, None)
    assert report.next_attempt_at is not None
    waits = (report.next_attempt_at - world.clock.at).total_seconds()
    assert 300 <= waits <= 360
    assert not has_work(world.inst, world.edition.id)
    assert world.send().sent == 0  # nobody is attempted before the time has come
    assert world.relay.verbs.count("RCPT") == 5

    for state in (S.DEFERRED, S.SENT):
        world.clock.move(minutes=20)
        assert has_work(world.inst, world.edition.id)
        report = world.send()
        assert world.states() == all_but("cleo", state)
    assert report.edition.state is EditionState.SENT
    assert {len(world.mails_to(name)) for name in NAMES} == {1}


def test_who_is_deferred_too_long_is_given_up_and_gets_the_articles_with_the_next_edition(
    build: Callable[..., World],
) -> None:
    world = build({"cleo": {"rcpt": ["451 4.7.1 later"] * 2}}, lifetime_h=1.0)
    world.send()
    world.clock.move(hours=1, minutes=1)

    report = world.send()

    assert report.edition.state is EditionState.SENT
    [cleo] = report_edition(world.inst, world.edition.id).exceptions
    assert (cleo.state, cleo.reply) == (S.FAILED, "given up; last answer: 4.7.1 later")
    world.relay.commands.clear()
    second = world.open_next()
    send_edition(world.inst, second.id)
    world.clock.move(minutes=10)
    send_edition(world.inst, second.id)
    assert articles_to(world.relay.accepted, "cleo@example.com") == [[1, 2]]
    assert articles_to(world.relay.accepted, "ada@example.com") == [[1], [2]]


def test_who_is_refused_is_listed_with_the_reply_and_tried_again_only_by_the_operator(
    build: Callable[..., World],
) -> None:
    world = build({"bob": {"rcpt": ["550 5.1.1 no such user"]}, "dan": {"dot": ["554 5.7.1 spam"]}})

    report = world.send()

    assert report.edition.state is EditionState.SENT
    assert (report.counts[S.SENT], report.counts[S.FAILED]) == (3, 2)
    shown = {d.name: d.reply for d in report_edition(world.inst, world.edition.id).exceptions}
    assert shown == {"Bob": "5.1.1 no such user", "Dan": "5.7.1 spam"}
    assert world.watermarks() == {"ada": 1, "bob": 0, "cleo": 1, "dan": 0, "eve": 1}

    assert retry_edition(world.inst, world.edition.id, {S.FAILED}) == 2
    assert world.send().edition.state is EditionState.SENT
    assert {len(world.mails_to(name)) for name in NAMES} == {1}


def test_who_is_put_back_while_the_run_goes_on_is_sent_in_the_same_run(build: Callable[..., World]) -> None:
    world = build({"ada": {"rcpt": ["550 5.1.1 no such user"]}}, connections=1)

    def put_back(_settled: int) -> None:
        if len(world.relay.accepted) == 2:
            retry_edition(world.inst, world.edition.id, {S.FAILED})

    report = send_edition(world.inst, world.edition.id, on_progress=put_back)

    assert report.counts[S.SENT] == report.sent == len(NAMES)
    assert [mail.recipient.partition("@")[0] for mail in world.relay.accepted] == [*NAMES[1:], "ada"]


def test_a_failed_copy_is_not_sent_again_once_the_next_edition_has_brought_its_articles(
    build: Callable[..., World],
) -> None:
    world = build({"bob": {"rcpt": ["550 5.1.1 no such user"]}})
    world.send()
    send_edition(world.inst, world.open_next().id)

    assert retry_edition(world.inst, world.edition.id, {S.FAILED}) == 0
    assert articles_to(world.relay.accepted, "bob@example.com") == [[1, 2]]


@pytest.mark.parametrize("stage", ["rcpt", "data", "dot"])
def test_a_421_that_meets_one_reader_defers_that_reader_only(build: Callable[..., World], stage: str) -> None:
    world = build({"cleo": {stage: ["421 4.3.2 not this one"]}})

    report = world.send()

    assert world.states() == all_but("cleo", S.DEFERRED)
    assert report.fault is None
    world.clock.move(minutes=10)
    assert world.send().edition.state is EditionState.SENT


def test_a_421_that_meets_the_last_reader_left_does_not_keep_the_edition_open_for_ever(
    build: Callable[..., World],
) -> None:
    world = build({"cleo": {"rcpt": "421 4.3.2 never"}}, names=("cleo",), lifetime_h=2.0)

    world.send()
    assert world.states() == {"cleo": S.DEFERRED}
    world.clock.move(hours=3)
    assert world.send().edition.state is EditionState.SENT
    assert world.states() == {"cleo": S.FAILED}


def test_an_unclear_answer_is_followed_by_the_very_same_message_and_no_more_than_three_times(
    build: Callable[..., World],
) -> None:
    world = build({"cleo": {"dot": ACCEPT_AND_DROP}})
    for copies in (1, 2, 3):
        report = world.send()
        assert world.states() == all_but("cleo", S.UNCERTAIN)
        assert len(world.mails_to("cleo")) == copies
        if report.edition.state is EditionState.SENDING:
            world.send()  # the time has not come
        assert len(world.mails_to("cleo")) == copies
        world.clock.move(hours=1)

    assert (report.edition.state, report.edition.reason) == (EditionState.HELD, "undecided")
    assert not any(name != "cleo" and len(world.mails_to(name)) != 1 for name in NAMES)
    assert len(set(world.mails_to("cleo"))) == 1
    assert len({message_id_of(m.content) for m in world.relay.accepted}) == len(NAMES)
    assert world.watermarks()["cleo"] == 0

    # The reader does not wait until somebody decides.
    send_edition(world.inst, world.open_next().id)
    assert articles_to(world.relay.accepted, "cleo@example.com")[-1] == [2]


def test_an_unclear_answer_that_becomes_clear_ends_the_edition(build: Callable[..., World]) -> None:
    world = build({"cleo": {"dot": [DROP]}})
    world.send()
    assert world.states() == all_but("cleo", S.UNCERTAIN)
    world.clock.move(minutes=10)

    assert world.send().edition.state is EditionState.SENT
    assert len(world.mails_to("cleo")) == 1


def test_under_hold_an_unclear_answer_waits_for_the_operator_and_counts_as_served(
    build: Callable[..., World],
) -> None:
    world = build({"cleo": {"dot": [ACCEPT_AND_DROP]}, "dan": {"dot": [DROP]}}, policy=UncertainPolicy.HOLD)

    report = world.send()

    assert (report.edition.state, report.edition.reason) == (EditionState.HELD, "undecided")
    assert (report.counts[S.UNCERTAIN], report.next_attempt_at) == (2, None)
    with pytest.raises(StateError, match="is held; 'edition retry 1 --uncertain' sends those again"):
        world.send()
    shown = {d.name: d.state for d in report_edition(world.inst, world.edition.id).exceptions}
    assert shown == {"Cleo": S.UNCERTAIN, "Dan": S.UNCERTAIN}
    world.clock.move(days=1)
    second = world.open_next()
    send_edition(world.inst, second.id)
    assert articles_to(world.relay.accepted, "cleo@example.com") == [[1], [2]]
    assert articles_to(world.relay.accepted, "dan@example.com") == [[2]]

    # The operator decides to send them again: the same text as before, and nothing of the newer edition.
    assert retry_edition(world.inst, world.edition.id, {S.UNCERTAIN}) == 2
    assert world.send().edition.state is EditionState.SENT
    assert articles_to(world.relay.accepted, "dan@example.com") == [[2], [1]]


def test_a_relay_that_is_down_costs_nobody_anything(build: Callable[..., World]) -> None:
    world = build()
    up = world.inst
    down = replace(
        up, settings=up.settings.model_copy(update={"smtp": up.settings.smtp.model_copy(update={"port": 9})})
    )

    report = send_edition(down, world.edition.id)

    assert report.fault is not None
    assert (report.fault.stage, report.fault.is_temporary) == ("connect", True)
    assert (report.edition.state, report.sent) == (EditionState.SENDING, 0)
    assert set(world.states().values()) == {S.PENDING}
    assert all(row.attempts == 0 for row in _rows(world))
    assert world.send().sent == len(NAMES)


def test_a_relay_that_goes_away_in_the_middle_costs_nobody_anything(build: Callable[..., World]) -> None:
    world = build(
        plan={
            "connect": ["220 hello"] + ["421 4.3.2 closing"] * 9,
            "mail": ["250 ok", "250 ok", "421 4.3.2 closing"],
        },
        connections=1,
    )

    report = world.send()

    assert report.fault is not None
    assert report.fault.is_temporary
    assert report.sent == len(world.relay.accepted) == 2
    assert sorted(world.states().values()) == [S.PENDING] * 3 + [S.SENT] * 2
    while report.counts[S.PENDING]:
        report = world.send()
    assert {len(world.mails_to(name)) for name in NAMES} == {1}


def test_a_refused_password_blames_nobody(build: Callable[..., World]) -> None:
    world = build(plan={"auth": "535 5.7.8 no"}, extensions=("AUTH PLAIN LOGIN",))
    smtp = world.inst.settings.smtp.model_copy(update={"username": "me", "password": None})
    inst = replace(world.inst, settings=world.inst.settings.model_copy(update={"smtp": smtp}))

    report = send_edition(inst, world.edition.id)

    assert report.fault is not None
    assert (report.fault.stage, report.fault.is_temporary) == ("auth", False)
    assert set(world.states().values()) == {S.PENDING}
    assert {row.attempts for row in _rows(world)} == {0}
    assert world.relay.verbs.count("AUTH") <= 2  # once on each connection


def _rows(world: World) -> list[Any]:
    with reading(world.inst.engine) as conn:
        return list(deliveries.list_deliveries(conn, world.edition.id))
