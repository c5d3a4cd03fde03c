from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndicate.collect.decide import (
    SourceHistory,
    Verdict,
    decide_articles,
    parse_backfill,
)
from syndicate.collect.identity import known_aside, list_doubtful
from syndicate.collect.likeness import text_key
from syndicate.model import HeldArticle, KnownArticle, Origin, ParsedArticle

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


def known(article, *, number=1, earlier=(), **more):
    return KnownArticle(
        id=number,
        guid=article.guid,
        url=article.url,
        content_hash=article.content_hash,
        earlier_hashes=frozenset(earlier),
        **{
            "title": article.title,
            "text_key": text_key(article),
            "published_at": article.published_at,
            "updated_at": article.updated_at,
        }
        | more,
    )


def decide(articles, stored=(), *, is_first=False, backfill="none", **choice):
    return decide_articles(articles, stored, is_first=is_first, backfill=backfill, **choice)


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


def story(subject):
    return " ".join(f"{subject}{n}" for n in range(60))


def page(guid, *, title, text, url="", day=1):
    return replace(parsed(guid, day=day, url=url, text=text), title=title)


LETTER = page("weekly", title="Letter 1", text=story("sea"), url="https://example.org/1", day=1)


def said(article, stored, **choice):
    (decision,) = decide([article], [stored], texts={stored.id: LETTER.content_html}, **choice)
    return decision.verdict, decision.reason


def test_a_guid_with_another_link_title_and_text_published_later_is_another_article():
    other = page("weekly", title="Letter 2", text=story("moth"), url="https://example.org/2", day=8)
    stored = known(LETTER)
    assert list_doubtful([other], [stored]) == [1]
    (decision,) = decide([other], [stored], texts={1: LETTER.content_html})
    assert (decision.verdict, decision.reason) == (Verdict.NEW, "guid_reused")
    assert decision.article.guid == "weekly|https://example.org/2"
    (again,) = decide([other], [stored, known(decision.article, number=2)])
    assert (again.verdict, again.known_id) == (Verdict.SAME, 2)


def test_a_guid_without_a_link_that_is_used_again_is_told_apart_by_its_date():
    other = page("weekly", title="Letter 2", text=story("moth"), day=8)
    (decision,) = decide([other], [known(replace(LETTER, url=""))], texts={1: LETTER.content_html})
    assert decision.article.guid == "weekly|2026-01-08T00:00Z"


@pytest.mark.parametrize(
    "changes",
    [
        {"url": LETTER.url},
        {"title": "LETTER  1"},
        {"content_html": LETTER.content_html + f"<p>{story('more')}</p>"},
        {"published_at": LETTER.published_at},
        {"published_at": None},
    ],
    ids=["link", "title", "text", "date", "no date"],
)
def test_one_thing_that_stays_makes_it_an_edit(changes):
    other = page("weekly", title="Letter 2", text=story("moth"), url="https://example.org/2", day=8)
    assert said(replace(other, **changes), known(LETTER)) == (Verdict.CHANGED, "edited")


def test_a_link_under_which_something_else_appears_is_another_article():
    other = page("b", title="Letter 2", text=story("moth"), url=LETTER.url, day=8)
    assert said(other, known(LETTER)) == (Verdict.NEW, "link_reused")
    assert said(replace(other, title=LETTER.title), known(LETTER)) == (Verdict.CHANGED, "guid_flip")


def test_an_article_under_another_guid_and_link_is_known_by_its_title_and_text():
    moved = page("b", title="Letter  1", text=story("SEA"), url="https://example.net/1")
    (decision,) = decide([moved], [known(LETTER)])
    assert (decision.verdict, decision.reason) == (Verdict.CHANGED, "moved")
    assert (decision.known_id, decision.renamed_to) == (1, "b")
    (again,) = decide([moved], [known(moved, aliases=frozenset(["weekly"]))])
    assert (again.verdict, again.renamed_to) == (Verdict.SAME, "")


