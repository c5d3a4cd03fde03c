from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndicate.collect.decide import Verdict, decide_articles, decide_next_check, parse_backfill
from syndicate.model import KnownArticle, Origin, ParsedArticle

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def parsed(guid, *, day=None, url="", text="words"):
    return ParsedArticle(
        guid=guid,
        url=url,
        title=guid,
        content_html=f"<p>{text}</p>",
        summary="",
        published_at=None if day is None else datetime(2026, 1, day, tzinfo=UTC),
    )


def known(article, *, number=1, earlier=()):
    return KnownArticle(
        id=number,
        guid=article.guid,
        url=article.url,
        content_hash=article.content_hash,
        earlier_hashes=frozenset(earlier),
    )


def decide(articles, stored=(), *, is_first=False, backfill="none", home_url=""):
    return decide_articles(articles, stored, is_first=is_first, backfill=backfill, home_url=home_url)


def test_an_article_that_is_known_with_the_same_content_is_the_same():
    (decision,) = decide([parsed("a")], [known(parsed("a"), number=7)])
    assert (decision.verdict, decision.known_id, decision.origin) == (Verdict.SAME, 7, None)


def test_a_known_article_with_another_text_has_changed():
    (decision,) = decide([parsed("a", text="other")], [known(parsed("a"), number=7)])
    assert (decision.verdict, decision.reason, decision.known_id) == (Verdict.CHANGED, "edited", 7)


def test_a_text_that_the_article_had_before_is_named_a_return():
    before = parsed("a", text="before")
    (decision,) = decide([before], [known(parsed("a"), earlier=[before.content_hash])])
    assert (decision.verdict, decision.reason) == (Verdict.CHANGED, "reverted")


def test_another_date_alone_changes_nothing():
    (decision,) = decide([parsed("a", day=9)], [known(parsed("a", day=1))])
    assert decision.verdict is Verdict.SAME


def test_new_articles_come_oldest_first_and_those_without_a_date_last_in_their_order():
    articles = [parsed("c", day=3), parsed("x"), parsed("a", day=1), parsed("y"), parsed("b", day=2)]
    assert [d.article.guid for d in decide(articles)] == ["a", "b", "c", "x", "y"]
    assert {d.origin for d in decide(articles)} == {Origin.NEW}


@pytest.mark.parametrize(
    ("backfill", "mailed"),
    [("none", []), ("all", ["a", "b", "c"]), ("2", ["b", "c"]), ("9", ["a", "b", "c"])],
)
def test_the_first_collection_is_the_baseline_but_for_the_backfill(backfill, mailed):
    articles = [parsed("c", day=3), parsed("b", day=2), parsed("a", day=1)]
    decisions = decide(articles, is_first=True, backfill=backfill)
    assert [d.article.guid for d in decisions if d.origin is Origin.BACKFILL] == mailed
    assert all(d.origin in {Origin.BASELINE, Origin.BACKFILL} for d in decisions)


def test_a_new_guid_at_a_known_link_is_the_known_article():
    old = parsed("a", url="http://example.org/post?utm_source=feed")
    new = parsed("https://example.org/?p=1", url="https://EXAMPLE.org:443/post#top")
    (decision,) = decide([new], [known(old, number=5)])
    assert (decision.reason, decision.known_id) == ("guid_flip", 5)
    assert decision.origin is None


@pytest.mark.parametrize(
    ("url", "home_url"),
    [("https://example.org/", ""), ("https://example.org/blog/", "http://example.org/blog/")],
)
def test_a_link_to_the_front_page_identifies_nothing(url, home_url):
    (decision,) = decide([parsed("b", url=url)], [known(parsed("a", url=url))], home_url=home_url)
    assert decision.verdict is Verdict.NEW


def test_a_link_that_two_articles_share_identifies_neither():
    link = "https://example.org/same"
    twice = decide([parsed("b", url=link), parsed("c", url=link)], [known(parsed("a", url=link))])
    assert {d.verdict for d in twice} == {Verdict.NEW}
    stored = [known(parsed("a", url=link), number=1), known(parsed("z", url=link), number=2)]
    assert decide([parsed("b", url=link)], stored)[0].verdict is Verdict.NEW


def test_a_source_that_changes_all_its_guids_brings_nothing_new():
    links = [f"https://example.org/{n}" for n in range(500)]
    stored = [known(parsed(f"old-{n}", url=link), number=n) for n, link in enumerate(links)]
    decisions = decide([parsed(f"new-{n}", url=link) for n, link in enumerate(links)], stored)
    assert [d.known_id for d in decisions] == list(range(500))
    assert Verdict.NEW not in {d.verdict for d in decisions}


GUIDS = st.lists(st.sampled_from("abcdefgh"), unique=True)


@given(GUIDS, GUIDS)
def test_every_parsed_article_gets_one_decision_and_absence_none(now_there, before):
    decisions = decide([parsed(g) for g in now_there], [known(parsed(g)) for g in before])
    assert sorted(d.article.guid for d in decisions) == sorted(now_there)
    assert {d.article.guid for d in decisions if d.verdict is Verdict.NEW} == set(now_there) - set(before)


@pytest.mark.parametrize(
    ("text", "stored"), [("none", "none"), (" ALL ", "all"), ("5", "5"), ("007", "7"), ("0", "none")]
)
def test_a_backfill_is_none_all_or_a_number(text, stored):
    assert parse_backfill(text) == stored


@pytest.mark.parametrize("text", ["", "some", "-1", "1.5", "١", "12345678"])
def test_another_backfill_is_refused_with_the_choices(text):
    with pytest.raises(ValueError, match="one of none, all, or a number"):
        parse_backfill(text)


def wait(*, failures=0, retry_after_s=None, jitter=0.5, interval_s=3600.0):
    at = decide_next_check(
        interval_s=interval_s, failures=failures, retry_after_s=retry_after_s, now=NOW, jitter=jitter
    )
    return (at - NOW) / timedelta(seconds=1)


def test_a_healthy_source_is_checked_once_in_its_interval():
    assert wait() == 3600
    assert wait(jitter=0.0) == pytest.approx(3240)


def test_each_failure_doubles_the_wait_up_to_a_day():
    assert [wait(failures=n) for n in (1, 2, 3, 4, 5, 90)] == [7200, 14400, 28800, 57600, 86400, 86400]


def test_what_the_server_asks_for_is_a_floor_between_a_minute_and_a_week():
    assert wait(failures=1, retry_after_s=5) == 7200
    assert wait(failures=1, retry_after_s=10_000) == 10_000
    assert wait(failures=1, retry_after_s=10**9) == 7 * 86_400
    assert wait(retry_after_s=0, interval_s=10) == 60


@given(st.integers(1, 10_000), st.floats(0, 0.999), st.floats(1, 1_000_000))
def test_a_failing_source_is_never_asked_sooner_than_its_interval(failures, jitter, interval_s):
    assert wait(failures=failures, jitter=jitter, interval_s=interval_s) >= interval_s - 0.001
