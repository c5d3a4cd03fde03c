"""The ledger against a model of Python sets: whatever crashes in between, nobody is passed over, and nobody
gets an article twice unless nobody could know whether the first copy had arrived.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection

from subscribers import store, suppression
from subscribers.model import SubscriptionStatus, SuppressionReason
from syndicate.model import Delivery, DeliveryState, Edition, EditionState, UncertainPolicy, slugify
from syndicate.storage import deliveries, editions
from syndicate.storage.engine import open_engine, reading, writing
from tests.builders import (
    add_article,
    add_newsletter,
    add_reader,
    add_source,
    make_outcome,
    open_edition,
    states_of,
)

S = DeliveryState
LIMIT = 3
LEASE_S = 15.0
TOPICS = ("Coast", "Craft")
FINAL = {S.SENT, S.SKIPPED}
OPEN = {S.PENDING, S.ATTEMPTING, S.DEFERRED, S.UNCERTAIN}

#: What can become of an attempt: what is recorded, and whether the relay took the message.
OUTCOMES = [
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


@dataclass
class Sender:
    """A process that has, or had, the lease of an edition."""

    edition_id: int
    fence: int
    window: list[Delivery] = field(default_factory=list)


class LedgerMachine(RuleBasedStateMachine):
    dead: Bundle[Sender] = Bundle("dead")

    def __init__(self, template: Path) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="syndicate-ledger-"))
        shutil.copyfile(template, self.folder / "ledger.db")
        self.engine = open_engine(f"sqlite:///{self.folder}/ledger.db")
        self.now = datetime(2026, 3, 14, 9, 26, tzinfo=UTC)
        self.articles: dict[int, frozenset[str]] = {}
        self.readers: dict[int, Reader] = {}
        self.frozen: dict[int, set[int]] = {}
        self.senders: dict[int, Sender] = {}
        self.last_states: dict[int, dict[int, DeliveryState]] = defaultdict(dict)
        self.last_watermarks: dict[int, int] = {}
        with writing(self.engine) as conn:
            self.source_id = add_source(conn, self.now).id
            self.newsletter_id = add_newsletter(conn, self.now, draws_from=[self.source_id]).id

    def teardown(self) -> None:
        try:
            self.bring_to_an_end()
        finally:
            self.engine.dispose()
            shutil.rmtree(self.folder)

    # The world changes.

    @initialize(readers=st.integers(1, 3), articles=st.integers(1, 2))
    def begin_with(self, readers: int, articles: int) -> None:
        for _ in range(articles):
            self.publish(set())
        for n in range(readers):
            self.subscribe({TOPICS[n]} if n < len(TOPICS) else set(), gets_all=True)

    @rule(tags=st.sets(st.sampled_from(TOPICS)))
    def publish(self, tags: set[str]) -> None:
        with writing(self.engine) as conn:
            add_article(conn, self.source_id, self.now, tags=tuple(sorted(tags)))
        self.articles[len(self.articles) + 1] = frozenset(slugify(tag) for tag in tags)

    @precondition(lambda self: len(self.readers) < 6)
    @rule(topics=st.sets(st.sampled_from(TOPICS)), gets_all=st.booleans())
    def subscribe(self, topics: set[str], gets_all: bool) -> None:  # noqa: FBT001 - hypothesis names it
        since = 0 if gets_all else len(self.articles)
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

    @precondition(lambda self: any(r.is_active for r in self.readers.values()))
    @rule(data=st.data(), by_suppression=st.booleans())
    def leave(self, data: st.DataObject, by_suppression: bool) -> None:  # noqa: FBT001 - the same
        reader = data.draw(st.sampled_from([n for n, r in self.readers.items() if r.is_active]))
        with writing(self.engine) as conn:
            if by_suppression:
                key = f"r{reader - 1}@example.com"
                suppression.suppress(conn, key, reason=SuppressionReason.COMPLAINT, now=self.now, evidence="")
            else:
                store.set_status(conn, reader, SubscriptionStatus.UNSUBSCRIBED)
        self.readers[reader].is_active = False

    @rule(minutes=st.sampled_from([1, 20, 90]))
    def wait(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)
        with writing(self.engine) as conn:
            for sender in self.senders.values():  # whoever lives renews the lease all the while
                editions.renew_lease(
                    conn, sender.edition_id, fence=sender.fence, now=self.now, lease_s=LEASE_S
                )

    # Editions.

    @precondition(lambda self: self.articles and self.readers)
    @rule(policy=st.sampled_from(UncertainPolicy), is_held=st.booleans())
    def open(self, policy: UncertainPolicy, is_held: bool) -> None:  # noqa: FBT001 - the same
        state = EditionState.HELD if is_held else EditionState.SENDING
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
        under_way = set()
        for edition in editions.list_editions(conn):
            if edition.id == opened.id:
                continue
            is_over = edition.state is EditionState.CANCELLED
            is_standing = edition.state in {EditionState.PAUSED, EditionState.HELD}
            for reader, state in states_of(conn, edition).items():
                if state is S.UNCERTAIN and (edition.policy is UncertainPolicy.HOLD or is_standing):
                    served[reader] = max(served[reader], edition.cutoff)
                elif state in OPEN and not (state is S.UNCERTAIN and is_over):
                    under_way.add(reader)
        return {
            n
            for n, reader in self.readers.items()
            if reader.is_active and n not in under_way and self.wanted(reader, served[n], opened.cutoff)
        }

    def wanted(self, reader: Reader, after: int, cutoff: int) -> set[int]:
        """The articles in (after, cutoff] that a reader chose."""
        return {
            sequence
            for sequence, topics in self.articles.items()
            if after < sequence <= cutoff and (not reader.topics or reader.topics & topics)
        }

    @precondition(lambda self: self.frozen)
    @rule(data=st.data(), state=st.sampled_from([EditionState.PAUSED, EditionState.SENDING]))
    def pause_or_resume(self, data: st.DataObject, state: EditionState) -> None:
        edition_id = data.draw(st.sampled_from(sorted(self.frozen)))
        with writing(self.engine) as conn:
            standing = {EditionState.PAUSED, EditionState.HELD}
            allowed = {EditionState.SENDING} if state is EditionState.PAUSED else standing
            if editions.get_edition(conn, edition_id).state in allowed:
                editions.change_edition_state(conn, edition_id, state, now=self.now)

    @precondition(lambda self: self.frozen)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        edition_id = data.draw(st.sampled_from(sorted(self.frozen)))
        with writing(self.engine) as conn:
            if editions.get_edition(conn, edition_id).state is not EditionState.CANCELLED:
                editions.change_edition_state(conn, edition_id, EditionState.CANCELLED, now=self.now)
                deliveries.cancel_open(conn, edition_id)

    @precondition(lambda self: self.frozen)
    @rule(data=st.data(), states=st.sets(st.sampled_from(S)))
    def retry(self, data: st.DataObject, states: set[DeliveryState]) -> None:
        edition_id = data.draw(st.sampled_from(sorted(self.frozen)))
        with writing(self.engine) as conn:
            if editions.get_edition(conn, edition_id).state is not EditionState.CANCELLED:
                deliveries.retry(conn, edition_id, states)

    @precondition(lambda self: self.frozen)
    @rule(data=st.data())
    def give_up_deferred(self, data: st.DataObject) -> None:
        edition_id = data.draw(st.sampled_from(sorted(self.frozen)))
        with writing(self.engine) as conn:
            deliveries.expire_deferred(conn, edition_id, opened_before=self.now - timedelta(hours=1))

    # Senders.

    def begin(self, conn: Connection, edition_id: int) -> Sender | None:
        is_free = editions.is_lease_free(conn, edition_id, now=self.now)
        fence = editions.take_lease(conn, edition_id, owner="sender", now=self.now, lease_s=LEASE_S)
        assert is_free == (fence is not None)
        if fence is None:
            return None
        deliveries.recover_attempts(conn, edition_id, fence=fence)
        if editions.get_edition(conn, edition_id).policy is UncertainPolicy.RESEND:
            deliveries.resend_uncertain(conn, edition_id, now=self.now)
        self.senders[edition_id] = Sender(edition_id, fence)
        return self.senders[edition_id]

    @precondition(lambda self: len(self.busy()) < len(self.frozen))
    @rule(data=st.data(), limit=st.integers(1, LIMIT))
    def mark(self, data: st.DataObject, limit: int) -> None:
        """The next window of a sender, which begins its work if there was none."""
        ready = sorted(set(self.frozen) - {sender.edition_id for sender in self.busy()})
        edition_id = data.draw(st.sampled_from(ready))
        sender = self.senders.get(edition_id)
        if sender is None:
            with writing(self.engine) as conn:
                if editions.get_edition(conn, edition_id).state is EditionState.SENDING:
                    sender = self.begin(conn, edition_id)
        if sender is not None:
            self.mark_window(sender, limit)

    def mark_window(self, sender: Sender, limit: int) -> None:
        with writing(self.engine) as conn:
            state = editions.renew_lease(
                conn, sender.edition_id, fence=sender.fence, now=self.now, lease_s=LEASE_S
            )
            assert state is not None, "nobody takes over from a sender that lives"
            if state is not EditionState.SENDING:
                return
            sender.window = deliveries.mark_window(
                conn, sender.edition_id, fence=sender.fence, limit=limit, now=self.now
            )
        assert len(sender.window) <= limit
        for row in sender.window:
            assert self.readers[row.subscriber_id].is_active, "the mark has the last word"

    @precondition(lambda self: self.busy())
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        sender = data.draw(st.sampled_from(self.busy()))
        outcomes = [data.draw(st.sampled_from(OUTCOMES)) for _ in sender.window]
        self.record(sender, outcomes)

    def record(self, sender: Sender, outcomes: Sequence[tuple[DeliveryState, bool]]) -> None:
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
                    for row, (state, _) in zip(sender.window, outcomes, strict=True)
                ],
                fence=sender.fence,
                cutoff=cutoff,
            )
        assert written == len(sender.window), "a sender that lives records every answer"
        for row, (state, was_taken) in zip(sender.window, outcomes, strict=True):
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

    @precondition(lambda self: self.senders)
    @rule(target=dead, data=st.data())
    def die(self, data: st.DataObject) -> Sender:
        sender = self.senders.pop(data.draw(st.sampled_from(sorted(self.senders))))
        with reading(self.engine) as conn:
            cutoff = editions.get_edition(conn, sender.edition_id).cutoff
        for row in sender.window:
            if data.draw(st.booleans()):
                self.deliver(row, cutoff, is_known=False)
        return sender

    @precondition(lambda self: self.idle())
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        sender = data.draw(st.sampled_from(self.idle()))
        with writing(self.engine) as conn:
            editions.release_lease(conn, sender.edition_id, fence=sender.fence)
        del self.senders[sender.edition_id]

    @rule(sender=consumes(dead), state=st.sampled_from([S.SENT, S.FAILED, S.PENDING]))
    def wake_up_late(self, sender: Sender, state: DeliveryState) -> None:
        """A sender that was thought dead records its answers after another has taken over."""
        with writing(self.engine) as conn:
            if editions.get_edition(conn, sender.edition_id).fence == sender.fence:
                return
            before = deliveries.list_deliveries(conn, sender.edition_id)
            outcomes = [make_outcome(row.subscriber_id, state) for row in sender.window]
            written = deliveries.record_outcomes(
                conn, sender.edition_id, outcomes, fence=sender.fence, cutoff=10**6
            )
            assert written == 0
            assert deliveries.list_deliveries(conn, sender.edition_id) == before

    def idle(self) -> list[Sender]:
        return [sender for sender in self.senders.values() if not sender.window]

    def busy(self) -> list[Sender]:
        return [sender for sender in self.senders.values() if sender.window]

    # What always holds.

    @invariant()
    def every_frozen_reader_has_a_row_and_what_is_final_stays(self) -> None:
        with reading(self.engine) as conn:
            for edition in editions.list_editions(conn):
                states = states_of(conn, edition)
                assert set(states) == self.frozen[edition.id]
                assert sum(deliveries.count_states(conn, edition.id).values()) == len(states)
                for reader, was in self.last_states[edition.id].items():
                    assert was not in FINAL or states[reader] is was
                self.last_states[edition.id] = states

    @invariant()
    def what_is_being_attempted_never_exceeds_the_windows(self) -> None:
        with reading(self.engine) as conn:
            for edition_id in self.frozen:
                rows = deliveries.list_deliveries(conn, edition_id, [S.ATTEMPTING])
                assert len(rows) <= LIMIT
                sender = self.senders.get(edition_id)
                if sender is not None:
                    assert [row.subscriber_id for row in rows] == [r.subscriber_id for r in sender.window]

    @invariant()
    def watermarks_only_grow(self) -> None:
        with reading(self.engine) as conn:
            found = {n: store.get_subscription(conn, n).watermark for n in self.readers}
        assert all(found[n] >= last for n, last in self.last_watermarks.items())
        self.last_watermarks = found

    # The end.

    def bring_to_an_end(self) -> None:
        """Everything is sent that still can be; then each reader has everything that is for this reader."""
        for sender in self.busy():
            self.record(sender, [(S.SENT, True)] * len(sender.window))
        self.now += timedelta(hours=3)
        self.senders.clear()
        for _ in range(2):  # what was under way, and then what was published meanwhile
            for edition_id in sorted(self.frozen):
                self.finish(edition_id)
            if self.articles and self.readers:
                self.open(UncertainPolicy.RESEND, is_held=False)
        for edition_id in sorted(self.frozen):
            self.finish(edition_id)
        with reading(self.engine) as conn:
            undecided = self.find_undecided(conn)
        for n, reader in self.readers.items():
            if reader.is_active:
                everything = self.wanted(reader, reader.since, len(self.articles))
                assert everything <= reader.accepted | undecided[n], "nobody is passed over"

    def finish(self, edition_id: int) -> None:
        with writing(self.engine) as conn:
            edition = editions.get_edition(conn, edition_id)
            if edition.state is EditionState.CANCELLED:
                return
            if edition.state is not EditionState.SENDING:
                editions.change_edition_state(conn, edition_id, EditionState.SENDING, now=self.now)
            sender = self.begin(conn, edition_id)
            assert sender is not None, "whoever had it is gone by now"
            if edition.policy is UncertainPolicy.RESEND:
                deliveries.retry(conn, edition_id, {S.UNCERTAIN})
        while True:
            self.mark_window(sender, LIMIT)
            if not sender.window:
                break
            self.record(sender, [(S.SENT, True)] * len(sender.window))
        with writing(self.engine) as conn:
            editions.release_lease(conn, edition_id, fence=sender.fence)
            assert set(states_of(conn, edition).values()) & OPEN <= {S.UNCERTAIN}
        del self.senders[edition_id]

    def find_undecided(self, conn: Connection) -> dict[int, set[int]]:
        """The articles of copies that stay uncertain: under ``hold``, or since the edition was cancelled."""
        found: dict[int, set[int]] = defaultdict(set)
        for edition in editions.list_editions(conn):
            for row in deliveries.list_deliveries(conn, edition.id, [S.UNCERTAIN]):
                if edition.policy is UncertainPolicy.HOLD or edition.state is EditionState.CANCELLED:
                    reader = self.readers[row.subscriber_id]
                    found[row.subscriber_id] |= self.wanted(reader, row.watermark, edition.cutoff)
        return found


def test_the_ledger_keeps_its_promise_whatever_happens(sqlite_template: Path) -> None:
    run_state_machine_as_test(
        lambda: LedgerMachine(sqlite_template),
        settings=settings(
            max_examples=50,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