def test_a_short_text_or_one_that_is_there_twice_names_no_article():
    short = page("b", title="a", text="words", url="https://example.net/1")
    assert decide([short], [known(parsed("a"))])[0].verdict is Verdict.NEW
    copies = [replace(LETTER, guid=g, url=f"https://example.net/{g}") for g in "bc"]
    assert {d.verdict for d in decide(copies, [known(LETTER)])} == {Verdict.NEW}


def test_a_former_guid_is_still_the_article_which_takes_it_again():
    stored = known(LETTER, aliases=frozenset(["old"]))
    (decision,) = decide([replace(LETTER, guid="old")], [stored])
    assert (decision.verdict, decision.reason) == (Verdict.SAME, "unchanged")
    assert (decision.known_id, decision.renamed_to) == (1, "old")


def test_a_document_with_both_guids_of_an_article_repeats_it():
    stored = known(LETTER, aliases=frozenset(["old"]))
    edited = replace(LETTER, guid="old", content_html=LETTER.content_html + "!")
    found = [(d.verdict, d.reason) for d in decide([edited, LETTER], [stored])]
    assert found == [(Verdict.SAME, "repeated"), (Verdict.SAME, "unchanged")]


def test_an_article_whose_link_now_belongs_to_another_keeps_its_guid():
    stored = known(LETTER)
    moved = replace(LETTER, url="https://example.org/archive/1")
    other = page("b", title="Letter 2", text=story("moth"), url=LETTER.url, day=8)
    found = {d.article.guid: d for d in decide([other, moved], [stored], texts={1: LETTER.content_html})}
    assert (found["weekly"].known_id, found["weekly"].verdict) == (1, Verdict.CHANGED)
    assert found["b"].verdict is Verdict.NEW


def test_articles_that_change_places_stay_what_they_are_and_so_when_they_change_back():
    one, two = LETTER, page("b", title="Letter 2", text=story("moth"), url="https://example.org/2")
    swapped = [replace(one, guid="b"), replace(two, guid="weekly")]
    stored = [known(one), known(two, number=2)]
    found = [(d.verdict, d.known_id, d.renamed_to) for d in decide(swapped, stored)]
    assert found == [(Verdict.SAME, 1, "b"), (Verdict.SAME, 2, "weekly")]
    stored = [
        known(swapped[0], aliases=frozenset(["weekly"])),
        known(swapped[1], number=2, aliases=frozenset(["b"])),
    ]
    found = [(d.verdict, d.known_id, d.renamed_to) for d in decide([one, two], stored)]
    assert found == [(Verdict.SAME, 1, "weekly"), (Verdict.SAME, 2, "b")]


def test_what_is_there_twice_on_the_same_date_under_two_guids_is_taken_once():
    one = parsed("a", day=1)
    again, later = replace(one, guid="b"), replace(one, guid="c", published_at=NOW)
    found = {d.article.guid: (d.verdict, d.reason) for d in decide([one, again, later])}
    assert found["b"] == (Verdict.SAME, "repeated")
    assert found["a"] == found["c"] == (Verdict.NEW, "new")
    (decision,) = [d for d in decide([again, one], [known(one)]) if d.article.guid == "b"]
    assert (decision.reason, decision.known_id, decision.renamed_to) == ("repeated", 1, "")


@pytest.mark.parametrize(
    ("stored", "given"),
    [
        ("<p>One two</p>", "<p>\n  One\ttwo </p>\n"),
        ('<a href="https://e.org/?id=1">x</a>', '<a href="https://e.org/?id=1&amp;utm_source=rss">x</a>'),
        ('<img src="https://e.org/a.png" width="1">', '<img src="http://e.org/a.png" height="9" width="8">'),
    ],
    ids=["spaces", "tracking", "sizes"],
)
def test_what_no_reader_notices_is_no_edit(stored, given):
    before = replace(parsed("a", url="https://e.org/1"), content_html=stored)
    after = replace(before, content_html=given, url="https://e.org/1?utm_medium=feed")
    (decision,) = decide([after], [known(before)], texts={1: stored})
    assert (decision.verdict, decision.reason) == (Verdict.SAME, "cosmetic")


