"""The dialogue without a network: a server that is a function, and what became of each message."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syndicate.deliver.dialogue import Dialogue
from syndicate.deliver.outcome import Envelope
from syndicate.deliver.pace import Pace
from syndicate.deliver.replies import Extensions, Reply
from syndicate.deliver.run import Run

PIPELINED, LOCK_STEP = Extensions(has_pipelining=True), Extensions()
MODES = pytest.mark.parametrize("extensions", [PIPELINED, LOCK_STEP], ids=["pipelined", "lock step"])
BACK, FAULT, DROP = "waiting", "fault", 0
GOOD = {"RSET": 250, "MAIL": 250, "RCPT": 250, "DATA": 354, "content": 250}


def envelope(key: int, message: bytes = b"Subject: x\r\n\r\ny\r\n", recipient: str = "") -> Envelope:
    return Envelope(
        key=key, sender="news@example.org", recipient=recipient or f"reader{key}@example.com", message=message
    )


@dataclass
class Talk:
    """A dialogue with a server that insists on the order of commands; ``codes`` is what it says to whom."""

    extensions: Extensions
    codes: Mapping[tuple[int, str], int] = field(default_factory=dict)
    messages: int = 3
    rate_s: float = 0.0
    is_fresh: bool = True
    now_s: float = 0.0
    groups: list[list[str]] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        envelopes = [envelope(key) for key in range(1, self.messages + 1)]
        self.run = Run(envelopes, relay="relay:25", pace=Pace(self.rate_s), slots=1, refusals=0)
        self.dialogue = Dialogue("relay:25", self.extensions)
        self._owes: deque[tuple[int, str]] = deque()
        self._key, self._has_sender, self._has_recipient = 0, False, False

    def go(self) -> Talk:
        place = self.run.take(0)
        assert place is not None
        self.dialogue.begin(self.run, 0, place, is_fresh=self.is_fresh)
        self.write()
        while self._owes and not self.dialogue.is_over:
            key, verb = self._owes.popleft()
            code = self.answer(key, verb)
            if code == DROP:
                self.dialogue.end("the connection was closed")
            else:
                self.dialogue.take_reply(Reply(code, f"about {key}"))
            self.write()
        return self

    def write(self) -> None:
        group = []
        for part in self.dialogue.advance(self.now_s):
            verb = part[:4].decode() if part[:4] in {b"RSET", b"MAIL", b"RCPT", b"DATA"} else "content"
            verb = "." if part == b".\r\n" else verb
            group.append(verb)
            self._key += verb == "MAIL"
            self._owes.append((self._key, verb))
        if group:
            self.groups.append(group)

    def answer(self, key: int, verb: str) -> int:
        out_of_order = (
            (verb == "MAIL" and self._has_sender)
            or (verb == "RCPT" and not self._has_sender)
            or (verb in {"DATA", "."} and not self._has_recipient)
        )
        code = self.codes.get((key, verb), 503 if out_of_order else GOOD.get(verb, 250))
        if verb in {"content", ".", "RSET"}:
            self._has_sender = self._has_recipient = False
        elif verb == "MAIL":
            self._has_sender |= code == 250
        elif verb == "RCPT":
            self._has_recipient |= code == 250
        if verb == "content" and code == 250:
            self.accepted.append(key)
        return code

    @property
    def kinds(self) -> list[str]:
        """What became of each message; "waiting" if it is in nobody's hands, as if nothing had been tried."""
        outcomes, waiting = self.run.report().outcomes, set()
        while (place := self.run.take(0)) is not None:
            waiting.add(place)
        return [
            o.kind.value
            if o.stage != "connect"
            else FAULT
            if self.run.fault
            else BACK
            if place in waiting
            else "lost"
            for place, o in enumerate(outcomes)
        ]


def test_commands_of_the_next_message_go_out_with_the_content_of_the_one_before() -> None:
    talk = Talk(PIPELINED).go()
    assert talk.kinds == ["sent"] * 3
    assert talk.groups == [
        ["MAIL", "RCPT", "DATA"],
        ["content", "MAIL", "RCPT", "DATA"],
        ["content", "MAIL", "RCPT", "DATA"],
        ["content"],
    ]


def test_a_server_without_pipelining_gets_one_command_at_a_time() -> None:
    talk = Talk(LOCK_STEP, messages=2).go()
    assert talk.kinds == ["sent"] * 2
    assert talk.groups == [[verb] for verb in ("MAIL", "RCPT", "DATA", "content")] * 2


