from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndicate.deliver.backoff import decide_next_attempt
from syndicate.deliver.pace import Pace
from syndicate.deliver.relay import RelaySettings, make_tls_context
from syndicate.deliver.wording import clean_reply
from syndicate.errors import ConfigurationError


def relay(**changes: Any) -> RelaySettings:
    values: dict[str, Any] = {
        "host": "relay.example.org",
        "port": 587,
        "username": "",
        "read_password": lambda: "",
        "tls": "starttls",
        "connections": 1,
        "rate_s": 0.0,
    }
    return RelaySettings(**values | changes)


def test_the_password_is_in_no_representation() -> None:
    settings = relay(username="us", read_password=lambda: "canary-7d1f")
    assert "canary" not in repr(settings)
    assert "canary" not in str(settings)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1", "LOCALHOST"])
def test_clear_text_is_fine_on_this_machine_with_a_password_too(host: str) -> None:
    assert relay(host=host, tls="none", username="us", read_password=lambda: "pw").tls == "none"


@pytest.mark.parametrize("host", ["relay.example.org", "10.0.0.1", "localhost.example.org", "0.0.0.0"])
def test_clear_text_to_another_machine_needs_leave(host: str) -> None:
    with pytest.raises(ConfigurationError, match="insecure = true"):
        relay(host=host, tls="none")
    assert relay(host=host, tls="none", insecure=True).insecure


def test_no_leave_sends_a_password_in_clear_text() -> None:
    with pytest.raises(ConfigurationError, match=r"\[smtp\] username") as caught:
        relay(tls="none", insecure=True, username="us", read_password=lambda: "canary-7d1f")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_the_tls_context_verifies_certificate_and_name(tls: Literal["starttls", "implicit"]) -> None:
    context = make_tls_context(relay(tls=tls))
    assert context is not None
    assert context.check_hostname
    assert context.verify_mode.name == "CERT_REQUIRED"
    assert context.minimum_version.name == "TLSv1_2"


@pytest.mark.parametrize(("name", "reason"), [("absent.pem", "No such file"), ("empty.pem", "no PEM")])
def test_a_ca_file_that_cannot_be_used_is_a_mistake_in_the_settings(
    tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path / "empty.pem").write_text("nothing here")
    with pytest.raises(ConfigurationError, match=reason):
        make_tls_context(relay(ca_file=tmp_path / name))


def test_turns_come_at_equal_distances_and_unused_ones_do_not_add_up() -> None:
    pace = Pace(2.0)
    assert [pace.reserve(100.0) for _ in range(3)] == [0.0, 0.5, 1.0]
    assert [pace.reserve(200.0) for _ in range(2)] == [0.0, 0.5]


def test_without_a_limit_every_turn_is_now() -> None:
    pace = Pace(0.0)
    assert [pace.reserve(now_s) for now_s in (5.0, 5.0, 6.0)] == [0.0, 0.0, 0.0]


@given(rate_s=st.floats(0.01, 1000), steps_s=st.lists(st.floats(0, 10), min_size=2, max_size=20))
def test_no_two_turns_are_nearer_than_the_rate_allows(rate_s: float, steps_s: list[float]) -> None:
    pace, now_s, turns_s = Pace(rate_s), 0.0, []
    for step_s in steps_s:
        now_s += step_s
        turns_s.append(now_s + pace.reserve(now_s))
    assert all(b - a >= 1 / rate_s - 1e-6 for a, b in pairwise(turns_s))


@pytest.mark.parametrize(("attempts", "minutes"), [(0, 5), (1, 5), (2, 15), (3, 30), (4, 60), (40, 60)])
def test_attempts_come_after_5_15_30_minutes_and_then_hourly(
    now: datetime, attempts: int, minutes: int
) -> None:
    assert decide_next_attempt(attempts, now=now, jitter=0.0) == now + timedelta(minutes=minutes)


def test_jitter_makes_a_delay_longer_by_a_fifth_at_most(now: datetime) -> None:
    assert decide_next_attempt(1, now=now, jitter=1.0) == now + timedelta(minutes=6)


@given(st.text(st.characters(exclude_categories=()), max_size=900))
def test_a_reply_is_kept_as_one_printable_line(text: str) -> None:
    line = clean_reply(text)
    assert line.isprintable()
    assert len(line) <= 500
    assert line.encode("utf-8").decode("utf-8") == line
