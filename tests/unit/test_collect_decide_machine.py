"""A source that renames, re-dates, repeats, edits, takes back and moves, against a store in memory."""

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from syndicate.collect.decide import Verdict
from syndicate.collect.parsed import distinct_articles
from syndicate.model import ParsedArticle
from tests.collect_store import Store

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Piece:
    """What somebody wrote, whatever its source calls it: its number is in its text."""

    number: int
    article: ParsedArticle
    touched: set[str] = field(default_factory=set)  # since the last look

    def touch(self, what, **changes):
        """Changes it, unless nobody could recognise it any more: guid, link and text all at once."""
        if len(self.touched | {what}) < 3:
            self.touched.add(what)
            self.article = replace(self.article, **changes)


def write(number, *, words="", published_at=None):
    text = " ".join(f"word{number}of{n}" for n in range(40))
    return ParsedArticle(
        guid=f"guid-{number}",
        url=f"https://example.org/{number}",
        title=f"Piece {number}",
        content_html=f"<p>{text} {words}</p>",
        summary=f"{text[:200]}",
        published_at=published_at,
    )


def number_of(article):
    return int(article.content_html.split("word")[1].split("of")[0])


class Source(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.store = Store()
        self.pieces: list[Piece] = []
        self.count = 0
        self.shown: set[int] = set()
        self.window = 12

    def number(self):
        self.count += 1
        return self.count

    @initialize(count=st.integers(0, 14))
    def begin(self, count):
        for _ in range(count):
            self.publish(dated=True)
        self.look(again=False)

    @rule(dated=st.booleans())
    def publish(self, dated):
        number = len(self.pieces) + 1
        at = START + timedelta(days=number) if dated else None
        self.pieces.append(Piece(number, write(number, published_at=at)))

    @precondition(lambda self: self.pieces)
    @rule(data=st.data(), moves_date=st.booleans())
    def edit(self, data, moves_date):
        piece = data.draw(st.sampled_from(self.pieces))
        version = self.number()
        text = write(piece.number, words=f"edit {version}").content_html
        at = START + timedelta(days=100, hours=version) if moves_date else piece.article.updated_at
        piece.touch("text", content_html=text, updated_at=at)

    @precondition(lambda self: self.pieces)
    @rule(data=st.data())
    def take_back(self, data):
        piece = data.draw(st.sampled_from(self.pieces))
        piece.touch("text", content_html=write(piece.number).content_html)

    @precondition(lambda self: self.pieces)
    @rule(data=st.data())
    def redate(self, data):
        piece = data.draw(st.sampled_from(self.pieces))
        days = data.draw(st.none() | st.integers(-900, 900))
        at = None if days is None else START + timedelta(days=days)
        piece.article = replace(piece.article, published_at=at)

    @precondition(lambda self: self.pieces)
    @rule(data=st.data())
    def move_link(self, data):
        piece = data.draw(st.sampled_from(self.pieces))
        piece.touch("link", url=f"https://example.org/moved/{self.number()}")

    @precondition(lambda self: self.pieces)
    @rule(data=st.data())
    def rename(self, data):
        piece = data.draw(st.sampled_from(self.pieces))
        piece.touch("guid", guid=f"renamed-{self.number()}")

    @rule()
    def rename_all(self):
        for piece in self.pieces:
            piece.touch("guid", guid=f"renamed-{self.number()}")

    @precondition(lambda self: len(self.pieces) > 1)
    @rule(data=st.data())
    def change_places(self, data):
        self.look(again=False)
        shown = self.pieces[-self.window :]
        one, other = data.draw(st.lists(st.sampled_from(shown), min_size=2, max_size=2))
        guids = one.article.guid, other.article.guid
        other.article, one.article = (
            replace(other.article, guid=guids[0]),
            replace(one.article, guid=guids[1]),
        )
        self.look(again=False)

    @rule(again=st.booleans())
    def look(self, again):
        shown = self.pieces[-self.window :]
        document = [piece.article for piece in reversed(shown)]
        if again and document:
            document += [replace(document[0], guid=f"{document[0].guid}-again"), document[-1]]
        decisions = self.store.look(distinct_articles(document))
        for piece in shown:
            piece.touched.clear()
            self.shown.add(piece.number)
        accepted = [d.article.published_at for d in decisions if d.verdict is Verdict.NEW]
        dates = [at for at in accepted if at is not None]
        assert dates == sorted(dates)

    @rule()
    def release(self):
        self.store.release()

    @invariant()
    def nothing_is_lost_and_nothing_is_there_twice(self):
        accepted = [number_of(s.article) for s in self.store.articles.values()]
        held = [number_of(h.article) for h in self.store.held.values()]
        assert Counter(accepted + held) == Counter(self.shown)

    @invariant()
    def no_article_has_more_texts_than_it_may(self):
        assert all(len(s.hashes) <= 24 for s in self.store.articles.values() if s.dated_at is None)


Source.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestSource = Source.TestCase


def versions(count):
    """Versions of one article, each dated later than the one before; the third is the first one again."""
    texts = {n: "first" if n == 2 else f"version {n}" for n in range(1, count)} | {0: "first"}
    return [
        replace(write(1, words=texts[n], published_at=START), updated_at=START + timedelta(hours=n))
        for n in range(count)
    ]


@given(st.integers(1, 5).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.integers(0, n - 1)))))
def test_pushes_that_come_twice_and_in_any_order_leave_the_same_state(case):
    count, order = case
    in_order, as_it_came = Store(), Store()
    for store in (in_order, as_it_came):
        store.look([])
    for article in versions(count):
        in_order.look([article], is_partial=True, may_be_late=True)
    for n in [*order, *reversed(range(count))]:
        as_it_came.look([versions(count)[n]], is_partial=True, may_be_late=True)
    assert as_it_came.state() == in_order.state()
    assert len(as_it_came.state()) == 1