CODES = (421, 450, 451, 452, 454, 500, 530, 535, 550, 552, 554, 250, 334, 354, DROP)
#: What the second of three messages comes to, by what is said to it and when; written out by hand.
EXPECTED: dict[str, dict[int, str]] = {
    "MAIL": dict.fromkeys((421, 334, 354, DROP), BACK)
    | dict.fromkeys((450, 451, 452, 454), "deferred")
    | dict.fromkeys((500, 530, 535, 550, 552, 554), FAULT)
    | {250: "sent"},
    "RCPT": dict.fromkeys((450, 451, 452, 454, 552, 334, 354, DROP), "deferred")
    | dict.fromkeys((500, 530, 535, 550, 554), "failed")
    | {250: "sent", 421: "unsent"},
    "DATA": dict.fromkeys((450, 451, 452, 454, 250, 334, DROP), "deferred")
    | dict.fromkeys((500, 530, 535, 550, 552, 554), "failed")
    | {354: "sent", 421: "unsent"},
    "content": dict.fromkeys((421, 450, 451, 452, 454), "deferred")
    | dict.fromkeys((500, 530, 535, 550, 552, 554), "failed")
    | dict.fromkeys((334, 354, DROP), "uncertain")
    | {250: "sent"},
}
#: After these the connection is of no use.
ENDS = {
    "MAIL": {421, 500, 530, 535, 550, 552, 554, 334, 354, DROP},
    "RCPT": {421, 334, 354, DROP},
    "DATA": {421, 250, 334, DROP},
    "content": {421, 334, 354, DROP},
}


@MODES
@pytest.mark.parametrize("verb", EXPECTED)
@pytest.mark.parametrize("code", CODES)
def test_a_reply_in_mid_stream_concerns_its_own_message_and_no_other(
    extensions: Extensions, verb: str, code: int
) -> None:
    talk = Talk(extensions, {(2, verb): code}).go()
    expected = EXPECTED[verb][code]
    is_over = code in ENDS[verb]
    assert talk.dialogue.is_over is is_over
    rest = FAULT if expected == FAULT else BACK if is_over else "sent"
    assert talk.kinds == ["sent", expected, rest]
    sent = {1: True, 2: expected == "sent", 3: not is_over}
    assert talk.accepted == [key for key, is_sent in sent.items() if is_sent]


@MODES
@pytest.mark.parametrize(("code", "expected"), [(DROP, "deferred"), (421, "unsent"), (354, "deferred")])
def test_a_new_connection_that_ends_at_mail_counts_against_the_message(
    extensions: Extensions, code: int, expected: str
) -> None:
    codes = {(1, "MAIL"): code}
    assert Talk(extensions, codes, messages=1).go().kinds == [expected]
    assert Talk(extensions, codes, messages=1, is_fresh=False).go().kinds == [BACK]


@pytest.mark.parametrize("verb", ["RCPT", "DATA"])
def test_what_was_refused_is_reset_along_with_the_next_message(verb: str) -> None:
    talk = Talk(PIPELINED, {(1, verb): 550}, messages=2).go()
    assert talk.kinds == ["failed", "sent"]
    assert talk.groups == [["MAIL", "RCPT", "DATA"], ["RSET", "MAIL", "RCPT", "DATA"], ["content"]]


@MODES
@pytest.mark.parametrize("code", [421, 450, 500, 354, DROP])
def test_a_reset_that_fails_gives_the_next_message_back(extensions: Extensions, code: int) -> None:
    talk = Talk(extensions, {(1, "RCPT"): 550, (1, "RSET"): code}, messages=2)
    talk.go()
    assert talk.kinds == ["failed", BACK]
    assert talk.dialogue.is_over


def test_a_refused_sender_leaves_no_transaction_and_needs_no_reset() -> None:
    talk = Talk(PIPELINED, {(1, "MAIL"): 451}, messages=2).go()
    assert talk.kinds == ["deferred", "sent"]
    assert talk.groups == [["MAIL", "RCPT", "DATA"], ["MAIL", "RCPT", "DATA"], ["content"]]


def test_data_that_is_let_through_after_a_refused_recipient_gets_a_lone_dot() -> None:
    talk = Talk(PIPELINED, {(1, "RCPT"): 550, (1, "DATA"): 354}, messages=2).go()
    assert talk.kinds == ["failed", "sent"]
    assert talk.groups == [["MAIL", "RCPT", "DATA"], ["."], ["MAIL", "RCPT", "DATA"], ["content"]]
    assert talk.accepted == [2]


@pytest.mark.parametrize("code", [250, 421, 450, 550, 354, DROP])
def test_nothing_that_is_said_to_a_lone_dot_concerns_anybody(code: int) -> None:
    codes = {(1, "RCPT"): 550, (1, "DATA"): 354, (1, "."): code}
    talk = Talk(PIPELINED, codes, messages=2).go()
    assert talk.kinds == ["failed", BACK if code in {421, 354, DROP} else "sent"]


def test_no_empty_message_goes_to_a_recipient_who_was_accepted_after_the_sender_was_refused() -> None:
    talk = Talk(PIPELINED, {(1, "MAIL"): 451, (1, "RCPT"): 250, (1, "DATA"): 354}, messages=2).go()
    assert talk.groups == [["MAIL", "RCPT", "DATA"]]
    assert talk.dialogue.is_over
    assert talk.kinds == ["deferred", BACK]


def begun(extensions: Extensions = PIPELINED, messages: int = 2) -> Talk:
    """Up to where the content of the first message, and the commands of the second, are out."""
    talk = Talk(extensions, messages=messages)
    place = talk.run.take(0)
    assert place is not None
    talk.dialogue.begin(talk.run, 0, place, is_fresh=True)
    for code in (250, 250, 354):
        talk.dialogue.advance(0.0)
        talk.dialogue.take_reply(Reply(code, ""))
    return talk


