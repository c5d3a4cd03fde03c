import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndicate.deliver.classify import RelayFault, blames_reader, classify, is_overload
from syndicate.deliver.outcome import OutcomeKind, Stage

DEFERRED, FAILED, SENT = OutcomeKind.DEFERRED, OutcomeKind.FAILED, OutcomeKind.SENT
UNCERTAIN, UNSENT = OutcomeKind.UNCERTAIN, OutcomeKind.UNSENT
BUSY, REFUSED = RelayFault.BUSY, RelayFault.REFUSED

#: Stages across, what came back down; written out by hand, so that a change of a rule shows here.
STAGES = ("connect", "tls", "auth", "mail", "rcpt", "data", "dot")
TABLE = {
    None: (BUSY, BUSY, BUSY, DEFERRED, DEFERRED, DEFERRED, UNCERTAIN),
    250: (BUSY, BUSY, BUSY, DEFERRED, DEFERRED, DEFERRED, SENT),
    354: (BUSY, BUSY, BUSY, DEFERRED, DEFERRED, DEFERRED, UNCERTAIN),
    421: (BUSY, BUSY, BUSY, UNSENT, UNSENT, UNSENT, DEFERRED),
    450: (BUSY, BUSY, BUSY, DEFERRED, DEFERRED, DEFERRED, DEFERRED),
    451: (BUSY, BUSY, BUSY, DEFERRED, DEFERRED, DEFERRED, DEFERRED),
    452: (BUSY, BUSY, BUSY, DEFERRED, DEFERRED, DEFERRED, DEFERRED),
    454: (BUSY, BUSY, BUSY, DEFERRED, DEFERRED, DEFERRED, DEFERRED),
    500: (REFUSED, REFUSED, REFUSED, REFUSED, FAILED, FAILED, FAILED),
    530: (REFUSED, REFUSED, REFUSED, REFUSED, FAILED, FAILED, FAILED),
    535: (REFUSED, REFUSED, REFUSED, REFUSED, FAILED, FAILED, FAILED),
    550: (REFUSED, REFUSED, REFUSED, REFUSED, FAILED, FAILED, FAILED),
    552: (REFUSED, REFUSED, REFUSED, REFUSED, DEFERRED, FAILED, FAILED),
    554: (REFUSED, REFUSED, REFUSED, REFUSED, FAILED, FAILED, FAILED),
}
CASES = [
    (stage, code, expected)
    for code, row in TABLE.items()
    for stage, expected in zip(STAGES, row, strict=True)
]


@pytest.mark.parametrize(("stage", "code", "expected"), CASES)
def test_a_reply_means_what_the_table_says(
    stage: str, code: int | None, expected: OutcomeKind | RelayFault
) -> None:
    assert classify(Stage(stage), code, "as you like") is expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("5.2.2 mailbox full", FAILED),
        ("5.2.20 something else", DEFERRED),
        ("5.5.3 too many recipients", DEFERRED),
        ("too many recipients", DEFERRED),
        ("quota 5.2.2 is not where a status stands", DEFERRED),
    ],
)
def test_552_at_rcpt_is_final_only_if_it_names_a_full_mailbox(reply: str, expected: OutcomeKind) -> None:
    assert classify(Stage.RCPT, 552, reply) is expected


codes = st.none() | st.integers(200, 599)


@given(stage=st.sampled_from(Stage), code=codes, reply=st.text(max_size=30))
def test_only_a_positive_reply_to_the_dot_is_ever_sent(stage: Stage, code: int | None, reply: str) -> None:
    is_acceptance = stage is Stage.DOT and code is not None and 200 <= code < 300
    assert (classify(stage, code, reply) is SENT) == is_acceptance


@given(stage=st.sampled_from(Stage), code=codes, reply=st.text(max_size=30))
def test_nothing_is_uncertain_before_its_content_has_begun(
    stage: Stage, code: int | None, reply: str
) -> None:
    assert (classify(stage, code, reply) is UNCERTAIN) <= (stage is Stage.DOT)


@given(stage=st.sampled_from(Stage), code=st.none() | st.integers(400, 499), reply=st.text(max_size=30))
def test_what_may_pass_never_fails_a_reader(stage: Stage, code: int | None, reply: str) -> None:
    assert stage is Stage.ENVELOPE or classify(stage, code, reply) is not FAILED


@pytest.mark.parametrize(
    ("stage", "reply", "expected"),
    [
        ("envelope", "'a b' cannot be put into an SMTP command", True),
        ("rcpt", "5.1.1 no such user", True),
        ("rcpt", "no such user", True),
        ("rcpt", "5.0.0 no", True),
        ("rcpt", "5.2.2 full", True),
        ("rcpt", "5.7.1 relaying denied", False),
        ("rcpt", "5.1.8 bad sender", False),
        ("rcpt", "5.4.6 loop", False),
        ("data", "5.1.1 no such user", False),
        ("dot", "5.1.1 no such user", True),
        ("dot", "5.7.515 authentication", False),
        ("dot", "5.3.4 too big", False),
        ("dot", "looks like spam", False),
    ],
)
def test_a_reader_is_blamed_for_the_mailbox_and_not_for_our_content(
    stage: str,
    reply: str,
    expected: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert blames_reader(Stage(stage), reply) is expected


@pytest.mark.parametrize(
    ("code", "reply", "expected"),
    [
        (421, "closing", True),
        (421, "4.3.2 closing", True),
        (450, "4.7.1 slow down", True),
        (451, "4.7.650 too many messages", True),
        (450, "4.2.1 greylisted", False),
        (452, "4.5.3 too many recipients", False),
        (450, "4.70.1 not a subject of ours", False),
        (550, "5.7.1 no", False),
        (None, "4.7.0 of no reply", False),
    ],
)
def test_a_relay_asks_for_less_by_421_and_by_4_7(
    code: int | None,
    reply: str,
    expected: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert is_overload(code, reply) is expected