def test_a_source_that_makes_five_hundred_articles_unrecognisable_mails_none_of_them_again():
    store = Store()
    store.look([write(n, published_at=START) for n in range(500)])
    decisions = store.look([replace(write(n + 1000), published_at=START) for n in range(500)])
    assert {(d.verdict, d.reason) for d in decisions} == {(Verdict.HELD, "flood")}
    again = store.look([replace(write(n + 1000), published_at=START) for n in range(500)])
    assert {(d.verdict, d.reason) for d in again} == {(Verdict.SAME, "unchanged")}


def test_a_source_that_renames_five_hundred_articles_brings_nothing_new_and_raises_no_alarm():
    for changes in ({}, {"url": "https://example.org/moved/{}"}):
        store = Store()
        store.look([write(n, published_at=START) for n in range(500)])
        renamed = [
            replace(write(n), guid=f"other-{n}", **{k: v.format(n) for k, v in changes.items()})
            for n in range(500)
        ]
        decisions = store.look(renamed)
        assert {d.verdict for d in decisions} <= {Verdict.SAME, Verdict.CHANGED}
        assert {d.verdict for d in store.look(renamed)} == {Verdict.SAME}
        assert len(store.articles) == 500


def test_a_source_that_flips_between_two_texts_turns_three_times_and_then_keeps_what_it_has():
    store = Store()
    store.look([write(1)])
    reasons = [store.look([write(1, words="x" * (n % 2))])[0].reason for n in range(1, 9)]
    assert reasons == ["edited", "reverted", "reverted", "reverted", *["churning", "unchanged"] * 2]


def test_an_article_that_is_another_at_each_look_has_twenty_four_texts_and_no_more():
    store = Store()
    for n in range(40):
        store.look([write(1, words=f"now {n}")])
    assert len(store.articles[1].hashes) == 24
    dated = replace(write(1, words="at last"), updated_at=START)
    assert store.look([dated])[0].reason == "edited"