def test_an_answer_before_the_question_is_none() -> None:
    talk = begun()
    talk.dialogue.take_reply(Reply(250, "queued before anything was sent"))
    assert talk.dialogue.is_over
    assert talk.dialogue.advance(0.0) == []
    assert talk.kinds == ["deferred", BACK]


@pytest.mark.parametrize(
    ("code", "expected"), [(552, "failed"), (451, "deferred"), (421, "deferred"), (250, "deferred")]
)
def test_while_content_cannot_have_arrived_it_may_be_refused_and_never_accepted(
    code: int, expected: str
) -> None:
    talk = begun()
    talk.dialogue.advance(0.0)
    talk.dialogue.take_reply(Reply(code, "too early"), is_content_out=False)
    assert talk.dialogue.is_over
    assert talk.kinds == [expected, BACK]


def test_a_message_whose_dot_has_provably_not_left_is_not_uncertain() -> None:
    talk = begun()
    talk.dialogue.advance(0.0)
    talk.dialogue.end("the connection was closed", is_dot_unsent=True)
    assert talk.kinds == ["deferred", BACK]


def test_no_content_goes_out_once_the_run_has_ended() -> None:
    talk = begun()
    talk.run.fault = talk.run._fault(
        talk.run.report().outcomes[0], is_temporary=False
    )  # as another connection would
    assert talk.dialogue.advance(0.0) == []
    assert talk.dialogue.is_over
    assert talk.kinds == [FAULT, FAULT]


def test_each_message_has_its_turn_in_the_pace_and_no_follower_goes_before_its_own() -> None:
    talk = Talk(PIPELINED, rate_s=1.0)
    assert talk.run.take_if_due(0, 0.0) == 0
    talk.dialogue.begin(talk.run, 0, 0, is_fresh=True)
    talk.dialogue.advance(0.0)
    for code in (250, 250, 354):
        talk.dialogue.take_reply(Reply(code, ""))
    assert len(talk.dialogue.advance(0.5)) == 1
    talk.dialogue.take_reply(Reply(250, ""))
    assert talk.dialogue.advance(0.9) == []
    assert talk.dialogue.owed is None
    assert len(talk.dialogue.advance(1.0)) == 3


@pytest.mark.parametrize(
    ("extensions", "message", "words"),
    [
        (Extensions(has_size=True, max_bytes=20), b"x" * 19 + b"\r\n", "has 21 bytes; the relay takes 20"),
        (Extensions(), "é\r\n".encode(), "7-bit"),
        (Extensions(), b"bare\nLF\r\n", "CRLF"),
    ],
)
def test_a_message_that_the_relay_would_not_take_is_never_begun(
    extensions: Extensions, message: bytes, words: str
) -> None:
    run = Run([envelope(1, message)], relay="relay:25", pace=Pace(0.0), slots=1, refusals=0)
    dialogue = Dialogue("relay:25", extensions)
    place = run.take(0)
    assert place is not None
    dialogue.begin(run, 0, place, is_fresh=True)
    assert dialogue.advance(0.0) == []
    (outcome,) = run.report().outcomes
    assert (outcome.kind, outcome.stage, outcome.code) == ("failed", "data", None)
    assert words in outcome.reply


def test_the_size_counts_the_message_before_its_dots_are_doubled() -> None:
    run = Run([envelope(1, b".\r\n" * 5)], relay="relay:25", pace=Pace(0.0), slots=1, refusals=0)
    dialogue = Dialogue("relay:25", Extensions(has_size=True, max_bytes=15))
    place = run.take(0)
    assert place is not None
    dialogue.begin(run, 0, place, is_fresh=True)
    assert dialogue.advance(0.0) == [b"MAIL FROM:<news@example.org> SIZE=15\r\n"]


codes = st.dictionaries(
    st.tuples(st.integers(1, 6), st.sampled_from(["RSET", "MAIL", "RCPT", "DATA", "content", "."])),
    st.sampled_from(CODES),
    max_size=8,
)


@settings(deadline=None)
@given(codes=codes, extensions=st.sampled_from([PIPELINED, LOCK_STEP]), is_fresh=st.booleans())
def test_whatever_a_server_says_no_message_is_lost_sent_twice_or_called_sent_without_being_accepted(
    codes: dict[tuple[int, str], int],
    extensions: Extensions,
    is_fresh: bool,  # noqa: FBT001 - drawn
) -> None:
    talk = Talk(extensions, codes, messages=6, is_fresh=is_fresh).go()
    kinds = talk.kinds
    assert [key for key, kind in enumerate(kinds, 1) if kind == "sent"] == sorted(talk.accepted)
    assert len(set(talk.accepted)) == len(talk.accepted)
    touched = [kind not in {BACK, FAULT} for kind in kinds]
    assert talk.dialogue.is_over or talk.run.fault or all(touched)
    assert kinds.count("uncertain") <= 1
    assert "lost" not in kinds
