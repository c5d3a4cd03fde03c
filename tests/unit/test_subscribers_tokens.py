from __future__ import annotations

import hashlib
import hmac
import re
import string
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import Signer

from subscribers.errors import ExpiredLink, InvalidLink
from subscribers.mac import Mac
from subscribers.tokens import CONFIRM_LIFETIME, ConfirmLink, Links

NOW = datetime(2026, 3, 14, 9, 26, 53, 589793, tzinfo=UTC)
LINKS = Links(b"a secret of at least 16 bytes")
IDS = st.integers(min_value=1, max_value=2**63 - 1)


@given(IDS)
def test_each_token_says_what_it_was_made_for(subscription_id: int) -> None:
    confirm = LINKS.confirm(subscription_id, now=NOW)
    assert LINKS.read_confirm(confirm, now=NOW) == ConfirmLink(subscription_id=subscription_id, issued_at=NOW)
    assert LINKS.read_unsubscribe(LINKS.unsubscribe(subscription_id)) == subscription_id
    assert LINKS.read_preferences(LINKS.preferences(subscription_id)) == subscription_id


@given(IDS)
def test_a_token_needs_no_encoding_in_a_url_or_a_header(subscription_id: int) -> None:
    for token in (
        LINKS.confirm(subscription_id, now=NOW),
        LINKS.unsubscribe(subscription_id),
        LINKS.preferences(subscription_id),
    ):
        assert re.fullmatch(r"[0-9][A-Za-z0-9._-]{20,90}", token)


def test_a_token_for_one_purpose_is_worthless_for_another() -> None:
    confirm, unsubscribe, preferences = LINKS.confirm(7, now=NOW), LINKS.unsubscribe(7), LINKS.preferences(7)
    for token in (unsubscribe, preferences):
        with pytest.raises(InvalidLink):
            LINKS.read_confirm(token, now=NOW)
    for token in (confirm, preferences):
        with pytest.raises(InvalidLink):
            LINKS.read_unsubscribe(token)
    for token in (confirm, unsubscribe):
        with pytest.raises(InvalidLink):
            LINKS.read_preferences(token)


def test_links_in_a_mail_are_the_same_on_every_attempt_and_do_not_expire() -> None:
    again = Links(b"a secret of at least 16 bytes")
    assert again.unsubscribe(7) == LINKS.unsubscribe(7)
    assert again.preferences(7) == LINKS.preferences(7)
    assert LINKS.unsubscribe(7) != LINKS.unsubscribe(8)


@given(IDS, st.binary(min_size=16, max_size=100))
def test_tokens_are_those_of_itsdangerous_which_signed_the_links_in_old_mails(
    subscription_id: int, secret: bytes
) -> None:
    links = Links(secret)
    for purpose, token in (
        ("unsubscribe", links.unsubscribe(subscription_id)),
        ("preferences", links.preferences(subscription_id)),
        ("confirm", links.confirm(subscription_id, now=NOW)),
    ):
        signer = Signer(
            secret, salt=f"subscribers.{purpose}", key_derivation="hmac", digest_method=hashlib.sha256
        )
        assert signer.sign(token.rpartition(".")[0]).decode() == token
    assert Links(b"a secret of at least 16 bytes").unsubscribe(7) == (
        "7.63B3_cDV0JMYF-7KwDfPcDJCbmM0FfZzrYaK3k37Z98"
    )


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_codes_are_those_of_the_standard_library(key: bytes, message: bytes) -> None:
    assert Mac(key).digest(message) == hmac.digest(key, message, "sha256")


def test_another_installation_s_token_is_refused() -> None:
    other = Links(b"another secret of 16 bytes or so")
    with pytest.raises(InvalidLink):
        LINKS.read_unsubscribe(other.unsubscribe(7))


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16"):
        Links(b"short")


@pytest.mark.parametrize(
    ("token", "read"),
    [
        (LINKS.unsubscribe(71), LINKS.read_unsubscribe),
        (LINKS.confirm(71, now=NOW), partial(LINKS.read_confirm, now=NOW)),
    ],
)
def test_every_change_of_one_character_is_refused(token: str, read: Callable[[str], object]) -> None:
    for place in range(len(token)):
        for other in set(string.ascii_letters + string.digits + "-_.=") - {token[place]}:
            with pytest.raises(InvalidLink):
                read(token[:place] + other + token[place + 1 :])


@given(st.text(max_size=60))
def test_anything_else_is_an_invalid_link_and_nothing_worse(token: str) -> None:
    with pytest.raises(InvalidLink):
        LINKS.read_confirm(token, now=NOW)
    with pytest.raises(InvalidLink):
        LINKS.read_preferences(token)


@pytest.mark.parametrize("mangle", [str.upper, lambda t: t[:-1], lambda t: t + "\n", lambda t: "0" + t])
def test_a_token_that_was_mangled_on_its_way_is_refused(mangle: Callable[[str], str]) -> None:
    with pytest.raises(InvalidLink):
        LINKS.read_unsubscribe(mangle(LINKS.unsubscribe(7)))


def test_a_confirmation_expires_after_its_lifetime_and_says_when() -> None:
    token = LINKS.confirm(7, now=NOW)
    last = NOW + CONFIRM_LIFETIME
    assert LINKS.read_confirm(token, now=last).subscription_id == 7
    with pytest.raises(ExpiredLink, match="2026-03-21") as caught:
        LINKS.read_confirm(token, now=last + timedelta(microseconds=1))
    assert caught.value.expired_at == last


def test_a_token_made_by_a_clock_that_is_wrong_by_far_is_refused() -> None:
    assert LINKS.read_confirm(LINKS.confirm(7, now=NOW + timedelta(minutes=1)), now=NOW)
    with pytest.raises(ExpiredLink):
        LINKS.read_confirm(LINKS.confirm(7, now=NOW + timedelta(days=365)), now=NOW)
