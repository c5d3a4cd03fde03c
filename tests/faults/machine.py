"""Sequences of whatever may happen to an edition, against a model: ``python -m tests.faults.machine``.

The operator publishes, edits, sends, pauses, holds, resumes, cancels and tries again; readers come, leave and
bounce; senders are stopped and die; the relay answers as it likes. All of it by the functions that the
product calls, with a real relay. The model is sets of articles: what the relay took for a reader, what is
known to have arrived, and what was in doubt at some time.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from unittest import mock

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from sqlalchemy import Engine, event, text

import subscribers.tables
from subscribers.model import ConsentMethod
from syndicate.errors import StateError
from syndicate.model import Delivery, DeliveryState, Edition, EditionState, UncertainPolicy, slugify
from syndicate.service.editions import (
    approve_edition,
    cancel_edition,
    hold_edition,
    pause_edition,
    resume_edition,
    retry_edition,
)
from syndicate.service.people import add_subscriber, suppress_address
from syndicate.service.sending import send_edition
from syndicate.service.subscribing import unsubscribe
from syndicate.storage import articles, deliveries, editions, tables
from syndicate.storage.engine import reading, writing
from tests.builders import add_newsletter, add_source, make_parsed
from tests.faults.databases import open_database
from tests.faults.processes import Moment, watch_commits
from tests.faults.world import OPEN
from tests.installation_builders import (
    FakeClock,
    articles_of,
    make_installation,
    open_now,
    publish,
    relay_in_thread,
)
from tests.smtp_server import ACCEPT_AND_DROP, DROP, ScriptedServer

__all__ = ["run_machine"]

S = DeliveryState

WINDOW: Final = 2
LEASE_S: Final = 15.0
TOPICS: Final = ("Coast", "Craft")
MOST_READERS: Final = 6
STANDING: Final = {EditionState.PAUSED: resume_edition, EditionState.HELD: approve_edition}

#: What happens, as often as it makes a ledger interesting.
STEPS: Final = (
    *["publish"] * 3,
    *["send"] * 8,
    *["let go"] * 2,
    *["wait"] * 2,
    *["stand", "cancel", "retry", "join", "leave", "bounce", "edit"],
)

#: What befalls a run in the middle.
FATES: Final = (
    *[""] * 4,
    *["die before", "die after"] * 2,
    *["stop", "pause", "hold", "cancel", "leave", "bounce"],
)

#: What the relay says: to the recipient, and to the message.
_FINE: Final = ("250 2.1.5 ok", "250 2.0.0 queued")
ANSWERS: Final = (
    *[_FINE] * 10,
    ("451 4.2.1 later", ""),
    ("550 5.1.1 nobody here", ""),
    ("421 4.3.2 busy", ""),
    ("250 2.1.5 ok", "451 4.3.0 later"),
    ("250 2.1.5 ok", DROP),
    ("250 2.1.5 ok", ACCEPT_AND_DROP),
)


class Dead(BaseException):
    """The process of the sender is no more."""


class Mortality:
    """Lets whoever uses an engine die at a commit: nothing of it reaches the database any more."""

    def __init__(self, engine: Engine) -> None:
        self._left, self._moment, self._is_dead = 0, Moment.BEFORE, False
        event.listen(engine, "begin", lambda _conn: self._check())
        watch_commits(engine, self._count, lambda _connection: True)

    def sentence(self, commits: int, moment: Moment) -> None:
        """Has it die at the commit of this number."""
        self._left, self._moment = commits, moment

    def lift(self) -> None:
        """Somebody else lives from now on."""
        self._left, self._is_dead = 0, False

    def _count(self, _connection: Any, moment: Moment) -> None:
        if self._left and moment is self._moment:
            self._left -= 1
            self._is_dead = self._left == 0
            self._check()

    def _check(self) -> None:
        if self._is_dead:
            raise Dead


class CapriciousServer(ScriptedServer):
    """Answers as the dice fall that each run brings; with none it takes everything."""

    def __init__(self) -> None:
        super().__init__()
        self.dice: random.Random | None = None
        self._answers: dict[int, tuple[str, str]] = {}  #: by connection

    @property
    def is_quiet(self) -> bool:
        """Whether nobody is connected: what was accepted is all there is."""
        return not self._tasks

    def _next(self, wire: Any, stage: str, recipient: str = "", default: str = "") -> str:
        if self.dice is not None and stage == "rcpt" and wire.is_in_order("rcpt"):
            self._answers[id(wire)] = self.dice.choice(ANSWERS)
            return self._answers[id(wire)][0]
        if self.dice is not None and stage == "dot" and wire.is_in_order("dot"):
            return self._answers[id(wire)][1]
        return super()._next(wire, stage, recipient, default)


@dataclass
class Reader:
    """What the model knows of a reader; numbers are articles."""

    topics: frozenset[str]
    since: int  #: articles after this one are for this reader
    is_active: bool = True
    taken: set[int] = field(default_factory=set)  #: the relay has accepted a copy
    known: set[int] = field(default_factory=set)  #: the ledger says that it has
    doubted: set[int] = field(default_factory=set)  #: nobody knew, at some time


@dataclass
class Bench:
    """What all sequences share."""

    engine: Engine
    folder: Path
    relay: CapriciousServer
    mortality: Mortality
    seen: Counter[str] = field(default_factory=Counter)  #: how often what happened


class SendingMachine(RuleBasedStateMachine):
    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self.engine, self.relay, self.mortality = bench.engine, bench.relay, bench.mortality
        self.seen = bench.seen
        self.seen["sequences"] += 1
        self.clock = FakeClock()
        self.inst = make_installation(
            bench.engine,
            bench.folder,
            port=self.relay.port,
            clock=self.clock,
            connections=1,
            window=WINDOW,
            lease_s=LEASE_S,
        )
        self.articles: dict[int, frozenset[str]] = {}
        self.readers: dict[int, Reader] = {}
        self.copies: dict[tuple[int, int], bytes] = {}
        self.relay.accepted.clear()
        self.mortality.lift()
        with writing(self.engine) as conn:
            empty(conn)

    @initialize(policy=st.sampled_from(UncertainPolicy), readers=st.integers(2, 4))
    def begin(self, policy: UncertainPolicy, readers: int) -> None:
        with writing(self.engine) as conn:
            self.source_id = add_source(conn, self.clock.at).id
            self.newsletter = add_newsletter(
                conn, self.clock.at, draws_from=[self.source_id], uncertain_policy=policy
            )
        for n in range(readers):
            self.join(n)
        self.publish(1)

    # One rule, so that every example has all that can happen. What is drawn depends on nothing that a thread
    # may have done earlier or later.

    @rule(
        what=st.sampled_from(STEPS), a=st.integers(0, 99), b=st.integers(0, 99), fate=st.sampled_from(FATES)
    )
    def step(self, what: str, a: int, b: int, fate: str) -> None:
        match what:
            case "publish":
                self.publish(a)
            case "send":
                self.send(a, b, fate)
            case "wait":
                self.clock.move(minutes=(1, 20, 90)[a % 3])
            case "join":
                self.join(a)
            case "leave" | "bounce":
                self.leave(a, by_bounce=what == "bounce")
            case "edit" if self.articles:
                self.edit(a)
            case "let go" | "stand" | "cancel" | "retry":
                self.operate(what, a)

    def teardown(self) -> None:
        if self.readers:
            self.bring_to_an_end()

    # What operator and readers do.

    def publish(self, a: int) -> None:
        """An article comes, and an edition opens; sometimes it waits for the operator."""
        tags = ((), (), TOPICS[:1], TOPICS[1:], TOPICS)[a % 5]
        number = publish(self.inst, self.source_id, *tags)
        self.articles[number] = frozenset(slugify(tag) for tag in tags)
        self.open("a test" if a % 7 == 0 else "")

    def open(self, held: str = "") -> None:
        self.clock.move(seconds=1)  # the slot is named by it
        try:
            edition = open_now(self.inst, self.newsletter, held=held)
        except AssertionError:  # nobody would get anything
            return
        with reading(self.engine) as conn:
            for row in deliveries.list_deliveries(conn, edition.id):
                assert self.readers[row.subscriber_id].is_active
                assert self.content(row, edition), "no mail is empty"
        self.note_doubts()  # a sender that is gone may have been found out

    def edit(self, a: int) -> None:
        """An article is edited, after an edition with it has opened or before."""
        number = sorted(self.articles)[a % len(self.articles)]
        tags = [label for label in TOPICS if slugify(label) in self.articles[number]]
        with writing(self.engine) as conn:
            revised = make_parsed(number, title=f"Edited {self.clock.at:%H:%M:%S} {a}", tags=tuple(tags))
            articles.revise_article(conn, number, revised, now=self.clock.at)

    def join(self, a: int) -> None:
        if len(self.readers) >= MOST_READERS:
            return
        topics = ((), (), TOPICS[:1], TOPICS[1:])[a % 4]
        subscription, why = add_subscriber(
            self.inst,
            self.newsletter,
            email=f"r{len(self.readers)}@example.com",
            name="",
            cadence=None,
            topics=[slugify(topic) for topic in topics],
            statement="asked for it",
        )
        assert subscription is not None, why
        slugs = frozenset(slugify(topic) for topic in topics)
        self.readers[subscription.subscriber_id] = Reader(topics=slugs, since=subscription.watermark)

    def leave(self, a: int, *, by_bounce: bool) -> None:
        active = [n for n, reader in self.readers.items() if reader.is_active]
        if len(active) < 2:
            return
        number = active[a % len(active)]
        if by_bounce:
            suppress_address(self.inst, f"r{number - 1}@example.com", evidence="a bounce")
        else:
            token = self.inst.links.unsubscribe(number)
            unsubscribe(self.inst, token, method=ConsentMethod.ONE_CLICK, proof="")
        self.readers[number].is_active = False

    def operate(self, what: str, a: int) -> None:
        wanted: dict[str, set[EditionState]] = {
            "let go": set(STANDING),
            "stand": {EditionState.APPROVED, EditionState.SENDING},
            "cancel": set(EditionState) - {EditionState.SENT, EditionState.CANCELLED},
            "retry": set(EditionState) - {EditionState.CANCELLED},
        }
        found = self.list_editions(*wanted[what])
        if not found:
            return
        edition = found[a % len(found)]
        match what:
            case "let go":
                STANDING[edition.state](self.inst, edition.id)
            case "stand":
                (pause_edition, hold_edition)[a % 2](self.inst, edition.id)
            case "cancel" if a % 3 == 0:
                cancel_edition(self.inst, edition.id)
            case "retry":
                retry_edition(self.inst, edition.id, {S.FAILED, S.UNCERTAIN})

    # Runs.

    def send(self, a: int, b: int, fate: str) -> None:
        """A run over an edition, with whatever befalls it."""
        found = self.list_editions(EditionState.APPROVED, EditionState.SENDING)
        if not found:
            self.publish(a)
            return
        self.relay.dice = random.Random(100 * a + b)
        self.run(found[a % len(found)], fate, when=1 + b % 3, commits=1 + b % 7)

    def run(self, edition: Edition, fate: str = "", when: int = 1, commits: int = 1) -> None:
        before = len(self.relay.accepted)
        active = {n for n, reader in self.readers.items() if reader.is_active}
        settled = [0]

        def on_progress(count: int) -> None:
            if settled[0] < when <= settled[0] + count:
                self.befall(edition, fate)
            settled[0] += count

        def should_stop() -> bool:
            return fate == "stop" and len(self.relay.accepted) - before >= when

        if fate.startswith("die"):
            self.mortality.sentence(commits, Moment(fate.removeprefix("die ")))
        has_died = False
        try:
            send_edition(self.inst, edition.id, on_progress=on_progress, should_stop=should_stop)
        except Dead:
            has_died = True
            self.seen["died"] += 1
        except StateError as error:
            if "another process" not in str(error):
                raise
            self.seen["refused"] += 1  # a dead one's lease is not over yet
        self.mortality.lift()
        while not self.relay.is_quiet:
            time.sleep(0.0005)
        self.check_run(edition, before, active, has_died=has_died)
        if has_died and when == 1:
            self.clock.move(seconds=LEASE_S + 1)

    def befall(self, edition: Edition, fate: str) -> None:
        acts: dict[str, Callable[[], object]] = {
            "pause": lambda: pause_edition(self.inst, edition.id),
            "hold": lambda: hold_edition(self.inst, edition.id),
            "cancel": lambda: cancel_edition(self.inst, edition.id),
            "leave": lambda: self.leave(edition.id, by_bounce=False),
            "bounce": lambda: self.leave(edition.id, by_bounce=True),
        }
        if fate in acts:
            self.seen[f"{fate} in a run"] += 1
            acts[fate]()

    def check_run(self, edition: Edition, before: int, active: set[int], *, has_died: bool) -> None:
        got = set()
        for mail in self.relay.accepted[before:]:
            number = int(mail.recipient.partition("@")[0].removeprefix("r")) + 1
            reader, content = self.readers[number], set(articles_of(mail.content))
            assert number not in got, "one run brings nobody two copies"
            assert number in active, "who has left gets nothing"
            assert content, "no mail is empty"
            assert content <= self.wanted(reader, reader.since, edition.cutoff)
            assert not content & reader.known, "it was sent before, and everybody knew"
            assert not content & (reader.taken - reader.doubted), "it was sent before, and nobody had a doubt"
            assert self.copies.setdefault((edition.id, number), mail.content) == mail.content
            self.seen["mails"] += 1
            self.seen["doubled articles"] += len(content & reader.taken)
            reader.taken |= content
            got.add(number)
        with reading(self.engine) as conn:
            rows = deliveries.list_deliveries(conn, edition.id)
        attempting = {row.subscriber_id for row in rows if row.state is S.ATTEMPTING}
        assert len(attempting) <= WINDOW
        assert not attempting or has_died or not got, "a run that ends has every answer on record"
        self.seen["runs"] += 1
        self.seen.update(f"{row.state} after a run" for row in rows)
        for row in rows:
            if row.state is S.SENT:
                assert (edition.id, row.subscriber_id) in self.copies, "nothing is sent that was not accepted"
                self.readers[row.subscriber_id].known |= self.content(row, edition)
        self.note_doubts()

    def note_doubts(self) -> None:
        with reading(self.engine) as conn:
            for edition in editions.list_editions(conn):
                for row in deliveries.list_deliveries(conn, edition.id, [S.ATTEMPTING, S.UNCERTAIN]):
                    self.readers[row.subscriber_id].doubted |= self.content(row, edition)

    # The model.

    def wanted(self, reader: Reader, after: int, cutoff: int) -> set[int]:
        """The articles in (after, cutoff] that a reader chose."""
        return {
            number
            for number, topics in self.articles.items()
            if after < number <= cutoff and (not reader.topics or reader.topics & topics)
        }

    def content(self, row: Delivery, edition: Edition) -> set[int]:
        """The articles of a copy."""
        return self.wanted(self.readers[row.subscriber_id], row.watermark, edition.cutoff)

    def list_editions(self, *states: EditionState) -> list[Edition]:
        with reading(self.engine) as conn:
            return editions.list_editions(conn, states=states)

    # The end.

    def bring_to_an_end(self) -> None:
        """Everything is sent that still can be; then each reader has everything that is for this reader."""
        self.relay.dice = None
        for _ in range(2):  # what was under way, and then what was published meanwhile
            self.finish()
            self.open()
        self.finish()
        settled = self.find_settled_in_doubt()
        for number, reader in self.readers.items():
            if reader.is_active:
                everything = self.wanted(reader, reader.since, len(self.articles))
                assert everything <= reader.taken | settled[number], (number, "nobody is passed over")

    def finish(self) -> None:
        self.clock.move(hours=3)
        for edition in self.list_editions(*set(EditionState) - {EditionState.SENT, EditionState.CANCELLED})[
            ::-1
        ]:
            if edition.state in STANDING and edition.reason != "undecided":
                STANDING[edition.state](self.inst, edition.id)
            if edition.reason != "undecided":
                self.run(edition)
            if edition.policy is UncertainPolicy.RESEND and retry_edition(
                self.inst, edition.id, {S.UNCERTAIN}
            ):
                self.run(edition)
            with reading(self.engine) as conn:
                open_rows = deliveries.list_deliveries(conn, edition.id, OPEN)
            assert {row.state for row in open_rows} <= {S.UNCERTAIN}

    def find_settled_in_doubt(self) -> dict[int, set[int]]:
        """The articles of copies that were uncertain and whose end is on record: at most once was asked for,
        the operator cancelled the edition, or a later attempt failed for good. Superseded ones are not among
        them, since these are said to come with another edition.
        """
        found: dict[int, set[int]] = defaultdict(set)
        with reading(self.engine) as conn:
            for edition in editions.list_editions(conn):
                for row in deliveries.list_deliveries(conn, edition.id, [S.UNCERTAIN, S.FAILED, S.SKIPPED]):
                    is_open = row.state is S.UNCERTAIN and edition.state is not EditionState.CANCELLED
                    if row.reply.startswith("superseded"):
                        continue
                    if is_open and edition.policy is UncertainPolicy.RESEND:
                        continue
                    doubted = self.readers[row.subscriber_id].doubted
                    found[row.subscriber_id] |= self.content(row, edition) & doubted
        return found


def empty(conn: Any) -> None:
    """Makes the database as it was when it was new; one engine for all examples knows its statements."""
    for metadata in (tables.metadata, subscribers.tables.metadata):
        for table in reversed(metadata.sorted_tables):
            if table is not tables.counter:
                conn.execute(table.delete())
    conn.execute(tables.counter.update().values(value=0))
    conn.execute(text("DELETE FROM sqlite_sequence"))


def run_machine(engine: Engine, folder: Path, *, sequences: int) -> Counter[str]:
    """Runs so many sequences on SQLite, and tells what happened in them; the first one that breaks a promise
    is shown, made small.
    """
    # What power cuts do to SQLite is no part of this: a sequence is to be quick.
    event.listen(engine, "connect", lambda conn, _entry: conn.execute("PRAGMA synchronous=OFF"))
    with ExitStack() as stack:
        relay = stack.enter_context(relay_in_thread(server=CapriciousServer()))
        assert isinstance(relay, CapriciousServer)
        bench = Bench(engine, folder, relay, Mortality(engine))
        # Half of what opening an edition costs, and no part of this.
        stack.enter_context(mock.patch("syndicate.digest.compile.inline_css", lambda html, **_: html))
        run_state_machine_as_test(
            lambda: SendingMachine(bench),  # type: ignore[arg-type]  # it calls it, as it would the class
            settings=settings(
                max_examples=sequences,
                stateful_step_count=20,
                deadline=None,
                database=None,
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
            ),
        )
    return bench.seen


def main() -> None:
    """Fails if a promise was not kept."""
    parser = argparse.ArgumentParser(description="Sequences of whatever may happen to an edition.")
    parser.add_argument("--sequences", type=int, default=2_000)
    given = parser.parse_args()
    began_s = time.monotonic()
    with open_database("sqlite") as database:
        seen = run_machine(database.engine, database.folder, sequences=given.sequences)
    sys.stdout.write(f"sqlite, {time.monotonic() - began_s:.0f} s: {dict(sorted(seen.items()))}\n")


if __name__ == "__main__":
    main()
