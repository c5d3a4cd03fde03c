"""The rules of a WebSub subscriber: links, forms, intents, leases, signatures, tokens."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndicate.collect.websub import (
    Callbacks,
    HubLink,
    Intent,
    Verdict,
    decide_intent,
    decide_lease,
    decide_next_request,
    is_authentic,
    is_own_topic,
    is_reachable,
    is_signing,
    is_silent,
    read_intent,
    request_form,
    select_hub,
    select_redirect,
)

NOW = datetime(2026, 3, 14, 9, 26, tzinfo=UTC)
HUB, TOPIC = "https://hub.example.org/", "https://example.org/feed.xml"
NONCE, OTHER_NONCE = "0123456789abcdef" * 2, "f" * 32
CALLBACKS = Callbacks(b"k" * 40)


def intent(mode: str = "subscribe", **changes: str) -> Intent:
    params = {"topic": TOPIC, "challenge": "c-1", "lease_seconds": "3600"} | changes
    return read_intent({f"hub.{name}": value for name, value in (params | {"mode": mode}).items()})


def sign(body: bytes, secret: str, method: str = "sha256") -> str:
    return f"{method}={hmac.new(secret.encode(), body, method).hexdigest()}"


# Links


def test_the_first_hub_that_speaks_https_is_taken_with_the_topic_as_it_is_written() -> None:
    topic = "https://EXAMPLE.org:443/feed.xml?b=2&a=1#x"
    hubs = ["http://plain.example.org/", " https://one.example.org/h ", "https://two.example.org/"]

    assert select_hub(hubs, f" {topic}\n") == HubLink(hub_url="https://one.example.org/h", topic_url=topic)
    assert select_hub(hubs[:1], topic) == HubLink(hub_url="http://plain.example.org/", topic_url=topic)


def test_the_hub_that_we_have_stays_while_it_is_named_in_whatever_place() -> None:
    hubs = ["https://one.example.org/", "https://two.example.org/"]

    kept = select_hub(hubs, TOPIC, current="https://two.example.org/")
    gone = select_hub(hubs, TOPIC, current="https://three.example.org/")

    assert kept is not None
    assert gone is not None
    assert (kept.hub_url, gone.hub_url) == ("https://two.example.org/", "https://one.example.org/")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/hub",
        "//hub.example.org/",
        "ftp://hub.example.org/",
        "javascript:alert(1)",
        "https://",
        "https://user:word@hub.example.org/",
        "https://hub.example.org:0/",
        "https://hub.example.org:99999/",
        "https://[::1/",
        "https://hub.example.org/a b",
        "https://hub.example.org/\r\nX: y",
        "https://hub.example.org/" + "x" * 2_000,
    ],
)
def test_an_address_that_cannot_be_used_is_neither_hub_nor_topic(url: str) -> None:
    assert select_hub([url], TOPIC) is None
    assert select_hub([HUB], url) is None
    assert select_hub([url, HUB], TOPIC) == HubLink(hub_url=HUB, topic_url=TOPIC)


def test_a_source_that_names_no_hub_is_not_subscribed_to() -> None:
    assert select_hub([], TOPIC) is None


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://other.example.org/h", "https://other.example.org/h"),
        ("/new", "https://hub.example.org/new"),
        ("http://hub.example.org/", None),
        ("ftp://hub.example.org/", None),
        ("https://a:b@hub.example.org/", None),
        ("", None),
    ],
)
def test_a_hub_may_send_a_request_on_but_never_out_of_https(location: str, target: str | None) -> None:
    assert select_redirect(HUB, location) == target


def test_a_hub_over_http_may_send_a_request_on_to_either() -> None:
    for target in ("http://other.example.org/", "https://other.example.org/"):
        assert select_redirect("http://hub.example.org/", target) == target


@pytest.mark.parametrize(
    ("url", "reachable"),
    [
        ("https://news.example.org", True),
        ("https://news.example.org:8443/under/a/path", True),
        ("http://8.8.8.8", True),
        ("http://127.0.0.1:8000", False),
        ("http://192.168.1.10", False),
        ("http://[::1]:8000", False),
        ("http://localhost:8000", False),
        ("http://news", False),
        ("http://news.local", False),
        ("http://news.internal.", False),
        ("http://app.localhost", False),
    ],
)
def test_a_site_is_reachable_if_its_address_means_something_everywhere(*, url: str, reachable: bool) -> None:
    assert is_reachable(url) is reachable


def test_a_topic_is_the_sources_own_if_it_is_what_is_read_there() -> None:
    assert is_own_topic(TOPIC, TOPIC, "")
    assert is_own_topic(TOPIC, "http://example.org/feed.xml?utm_source=x")
    assert is_own_topic(TOPIC, "https://old.example.org/feed", "https://EXAMPLE.org:443/feed.xml#top")
    assert not is_own_topic(TOPIC, "https://example.org/sport/feed.xml", "")
    assert not is_own_topic(TOPIC, "https://example.org/feed.xml?topic=sport")
    assert not is_own_topic(TOPIC)


# Requests


def test_a_request_has_what_the_recommendation_asks_for_and_a_secret_over_https() -> None:
    form = request_form(
        "subscribe", hub_url=HUB, topic_url=TOPIC, callback_url="https://n.example.org/c", secret="s" * 43
    )

    assert form == {
        "hub.mode": "subscribe",
        "hub.topic": TOPIC,
        "hub.callback": "https://n.example.org/c",
        "hub.lease_seconds": "864000",
        "hub.secret": "s" * 43,
    }


def test_the_secret_goes_neither_over_http_nor_into_a_farewell() -> None:
    for mode, hub_url in (("subscribe", "http://hub.example.org/"), ("unsubscribe", HUB)):
        form = request_form(
            mode, hub_url=hub_url, topic_url=TOPIC, callback_url="https://n.example.org/c", secret="SECRET"
        )
        assert "SECRET" not in str(form)
        assert form["hub.mode"] == mode


def test_a_hub_that_does_not_confirm_is_asked_ever_later_and_at_least_once_a_day() -> None:
    waits = [
        (decide_next_request(failures, now=NOW, jitter=0.5) - NOW) / timedelta(minutes=1)
        for failures in (1, 2, 3, 7, 8, 9, 10_000)
    ]

    assert waits == [10, 20, 40, 640, 1280, 1440, 1440]


def test_waits_are_spread_by_a_quarter_to_each_side() -> None:
    ends = [decide_next_request(1, now=NOW, jitter=jitter) - NOW for jitter in (0.0, 1.0)]

    assert ends == [timedelta(minutes=7.5), timedelta(minutes=12.5)]


def test_the_end_of_a_lease_is_not_slept_through() -> None:
    ends_at = NOW + timedelta(minutes=5)

    assert decide_next_request(4, now=NOW, jitter=0.5, lease_expires_at=ends_at) == ends_at
    for passed in (NOW, NOW - timedelta(days=1)):
        assert decide_next_request(1, now=NOW, jitter=0.5, lease_expires_at=passed) > NOW


# Intents


def test_a_subscription_that_is_wanted_is_confirmed_for_exactly_its_topic() -> None:
    assert decide_intent(intent(), topic_url=TOPIC, is_wanted=True) is Verdict.SUBSCRIBED
    for other in (TOPIC.upper(), TOPIC + "/", TOPIC + "#", "", "https://evil.example.org/"):
        for mode in ("subscribe", "unsubscribe", "denied"):
            for is_wanted in (True, False):
                verdict = decide_intent(intent(mode, topic=other), topic_url=TOPIC, is_wanted=is_wanted)
                assert verdict is Verdict.UNWANTED, (mode, other)


@pytest.mark.parametrize(
    ("mode", "topic_url", "is_wanted", "verdict"),
    [
        ("subscribe", TOPIC, False, Verdict.UNWANTED),
        ("subscribe", None, False, Verdict.UNWANTED),
        ("unsubscribe", TOPIC, True, Verdict.UNWANTED),
        ("unsubscribe", TOPIC, False, Verdict.UNSUBSCRIBED),
        ("unsubscribe", None, False, Verdict.UNSUBSCRIBED),
        ("denied", TOPIC, True, Verdict.DENIED),
        ("denied", TOPIC, False, Verdict.DENIED),
        ("denied", None, False, Verdict.UNWANTED),
        ("publish", TOPIC, True, Verdict.UNWANTED),
        ("", TOPIC, True, Verdict.UNWANTED),
        ("SUBSCRIBE", TOPIC, True, Verdict.UNWANTED),
    ],
)
def test_an_intent_is_accepted_only_where_we_mean_it(
    *, mode: str, topic_url: str | None, is_wanted: bool, verdict: Verdict
) -> None:
    assert decide_intent(intent(mode), topic_url=topic_url, is_wanted=is_wanted) is verdict


def test_without_a_challenge_there_is_nothing_to_confirm() -> None:
    assert decide_intent(intent(challenge=""), topic_url=TOPIC, is_wanted=True) is Verdict.UNWANTED
    farewell = intent("unsubscribe", challenge="")
    assert decide_intent(farewell, topic_url=TOPIC, is_wanted=False) is Verdict.UNWANTED


@pytest.mark.parametrize(
    ("given", "lease_s"),
    [("60", 60), ("0", 864_000), ("", 864_000), ("-5", 864_000), ("1e9", 864_000), ("٣", 864_000)],
)
def test_a_lease_that_is_not_said_is_the_one_that_was_asked_for(given: str, lease_s: int) -> None:
    assert intent(lease_seconds=given).lease_s == lease_s


def test_the_reason_of_a_denial_is_one_short_line() -> None:
    assert intent("denied", reason="not\n here,\tsorry").reason == "not here, sorry"
    assert len(intent("denied", reason="x" * 9_999).reason) == 200
    assert read_intent({}) == Intent(mode="", topic_url="", challenge="", lease_s=864_000, reason="")


def test_a_lease_is_renewed_after_four_fifths_of_it() -> None:
    lease = decide_lease(10_000, now=NOW)

    assert lease.expires_at == NOW + timedelta(seconds=10_000)
    assert lease.renew_at == NOW + timedelta(seconds=8_000)


def test_a_hub_that_grants_seconds_or_centuries_is_asked_once_a_minute_or_once_a_month() -> None:
    assert decide_lease(1, now=NOW).renew_at == NOW + timedelta(seconds=60)
    assert decide_lease(999_999_999_999, now=NOW).expires_at == NOW + timedelta(days=30)
    assert decide_lease(999_999_999_999, now=NOW).renew_at == NOW + timedelta(days=24)


@given(st.integers(1, 10**12))
def test_every_lease_is_renewed_later_than_now_and_before_it_ends_unless_it_is_very_short(
    lease_s: int,
) -> None:
    lease = decide_lease(lease_s, now=NOW)

    assert lease.renew_at >= NOW + timedelta(seconds=60)
    assert lease.renew_at < lease.expires_at or lease_s <= 60


# Signatures


@pytest.mark.parametrize("method", ["sha1", "sha256", "sha384", "sha512"])
def test_a_signature_by_each_method_of_the_recommendation_counts(method: str) -> None:
    body, secret = b"<rss/>", CALLBACKS.secret(1, NONCE)

    assert is_authentic(sign(body, secret, method), secret, body)
    assert is_authentic(sign(body, secret, method).upper(), secret, body)
    assert not is_authentic(sign(body, secret, method), secret, body + b" ")
    assert not is_authentic(sign(body, CALLBACKS.secret(2, NONCE), method), secret, body)
    assert not is_authentic(sign(body, secret, method)[:-1], secret, body)


def test_a_signature_that_is_worked_out_elsewhere_counts() -> None:
    # RFC 4231, test case 2, and RFC 2202, test case 2 for SHA-1.
    body = b"what do ya want for nothing?"

    for signature in (
        "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        "sha1=effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
    ):
        assert is_authentic(signature, "Jefe", body)


@pytest.mark.parametrize(
    "header",
    ["", "=", "sha256", "sha256=", "md5=" + "0" * 32, "none=", "sha256=é", "sha3_256=" + "0" * 64, "\x00=1"],
)
def test_what_is_no_signature_does_not_count(header: str) -> None:
    assert not is_authentic(header, "secret", b"")


@pytest.mark.parametrize("method", ["md5", "sha224", "sha3_256", "blake2b"])
def test_methods_beyond_the_recommendation_do_not_count(method: str) -> None:
    signature = f"{method}={hmac.new(b'secret', b'body', method).hexdigest()}"

    assert not is_authentic(signature, "secret", b"body")


@given(st.text(), st.binary(max_size=99))
def test_no_text_at_all_breaks_the_check_of_a_signature(header: str, body: bytes) -> None:
    assert not is_authentic(f"sha256={header}", "secret", body)


# Tokens and secrets


def test_a_token_is_known_again_for_its_own_source_only() -> None:
    token = CALLBACKS.token(7, NONCE)

    assert CALLBACKS.find_nonce(7, token) == NONCE
    assert CALLBACKS.find_nonce(8, token) is None
    assert Callbacks(b"j" * 40).find_nonce(7, token) is None
    assert token.isascii()
    assert len(token) == 32 + 1 + 43


@given(st.data())
def test_a_token_that_was_changed_anywhere_is_not_ours(data: st.DataObject) -> None:
    token = CALLBACKS.token(7, NONCE)
    place = data.draw(st.integers(0, len(token)))
    changed = token[:place] + data.draw(st.text(max_size=3)) + token[place + data.draw(st.integers(0, 3)) :]

    assert (CALLBACKS.find_nonce(7, changed) is None) == (changed != token)


def test_a_secret_differs_by_source_nonce_and_installation_and_is_no_part_of_a_token() -> None:
    found = {
        CALLBACKS.secret(7, NONCE),
        CALLBACKS.secret(8, NONCE),
        CALLBACKS.secret(7, OTHER_NONCE),
        Callbacks(b"j" * 40).secret(7, NONCE),
    }

    assert len(found) == 4
    assert all(len(secret.encode()) < 200 and secret not in CALLBACKS.token(7, NONCE) for secret in found)
    unpurposed = urlsafe_b64encode(hmac.digest(b"k" * 40, f"7.{NONCE}".encode(), "sha256")).decode()
    assert unpurposed.rstrip("=") not in found, "each purpose has a key of its own"


# Silence


def test_a_hub_is_silent_if_news_came_without_a_push_in_the_hour_before() -> None:
    assert not is_silent(None, now=NOW)
    assert not is_silent(NOW - timedelta(minutes=59), now=NOW)
    assert is_silent(NOW - timedelta(minutes=61), now=NOW)


def test_only_a_hub_over_https_gets_a_secret() -> None:
    assert is_signing(HUB)
    assert is_signing("HTTPS://hub.example.org/")
    assert not is_signing("http://hub.example.org/")
