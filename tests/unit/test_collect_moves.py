from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndicate.collect.moves import Move, MoveAction, decide_move

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
OLD = "https://old.example/feed"
NEW = "https://new.example/feed"


def move(fetches=3, days=7, url=NEW):
    return Move(url=url, first_seen_at=NOW - timedelta(days=days), fetches=fetches)


def decide(seen=None, url=OLD, permanent_url=NEW, *, shares_guid=True, is_taken=False):
    return decide_move(seen, url, permanent_url, now=NOW, shares_guid=shares_guid, is_taken=is_taken)


def test_a_new_address_is_watched_from_the_first_time_on():
    found = decide()
    assert (found.action, found.reason, found.url) == (MoveAction.WATCH, "early", OLD)
    assert found.seen == Move(url=NEW, first_seen_at=NOW, fetches=1)


@pytest.mark.parametrize(
    ("fetches", "days", "action"),
    [
        (2, 7, MoveAction.ADOPT),  # and this is the third one
        (200, 7, MoveAction.ADOPT),
        (1, 7, MoveAction.WATCH),
        (200, 6.99, MoveAction.WATCH),
    ],
)
def test_it_is_taken_over_when_three_fetches_over_a_week_were_led_there(fetches, days, action):
    found = decide(move(fetches, days))
    assert found.action == action
    if action is MoveAction.ADOPT:
        assert (found.reason, found.url, found.seen) == ("stable", NEW, None)
    else:
        assert (found.reason, found.url, found.seen) == ("early", OLD, move(fetches + 1, days))


def test_another_target_starts_anew_and_none_at_all_forgets_it():
    elsewhere = decide(move(), permanent_url="https://third.example/")
    assert elsewhere.action is MoveAction.WATCH
    assert elsewhere.seen == Move(url="https://third.example/", first_seen_at=NOW, fetches=1)
    for permanent_url in ("", OLD):
        found = decide(move(), permanent_url=permanent_url)
        assert (found.action, found.reason, found.url, found.seen) == (MoveAction.STAY, "none", OLD, None)


def test_a_place_with_none_of_our_articles_is_watched_on():
    found = decide(move(), shares_guid=False)
    assert (found.action, found.reason, found.url) == (MoveAction.WATCH, "unknown_articles", OLD)
    assert found.seen == move(4)


def test_the_address_of_another_source_is_reported_once_it_is_stable_and_never_taken_over():
    assert decide(is_taken=True).action is MoveAction.WATCH
    found = decide(move(), is_taken=True)
    assert (found.action, found.reason, found.url) == (MoveAction.REPORT, "taken", OLD)
    upgrade = decide(url="http://old.example/feed", permanent_url=OLD, is_taken=True)
    assert (upgrade.action, upgrade.reason) == (MoveAction.REPORT, "taken")


@pytest.mark.parametrize(
    ("url", "permanent_url", "is_upgrade"),
    [
        ("http://old.example/feed?a=1", "https://old.example/feed?a=1", True),
        ("http://OLD.example:80/feed", "https://old.example/feed", True),
        ("http://old.example/feed#top", "https://old.example/feed", True),
        ("http://old.example/feed", "https://old.example/feed/", False),
        ("http://old.example/feed", "https://old.example/feed?a=1", False),
        ("http://old.example/feed", "https://www.old.example/feed", False),
        ("http://old.example/feed", "https://old.example:8443/feed", False),
        ("http://old.example:8080/feed", "https://old.example/feed", False),
        ("https://old.example/feed", "https://old.example/feed.xml", False),
    ],
)
def test_from_http_to_https_at_the_same_place_is_taken_over_at_once(url, permanent_url, is_upgrade):
    found = decide(url=url, permanent_url=permanent_url, shares_guid=False)
    if is_upgrade:
        assert (found.action, found.reason, found.url) == (MoveAction.ADOPT, "upgraded", permanent_url)
    else:
        assert found.action is MoveAction.WATCH


def test_credentials_stay_with_their_origin():
    secret = "https://me:p%40ss@old.example/feed"
    near = "https://old.example/new"
    found = decide(move(url=near), url=secret, permanent_url=near)
    assert (found.action, found.url) == (MoveAction.ADOPT, "https://me:p%40ss@old.example/new")
    upgraded = decide(url="http://me@old.example/feed", permanent_url=OLD)
    assert (upgraded.action, upgraded.url) == (MoveAction.ADOPT, "https://me@old.example/feed")
    away = decide(move(), url=secret)
    assert (away.action, away.reason, away.url) == (MoveAction.REPORT, "credentials", secret)
    assert decide(url=secret, permanent_url=OLD).action is MoveAction.STAY


@given(
    st.lists(
        st.tuples(st.sampled_from(["", NEW, "https://third.example/"]), st.floats(0, 3), st.booleans()),
        max_size=40,
    )
)
def test_whatever_a_server_does_only_what_stayed_for_a_week_is_taken_over(fetches):
    seen, at, since = None, NOW, {}
    for permanent_url, days, shares_guid in fetches:
        at += timedelta(days=days)
        since = {permanent_url: since.get(permanent_url, (at, 0))}
        since[permanent_url] = (since[permanent_url][0], since[permanent_url][1] + 1)
        found = decide_move(seen, OLD, permanent_url, now=at, shares_guid=shares_guid, is_taken=False)
        seen = found.seen
        first_at, times = since[permanent_url]
        is_stable = bool(permanent_url) and times >= 3 and at - first_at >= timedelta(days=7)
        assert (found.action is MoveAction.ADOPT) == (is_stable and shares_guid)
        if found.action is MoveAction.ADOPT:
            break
