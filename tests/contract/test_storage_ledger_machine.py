"""The ledger against a model of Python sets: whatever crashes in between and however many senders share an
edition, nobody is passed over, and nobody gets an article twice unless nobody could know whether the first
copy had arrived.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection, Engine, select, text

import subscribers.tables
from subscribers import store, suppression
from subscribers.model import SubscriptionStatus, SuppressionReason
from syndicate.model import Delivery, DeliveryState, Edition, EditionState, UncertainPolicy, slugify
from syndicate.storage import deliveries, editions, shards, tables
from syndicate.storage.engine import open_engine, reading, writing
from syndicate.storage.shards import Shard
from tests.builders import (
    add_article,
    add_newsletter,
    add_reader,
    add_source,
    make_outcome,
    mark_shard,
    open_edition,
    states_of,
)

S = DeliveryState
SHARD_SIZE = 2
LIMIT = 2
LEASE_S = 15.0
TOPICS = ("Coast", "Craft")
FINAL = {S.SENT, S.SKIPPED}
OPEN = {S.PENDING, S.ATTEMPTING, S.DEFERRED, S.UNCERTAIN}

STEPS = ["publish"] * 2 + ["send"] * 6 + ["operate"] * 2 + ["live"] * 2 + ["wake up late"]
STANDING = {EditionState.PAUSED, EditionState.HELD}

#: What can become of an attempt: what is recorded, and whether the relay took the message.
ANSWERS = [
    (S.SENT, True),
    (S.DEFERRED, False),
    (S.FAILED, False),
    (S.PENDING, False),
    (S.UNCERTAIN, False),
    (S.UNCERTAIN, True),
]


class NothingNew(Exception):
    """Takes an opening back, as the service does."""


@dataclass
class Reader:
    """What the model knows of a reader; numbers are sequences."""

    topics: frozenset[str]
    since: int  #: articles after this one are for this reader
    is_active: bool = True
    known: set[int] = field(default_factory=set)  #: articles whose copy was recorded as sent
    accepted: set[int] = field(default_factory=set)  #: articles that the relay took, recorded or not
    doubted: set[int] = field(default_factory=set)  #: articles of copies that were uncertain at some time


@dataclass
class Sender:
    """A process that has, or had, a shard of an edition."""

    held: Shard
    window: list[Delivery] = field(default_factory=list)

    @property
    def edition_id(self) -> int:
        return self.held.edition_id

    @property
    def key(self) -> tuple[int, int]:
        return self.held.edition_id, self.held.number


def empty(conn: Connection) -> None:
    """Makes the database as it was when it was new; one engine for all examples knows its statements."""
    for metadata in (tables.metadata, subscribers.tables.metadata):
        for table in reversed(metadata.sorted_tables):
            if table is not tables.counter:
                conn.execute(table.delete())
    conn.execute(tables.counter.update().values(value=0))
    conn.execute(text("DELETE FROM sqlite_sequence"))


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine
        self.now = datetime(2026, 3, 14, 9, 26, tzinfo=UTC)
        self.articles: dict[int, frozenset[str]] = {}
        self.readers: dict[int, Reader] = {}
        self.frozen: dict[int, set[int]] = {}
        self.senders: dict[tuple[int, int], Sender] = {}  #: by edition and shard
        self.given_up: set[int] = set()  #: editions whose lifetime is over
        self.dead: list[Sender] = []
        self.last_states: dict[int, dict[int, DeliveryState]] = defaultdict(dict)
        self.last_watermarks: dict[int, int] = {}
        with writing(self.engine) as conn:
            empty(conn)
            self.source_id = add_source(conn, self.now).id
            self.newsletter_id = add_newsletter(conn, self.now, draws_from=[self.source_id]).id

    def teardown(self) -> None:
        self.bring_to_an_end()

    # One rule, so that every example has all that can happen, and often what makes a ledger interesting.

    @rule(data=st.data(), what=st.sampled_from(STEPS))
    def step(self, data: st.DataObject, what: str) -> None:
        match what:
            case "publish":
                self.publish(data)
            case "send":
                self.send(data)
            case "operate" if self.frozen:
                self.operate(data)
            case "wake up late" if self.dead:
                self.wake_up_late(self.dead.pop(), data.draw(st.sampled_from([S.SENT, S.FAILED, S.PENDING])))
            case _:
                self.live(data)

    # The world changes.

    @initialize(readers=st.integers(2, 4))
    def begin_with_readers(self, readers: int) -> None:
        for n in range(readers):
            self.subscribe({TOPICS[n]} if n < len(TOPICS) else set(), since=0)

    def publish(self, data: st.DataObject) -> None:
        """An article comes, and an edition opens."""
        tags = data.draw(st.sampled_from([(), (), TOPICS[:1], TOPICS[1:], TOPICS]))
        state = data.draw(st.sampled_from([EditionState.SENDING] * 4 + [EditionState.HELD]))
        with writing(self.engine) as conn:
            add_article(conn, self.source_id, self.now, tags=tags)
        self.articles[len(self.articles) + 1] = frozenset(slugify(tag) for tag in tags)
        self.open(data.draw(st.sampled_from(UncertainPolicy)), state)

    def live(self, data: st.DataObject) -> None:
        """Time goes by, and readers come and go."""
        event = data.draw(st.sampled_from(["wait"] * 6 + ["join", "leave", "be suppressed"]))
        active = [n for n, reader in self.readers.items() if reader.is_active]
        match event:
            case "wait":
                self.wait(data.draw(st.sampled_from([1, 20, 90])))
            case "join" if len(self.readers) < 6:
                topics = data.draw(st.sets(st.sampled_from(TOPICS)))
                self.subscribe(topics, since=data.draw(st.sampled_from([0, len(self.articles)])))
            case "leave" | "be suppressed" if len(active) > 1:
                self.leave(data.draw(st.sampled_from(active)), by_suppression=event != "leave")

    def subscribe(self, topics: set[str], *, since: int) -> None:
        slugs = frozenset(slugify(topic) for topic in topics)
        with writing(self.engine) as conn:
            reader = add_reader(
                conn,
                self.newsletter_id,
                self.now,
                f"r{len(self.readers)}",
                topics=sorted(slugs),
                watermark=since,
            )
        assert reader.id == reader.subscriber_id
        self.readers[reader.id] = Reader(topics=slugs, since=since)

    def leave(self, reader: int, *, by_suppression: bool) -> None:
        with writing(self.engine) as conn:
            if by_suppression:
                key = f"r{reader - 1}@example.com"
                suppression.suppress(conn, key, reason=SuppressionReason.COMPLAINT, now=self.now, evidence="")
            else:
                store.set_status(conn, reader, SubscriptionStatus.UNSUBSCRIBED)
        self.readers[reader].is_active = False

    def wait(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)
        with writing(self.engine) as conn:
            for sender in self.senders.values():  # whoever lives renews the lease all the while
                shards.renew_shard(conn, sender.held, now=self.now, lease_s=LEASE_S)

    def open(self, policy: UncertainPolicy, state: EditionState) -> None:
        try:
            with writing(self.engine) as conn:
                edition = open_edition(
                    conn,
                    self.newsletter_id,
                    self.now,
                    slot=f"slot-{len(self.frozen)}",
                    state=state,
                    policy=policy,
                )
                audience = set(states_of(conn, edition))
                assert audience == self.expected_audience(conn, edition)
                if not audience:
                    raise NothingNew  # noqa: TRY301 - the transaction must not be committed
        except NothingNew:
            return
        self.frozen[edition.id] = audience

    def expected_audience(self, conn: Connection, opened: Edition) -> set[int]:
        """Who is in an edition, worked out reader by reader."""
        served = {n: store.get_subscription(conn, n).watermark for n in self.readers}
        under_way: dict[int, int] = {}  # the highest cutoff
        for edition in editions.list_editions(conn):
            for reader, state in states_of(conn, edition).items():
                if edition.id == opened.id or state not in OPEN:
                    continue
                if state is not S.UNCERTAIN:
                    under_way[reader] = max(under_way.get(reader, 0), edition.cutoff)
                elif edition.policy is UncertainPolicy.HOLD or edition.state in STANDING:
                    served[reader] = max(served[reader], edition.cutoff)
                elif edition.state is not EditionState.CANCELLED:
                    under_way[reader] = max(under_way.get(reader, 0), edition.cutoff)
        return {
            n
            for n, reader in self.readers.items()
            if reader.is_active
            and under_way.get(n, 0) <= served[n]
            and self.wanted(reader, served[n], opened.cutoff)
        }

    def wanted(self, reader: Reader, after: int, cutoff: int) -> set[int]:
        """The articles in (after, cutoff] that a reader chose."""
        return {
            sequence
            for sequence, topics in self.articles.items()
            if after < sequence <= cutoff and (not reader.topics or reader.topics & topics)
        }

    def operate(self, data: st.DataObject) -> None:
        """The operator does something to an edition; mostly to one where it has consequences."""
        what = data.draw(st.sampled_from(["retry"] * 3 + ["pause", "resume", "resume", "cancel", "give up"]))
        with writing(self.engine) as conn:
            found = {edition.id: edition.state for edition in editions.list_editions(conn)}
            sensible = {
                "retry": [n for n in found if {S.FAILED, S.UNCERTAIN} & set(self.last_states[n].values())],
                "resume": [n for n, state in found.items() if state in STANDING],
                "cancel": [sender.edition_id for sender in self.busy()],
                "pause": [sender.edition_id for sender in self.busy()],
            }
            edition_id = data.draw(st.sampled_from(sensible.get(what) or list(found)))
            state = found[edition_id]
            match what:
                case "retry" if state is not EditionState.CANCELLED:
                    deliveries.retry(conn, edition_id, {S.FAILED, S.UNCERTAIN})
                    shards.wake_shards(conn, edition_id, now=self.now)
                case "pause" if state is EditionState.SENDING:
                    editions.change_edition_state(conn, edition_id, EditionState.PAUSED, now=self.now)
                case "resume" if state in STANDING:
                    editions.change_edition_state(conn, edition_id, EditionState.SENDING, now=self.now)
                case "cancel" if state is not EditionState.CANCELLED:
                    editions.change_edition_state(conn, edition_id, EditionState.CANCELLED, now=self.now)
                    deliveries.cancel_open(conn, edition_id)
                case "give up":
                    self.given_up.add(edition_id)

    def busy(self) -> list[Sender]:
        return [sender for sender in self.senders.values() if sender.window]

    # Senders.

    def send(self, data: st.DataObject) -> None:
        """A sender of an edition that is to be sent marks a window if it has none, and meets its fate."""
        with reading(self.engine) as conn:
            ready = [
                edition.id
                for edition in editions.list_editions(conn, states=[EditionState.SENDING])
                if OPEN & set(states_of(conn, edition).values())
            ]
        if not ready:
            self.publish(data)
            return
        edition_id = data.draw(st.sampled_from(ready))
        there = [sender for sender in self.senders.values() if sender.edition_id == edition_id]
        sender = data.draw(st.sampled_from([None, *there])) or self.begin(edition_id)
        if sender is None:
            self.wait(1)
            return
        if not sender.window:
            self.mark_window(sender, data.draw(st.integers(1, LIMIT)))
        if not sender.window:
            self.stop(sender)
            return
        fate = data.draw(st.sampled_from(["answer", "answer", "answer", "die", "go on", "stop"]))
        if fate in {"answer", "stop"}:
            self.record(sender, [data.draw(st.sampled_from(ANSWERS)) for _ in sender.window])
        if fate == "stop":
            self.stop(sender)
        if fate == "die":
            self.die(sender, [data.draw(st.booleans()) for _ in sender.window])

    def begin(self, edition_id: int) -> Sender | None:
        with writing(self.engine) as conn:
            edition = editions.get_edition(conn, edition_id)
            if edition.state is not EditionState.SENDING:
                return None
            is_due = shards.has_due_shard(conn, edition_id, now=self.now)
            held = shards.lease_shard(conn, edition_id, owner="sender", now=self.now, lease_s=LEASE_S)
            assert is_due == (held is not None)
            if held is None:
                return None
            deliveries.recover_attempts(conn, held)
            if edition.policy is UncertainPolicy.RESEND:
                deliveries.resend_uncertain(conn, held, now=self.now)
            if edition_id in self.given_up:
                deliveries.expire_deferred(conn, held)
        sender = Sender(held)
        assert sender.key not in self.senders, "nobody takes over from a sender that lives"
        self.senders[sender.key] = sender
        return sender

    def mark_window(self, sender: Sender, limit: int) -> None:
        with writing(self.engine) as conn:
            state = shards.hold_shard(conn, sender.held)
            assert state is not None, "nobody takes over from a sender that lives"
            if state is not EditionState.SENDING:
                return
            marked = mark_shard(conn, sender.held, self.now, limit=limit)
            rows = deliveries.list_deliveries(conn, sender.edition_id, [S.ATTEMPTING])
            sender.window = [row for row in rows if row.subscriber_id in marked]
        assert len(sender.window) <= limit
        for row in sender.window:
            assert self.readers[row.subscriber_id].is_active, "the mark has the last word"

    def record(self, sender: Sender, answers: Sequence[tuple[DeliveryState, bool]]) -> None:
        due_at = self.now + timedelta(minutes=5)
        with writing(self.engine) as conn:
            cutoff = editions.get_edition(conn, sender.edition_id).cutoff
            written = deliveries.record_outcomes(
                conn,
                sender.edition_id,
                [
                    make_outcome(
                        row.subscriber_id,
                        state,
                        next_attempt_at=due_at if state in {S.DEFERRED, S.UNCERTAIN} else None,
                    )
                    for row, (state, _) in zip(sender.window, answers, strict=True)
                ],
                fence=sender.held.fence,
                cutoff=cutoff,
            )
        assert written == len(sender.window), "a sender that lives records every answer"
        for row, (state, was_taken) in zip(sender.window, answers, strict=True):
            if state is S.UNCERTAIN:
                self.doubt(row, cutoff)
            if was_taken:
                self.deliver(row, cutoff, is_known=state is S.SENT)
        sender.window = []

    def deliver(self, row: Delivery, cutoff: int, *, is_known: bool) -> None:
        """The relay takes a copy, with the articles that its row says."""
        reader = self.readers[row.subscriber_id]
        content = self.wanted(reader, row.watermark, cutoff)
        assert content, "no mail is empty"
        assert row.topics == tuple(sorted(reader.topics))
        assert not content & reader.known, "it was sent before, and everybody knew"
        reader.accepted |= content
        if is_known:
            reader.known |= content

    def doubt(self, row: Delivery, cutoff: int) -> None:
        reader = self.readers[row.subscriber_id]
        reader.doubted |= self.wanted(reader, row.watermark, cutoff)

    def die(self, sender: Sender, was_taken: Sequence[bool]) -> None:
        """The process ends; of its window the relay took some."""
        self.dead.append(self.senders.pop(sender.key))
        with reading(self.engine) as conn:
            cutoff = editions.get_edition(conn, sender.edition_id).cutoff
        for row, taken in zip(sender.window, was_taken, strict=True):
            self.doubt(row, cutoff)
            if taken:
                self.deliver(row, cutoff, is_known=False)

    def stop(self, sender: Sender) -> None:
        """The process gives its shard back, which may have readers left."""
        with writing(self.engine) as conn:
            resends = editions.get_edition(conn, sender.edition_id).policy is UncertainPolicy.RESEND
            assert shards.hold_shard(conn, sender.held) is not None
            due_at = deliveries.find_due(conn, sender.held, now=self.now, resends=resends)
            shards.release_shard(conn, sender.held, due_at=due_at)
        del self.senders[sender.key]

    def wake_up_late(self, sender: Sender, state: DeliveryState) -> None:
        """A sender that was thought dead records its answers after another has taken over."""
        with writing(self.engine) as conn:
            if shards.hold_shard(conn, sender.held) is not None:
                return
            before = deliveries.list_deliveries(conn, sender.edition_id)
            outcomes = [make_outcome(row.subscriber_id, state) for row in sender.window]
            written = deliveries.record_outcomes(
                conn, sender.edition_id, outcomes, fence=sender.held.fence, cutoff=10**6
            )
            assert written == 0
            assert deliveries.list_deliveries(conn, sender.edition_id) == before

    # What always holds.

    @invariant()
    def the_ledger_is_in_order(self) -> None:
        with reading(self.engine) as conn:
            for edition in editions.list_editions(conn):
                self.check_edition(conn, edition)
            watermarks = {n: store.get_subscription(conn, n).watermark for n in self.readers}
        assert all(watermarks[n] >= last for n, last in self.last_watermarks.items())
        self.last_watermarks = watermarks

    def check_edition(self, conn: Connection, edition: Edition) -> None:
        states = states_of(conn, edition)
        assert set(states) == self.frozen[edition.id], "every frozen reader has a row"
        for reader, was in self.last_states[edition.id].items():
            assert was not in FINAL or states[reader] is was, "what is final stays"
        self.last_states[edition.id] = states
        for row in conn.execute(select(tables.shard).where(tables.shard.c.edition_id == edition.id)):
            within = {n: state for n, state in states.items() if row.first_id <= n <= row.last_id}
            assert len(within) <= SHARD_SIZE
            sender = self.senders.get((edition.id, row.number))
            if sender is not None:
                attempted = {n for n, state in within.items() if state is S.ATTEMPTING}
                assert attempted == {each.subscriber_id for each in sender.window}
        self.check_that_nobody_is_forgotten(conn, edition)

    def check_that_nobody_is_forgotten(self, conn: Connection, edition: Edition) -> None:
        """Whoever is to be attempted by itself is in a shard that comes up in time."""
        due = list(conn.execute(select(tables.shard).where(tables.shard.c.edition_id == edition.id)))
        resends = edition.policy is UncertainPolicy.RESEND
        for row in deliveries.list_deliveries(conn, edition.id, OPEN):
            if row.state is S.UNCERTAIN and not (resends and row.attempts < 3):
                continue
            turn_at = max(row.next_attempt_at or self.now, self.now)
            (own,) = [each for each in due if each.first_id <= row.subscriber_id <= each.last_id]
            assert own.due_at is not None, row
            assert own.due_at <= turn_at, row

    # The end.

    def bring_to_an_end(self) -> None:
        """Everything is sent that still can be; then each reader has everything that is for this reader."""
        for sender in list(self.senders.values()):
            self.record(sender, [(S.SENT, True)] * len(sender.window))
            self.stop(sender)
        self.now += timedelta(hours=3)
        for _ in range(2):  # what was under way, and then what was published meanwhile
            for edition_id in sorted(self.frozen):
                self.finish(edition_id)
            if self.articles:
                self.open(UncertainPolicy.RESEND, EditionState.SENDING)
        for edition_id in sorted(self.frozen):
            self.finish(edition_id)
        with reading(self.engine) as conn:
            settled = self.find_settled_in_doubt(conn)
        for n, reader in self.readers.items():
            if reader.is_active:
                everything = self.wanted(reader, reader.since, len(self.articles))
                assert everything <= reader.accepted | settled[n], "nobody is passed over"

    def finish(self, edition_id: int) -> None:
        with writing(self.engine) as conn:
            edition = editions.get_edition(conn, edition_id)
            if edition.state is EditionState.CANCELLED or not OPEN & set(states_of(conn, edition).values()):
                return
            if edition.state is not EditionState.SENDING:
                editions.change_edition_state(conn, edition_id, EditionState.SENDING, now=self.now)
        self.send_all(edition_id)
        if edition.policy is UncertainPolicy.RESEND:
            with writing(self.engine) as conn:
                deliveries.retry(conn, edition_id, {S.UNCERTAIN})
                shards.wake_shards(conn, edition_id, now=self.now)
            self.send_all(edition_id)
        with reading(self.engine) as conn:
            assert set(states_of(conn, edition).values()) & OPEN <= {S.UNCERTAIN}

    def send_all(self, edition_id: int) -> None:
        while sender := self.begin(edition_id):
            self.mark_window(sender, LIMIT)
            while sender.window:
                self.record(sender, [(S.SENT, True)] * len(sender.window))
                self.mark_window(sender, LIMIT)
            self.stop(sender)

    def find_settled_in_doubt(self, conn: Connection) -> dict[int, set[int]]:
        """The articles of copies that were uncertain and whose end is on record: at most once was asked for,
        the operator cancelled the edition, or a later attempt failed for good. Superseded ones are not among
        them, since these are said to come with another edition.
        """
        found: dict[int, set[int]] = defaultdict(set)
        for edition in editions.list_editions(conn):
            for row in deliveries.list_deliveries(conn, edition.id, [S.UNCERTAIN, S.FAILED, S.SKIPPED]):
                is_open = row.state is S.UNCERTAIN and edition.state is not EditionState.CANCELLED
                if row.reply.startswith("superseded") or (
                    is_open and edition.policy is UncertainPolicy.RESEND
                ):
                    continue
                reader = self.readers[row.subscriber_id]
                content = self.wanted(reader, row.watermark, edition.cutoff)
                found[row.subscriber_id] |= content & reader.doubted
        return found


def test_the_ledger_keeps_its_promise_whatever_happens(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_SIZE", SHARD_SIZE)
    engine = open_engine(sqlite_url)
    run_state_machine_as_test(
        lambda: LedgerMachine(engine),
        settings=settings(
            max_examples=50,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
    engine.dispose()