@pytest.mark.parametrize(
    "changes",
    [
        {"title": "b"},
        {"url": "https://e.org/2"},
        {"tags": ("x",)},
        {"content_html": '<p>One two <a href="https://e.org/b">x</a></p>'},
        {"content_html": '<p>Onetwo <a href="https://e.org/a">x</a></p>'},
    ],
)
def test_what_a_reader_notices_is_an_edit(changes):
    markup = '<p>One two <a href="https://e.org/a">x</a></p>'
    before = replace(parsed("a", url="https://e.org/1"), content_html=markup)
    (decision,) = decide([replace(before, **changes)], [known(before)], texts={1: markup})
    assert decision.reason == "edited"


def test_a_link_in_a_text_that_is_none_is_compared_as_it_is():
    before = replace(parsed("a"), content_html='<a href="https://[e/">x</a> <a href="http://e:x/">y</a>')
    after = replace(before, content_html=before.content_html + "\n")
    assert decide([after], [known(before)], texts={1: before.content_html})[0].reason == "cosmetic"


def test_spaces_in_a_listing_are_text():
    before = replace(parsed("a"), content_html="<pre>if x:\n    y</pre>")
    after = replace(before, content_html="<pre>if x:\n  y</pre>")
    assert decide([after], [known(before)], texts={1: before.content_html})[0].reason == "edited"


def test_the_fourth_return_in_a_day_changes_nothing_unless_the_source_dates_it():
    before = parsed("a", text="before")
    stored = known(parsed("a"), earlier=[before.content_hash], turns=3)
    assert decide([before], [stored])[0].reason == "churning"
    (dated,) = decide([replace(before, updated_at=NOW)], [stored])
    assert (dated.verdict, dated.reason, dated.dated_at) == (Verdict.CHANGED, "reverted", NOW)


def test_a_later_date_of_change_is_told_whatever_the_verdict():
    later = replace(parsed("a"), updated_at=NOW)
    (decision,) = decide([later], [known(parsed("a"), updated_at=NOW - timedelta(days=1))])
    assert (decision.verdict, decision.dated_at) == (Verdict.SAME, NOW)
    (decision,) = decide([later], [known(later)])
    assert decision.dated_at is None


def test_a_push_that_comes_late_changes_nothing():
    first, second = parsed("a", day=1), replace(parsed("a", day=1, text="second"), updated_at=NOW)
    stored = known(second, earlier=[first.content_hash])
    assert decide([first], [stored], may_be_late=True)[0].reason == "late"
    assert decide([first], [known(second)], may_be_late=True)[0].reason == "late"
    assert decide([first], [stored])[0].reason == "reverted"
    undated = parsed("a", text="third")
    assert decide([undated], [stored], may_be_late=True)[0].reason == "edited"


def held(article, *, payload=True):
    return known_aside(
        HeldArticle(
            source_id=1,
            guid=article.guid,
            content_hash=article.content_hash,
            reason="flood",
            held_at=NOW,
            article=article if payload else None,
        )
    )


def test_what_is_held_is_known_by_its_guid_its_link_and_its_text():
    for article in (LETTER, replace(LETTER, guid="b"), replace(LETTER, guid="b", url="")):
        (decision,) = decide([article], [held(LETTER)])
        assert (decision.verdict is Verdict.NEW, decision.aside_guid) == (False, "weekly")
        assert (decision.known_id, decision.renamed_to) == (None, "" if article.guid == "weekly" else "b")
    (decision,) = decide([replace(LETTER, title="Edited")], [held(LETTER)])
    assert (decision.verdict, decision.aside_guid) == (Verdict.CHANGED, "weekly")
    assert list_doubtful([replace(LETTER, title="Edited")], [held(LETTER)]) == []


def test_what_is_only_remembered_is_the_same_as_long_as_it_is():
    (decision,) = decide([LETTER], [held(LETTER, payload=False)])
    assert (decision.verdict, decision.aside_guid) == (Verdict.SAME, "weekly")


def test_what_a_rule_keeps_out_is_excluded_with_the_rule_even_from_the_baseline():
    articles = [parsed("a", day=1), parsed("b", day=2)]
    for is_first in (True, False):
        decisions = decide(articles, is_first=is_first, backfill="all", excluded={"a": "exclude title a"})
        found = [(d.verdict, d.reason) for d in decisions]
        assert found[0] == (Verdict.EXCLUDED, "exclude title a")
        assert found[1][0] is Verdict.NEW
    (decision,) = decide([parsed("a")], [known(parsed("a"))], excluded={"a": "exclude title a"})
    assert decision.verdict is Verdict.SAME  # it was taken before the rule


def test_what_would_be_mailed_waits_for_approval_where_the_operator_wants_it():
    (new,) = decide([parsed("a")], needs_approval=True)
    assert (new.verdict, new.reason, new.origin) == (Verdict.HELD, "approval", Origin.NEW)
    first = decide([parsed("a", day=1), parsed("b", day=2)], is_first=True, backfill="1", needs_approval=True)
    assert [(d.verdict, d.origin) for d in first] == [
        (Verdict.NEW, Origin.BASELINE),
        (Verdict.HELD, Origin.BACKFILL),
    ]


def usual(articles=100, per_day=1.0, days=1 / 24, limit=10):
    return SourceHistory(articles=articles, new_per_day=per_day, days_since_success=days, flood_limit=limit)


@pytest.mark.parametrize(
    ("count", "history", "is_held"),
    [
        (10, usual(), False),
        (11, usual(), True),
        (11, usual(limit=20), False),
        (11, usual(articles=9), False),
        (40, usual(per_day=8), True),
        (40, usual(per_day=8, days=1), False),  # five times as many as usual
        (41, usual(per_day=8, days=1), True),
        (300, usual(per_day=2, days=30), False),  # we were away
        (11, None, False),
    ],
)
def test_more_new_articles_than_usual_wait_for_the_operator(count, history, is_held):
    articles = [parsed("known"), *(parsed(f"new-{n}") for n in range(count))]
    decisions = decide(articles, [known(parsed("known"))], history=history)
    expected = (Verdict.HELD, "flood") if is_held else (Verdict.NEW, "new")
    assert {(d.verdict, d.reason) for d in decisions if d.article.guid != "known"} == {expected}


@pytest.mark.parametrize(
    ("count", "choice", "is_held"),
    [
        (2, {}, True),
        (1, {}, False),  # a feed that shows its latest article only
        (5, {"history": usual(per_day=30)}, False),  # a quick one
        (5, {"history": usual(days=2)}, False),  # we were away
        (5, {"is_partial": True}, False),
        (5, {"unread": ["known"]}, False),
        (5, {"history": usual(articles=9)}, False),
    ],
)
def test_a_document_that_shares_no_guid_with_what_is_stored_is_a_flood_when_small(count, choice, is_held):
    articles = [parsed(f"new-{n}") for n in range(count)]
    decisions = decide(articles, [known(parsed("known"))], **{"history": usual()} | choice)
    assert {d.verdict for d in decisions} == {Verdict.HELD if is_held else Verdict.NEW}


def test_a_repetition_among_new_articles_shares_no_guid_with_what_is_stored():
    one = parsed("new-1", day=1)
    articles = [one, replace(one, guid="again"), parsed("new-2")]
    decisions = decide(articles, [known(parsed("known"))], history=usual())
    assert {d.verdict for d in decisions} == {Verdict.SAME, Verdict.HELD}


def test_a_first_collection_is_no_flood():
    decisions = decide([parsed(f"{n}") for n in range(500)], is_first=True, history=usual())
    assert {d.verdict for d in decisions} == {Verdict.NEW}


def test_what_is_excluded_counts_for_no_flood():
    articles = [parsed("known"), *(parsed(f"new-{n}") for n in range(20))]
    excluded = {f"new-{n}": "exclude title /new/" for n in range(15)}
    decisions = decide(articles, [known(parsed("known"))], history=usual(), excluded=excluded)
    assert Verdict.HELD not in {d.verdict for d in decisions}


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
