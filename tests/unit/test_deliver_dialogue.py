"""The dialogue without a network: a server that is a function, and what became of each message."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syndicate.deliver.dialogue import Dialogue
from syndicate.deliver.outcome import Envelope
from syndicate.deliver.pace import Allowance, Pace
from syndicate.deliver.replies import Extensions, Reply
from syndicate.deliver.stream import Stream
from syndicate.errors import RelayError

PIPELINED, LOCK_STEP = Extensions(has_pipelining=True), Extensions()
MODES = pytest.mark.parametrize("extensions", [PIPELINED, LOCK_STEP], ids=["pipelined", "lock step"])
BACK, FAULT, DROP = "waiting", "fault", 0
GOOD = {"RSET": 250, "MAIL": 250, "RCPT": 250, "DATA": 354, "content": 250}


def make_stream(envelopes: Iterable[Envelope], rate_s: float = 0.0) -> Stream:
    made = Stream("relay:25", Pace(rate_s), Allowance(1), asyncio.Event())
    made.add(envelopes)
    return made


def envelope(key: int, message: bytes = b"Subject: x\r\n\r\ny\r\n", recipient: str = "") -> Envelope:
    return Envelope(
        key=key,
        sender="news@example.org",
        recipient=recipient or f"reader{key}@example.com",
        pieces=(message,),
    )


@dataclass
class Talk:
    """A dialogue with a server that insists on the order of commands; ``codes`` is what it says to whom."""

    extensions: Extensions
    codes: Mapping[tuple[int, str], int] = field(default_factory=dict)
    messages: int = 3
    rate_s: float = 0.0
    is_fresh: bool = True
    share: int = 0
    now_s: float = 0.0
    groups: list[list[str]] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        envelopes = [envelope(key) for key in range(1, self.messages + 1)]
        self.stream = make_stream(envelopes, self.rate_s)
        self.dialogue = Dialogue(self.stream, self.extensions, share=self.share)
        self.dialogue.is_fresh = self.is_fresh
        self._owes: deque[tuple[int, str]] = deque()
        self._key, self._has_sender, self._has_recipient = 0, False, False

    def go(self) -> Talk:
        self.write()
        while self._owes and not self.dialogue.is_over:
            key, verb = self._owes.popleft()
            code = self.answer(key, verb)
            if code == DROP:
                self.dialogue.end("the connection was closed")
            else:
                self.dialogue.take_replies([Reply(code, f"about {key}")], self.now_s)
            self.write()
        return self

    def reply(self, code: int, *, is_content_out: bool = True) -> None:
        self.dialogue.take_replies([Reply(code, "")], self.now_s, is_content_out=is_content_out)

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
        found = self.stream.take_outcomes()
        outcomes = {o.key: o for o in found}
        assert len(outcomes) == len(found)
        waiting = {envelope.key for envelope in self.stream.waiting}
        assert not waiting & outcomes.keys()
        return [
            BACK
            if key in waiting
            else "lost"
            if key not in outcomes
            else FAULT
            if outcomes[key].stage == "connect" and self.stream.fault
            else outcomes[key].kind.value
            for key in range(1, self.messages + 1)
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
    for code in (250, 250, 354):
        talk.dialogue.advance(0.0)
        talk.reply(code)
    return talk


def test_an_answer_before_the_question_is_none() -> None:
    talk = begun()
    talk.reply(250)
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
    talk.reply(code, is_content_out=False)
    assert talk.dialogue.is_over
    assert talk.kinds == [expected, BACK]


def test_a_message_whose_dot_has_provably_not_left_is_not_uncertain() -> None:
    talk = begun()
    talk.dialogue.advance(0.0)
    talk.dialogue.end("the connection was closed", is_dot_unsent=True)
    assert talk.kinds == ["deferred", BACK]


def test_no_content_goes_out_once_the_relay_is_at_fault() -> None:
    talk = begun()
    talk.stream.fail(RelayError("relay:25", "mail", "550 no"))  # as another connection would find
    assert talk.dialogue.advance(0.0) == []
    assert talk.dialogue.is_over
    assert talk.kinds == [FAULT, FAULT]


def test_each_message_has_its_turn_in_the_pace_and_no_follower_goes_before_its_own() -> None:
    talk = Talk(PIPELINED, rate_s=1.0)
    talk.dialogue.advance(0.0)
    for code in (250, 250, 354):
        talk.reply(code)
    assert len(talk.dialogue.advance(0.5)) == 1
    talk.reply(250)
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
    stream = make_stream([envelope(1, message)])
    assert Dialogue(stream, extensions).advance(0.0) == []
    (outcome,) = stream.take_outcomes()
    assert (outcome.kind, outcome.stage, outcome.code) == ("failed", "data", None)
    assert words in outcome.reply


def test_the_size_counts_the_message_before_its_dots_are_doubled() -> None:
    stream = make_stream([envelope(1, b".\r\n" * 5)])
    dialogue = Dialogue(stream, Extensions(has_size=True, max_bytes=15))
    assert dialogue.advance(0.0) == [b"MAIL FROM:<news@example.org> SIZE=15\r\n"]


def begins(envelope: Envelope, extensions: Extensions) -> tuple[list[bytes], Stream]:
    stream = make_stream([envelope])
    return Dialogue(stream, extensions).advance(0.0), stream


UTF8 = Extensions(has_pipelining=True, has_size=True, has_8bitmime=True, has_smtputf8=True)


def test_an_address_beyond_ascii_goes_out_in_utf_8_and_says_so() -> None:
    message = "To: röder@bücher.example\r\n\r\ny\r\n".encode()
    sent = envelope(1, message, "röder@bücher.example")._replace(is_canonical=True)
    group, _ = begins(sent, UTF8)
    assert group[0] == b"MAIL FROM:<news@example.org> SIZE=%d BODY=8BITMIME SMTPUTF8\r\n" % len(message)
    assert group[1] == "RCPT TO:<röder@bücher.example>\r\n".encode()


def test_a_domain_beyond_ascii_takes_no_extension() -> None:
    group, _ = begins(envelope(1, recipient="reader@bücher.example"), UTF8)
    assert group[0].endswith(b" SIZE=17\r\n")
    assert group[1] == b"RCPT TO:<reader@xn--bcher-kva.example>\r\n"


def test_an_address_beyond_ascii_fails_alone_where_the_relay_takes_none() -> None:
    stream = make_stream([envelope(1, recipient="röder@example.com"), envelope(2)])
    assert Dialogue(stream, PIPELINED).advance(0.0)[1] == b"RCPT TO:<reader2@example.com>\r\n"
    (outcome,) = stream.take_outcomes()
    assert (outcome.key, outcome.kind, outcome.stage, outcome.code) == (1, "failed", "envelope", None)
    assert outcome.reply.startswith("5.6.7 'r\\xf6der@example.com' has letters beyond ASCII")


def test_the_pieces_of_a_message_go_out_as_they_are_and_the_dot_after_them() -> None:
    pieces = (b"Subject: x\r\n\r\n", b"one\r\n", b"two\r\n")
    sent = Envelope(
        key=1, sender="a@example.org", recipient="b@example.com", pieces=pieces, is_canonical=True
    )
    dialogue = Dialogue(make_stream([sent]), PIPELINED)
    dialogue.advance(0.0)
    dialogue.take_replies([Reply(250, ""), Reply(250, ""), Reply(354, "")], 0.0)
    assert dialogue.advance(0.0) == [*pieces, b".\r\n"]
    assert dialogue.content_bytes == sum(map(len, pieces)) + 3


def test_each_message_may_have_a_sender_of_its_own() -> None:
    stream = make_stream([envelope(key)._replace(sender=f"b+{key}@example.org") for key in (1, 2)])
    dialogue = Dialogue(stream, PIPELINED)
    assert dialogue.advance(0.0)[0] == b"MAIL FROM:<b+1@example.org>\r\n"
    dialogue.take_replies([Reply(250, ""), Reply(250, ""), Reply(354, "")], 0.0)
    assert dialogue.advance(0.0)[1] == b"MAIL FROM:<b+2@example.org>\r\n"


def test_a_message_whose_time_has_passed_is_not_begun_and_the_next_one_is() -> None:
    stream = make_stream([envelope(1)._replace(begin_before_s=5.0), envelope(2)])
    assert Dialogue(stream, PIPELINED).advance(5.1)[1] == b"RCPT TO:<reader2@example.com>\r\n"
    (outcome,) = stream.take_outcomes()
    assert (outcome.key, outcome.kind, outcome.code) == (1, "stale", None)


@MODES
def test_a_message_whose_time_passed_before_its_content_is_begun_gets_none(extensions: Extensions) -> None:
    stream = make_stream([envelope(1)._replace(begin_before_s=5.0), envelope(2)])
    dialogue = Dialogue(stream, extensions)
    for code in (250, 250, 354):
        dialogue.advance(5.0)
        dialogue.take_replies([Reply(code, "")], 5.0)
    assert dialogue.advance(5.1) == []
    assert dialogue.is_over
    assert [(o.key, o.kind.value) for o in stream.take_outcomes()] == [(1, "stale")]
    assert [e.key for e in stream.waiting] == [2]
    assert stream.open == 0


def test_a_follower_whose_time_passed_while_it_waited_for_the_dot_before_it_gets_no_content() -> None:
    stream = make_stream([envelope(1), envelope(2)._replace(begin_before_s=5.0)])
    dialogue = Dialogue(stream, PIPELINED)
    for codes in ((250, 250, 354), (250, 250, 250, 354)):
        dialogue.advance(1.0)
        dialogue.take_replies([Reply(code, "") for code in codes], 5.1)
    assert dialogue.advance(5.1) == []
    assert dialogue.is_over
    assert {o.key: o.kind.value for o in stream.take_outcomes()} == {1: "sent", 2: "stale"}


def waiting_behind_a_dot(begin_before_s: float) -> tuple[Dialogue, Stream]:
    """The content of the first message is out and not answered; the second one's commands are behind it."""
    stream = make_stream([envelope(1), envelope(2)._replace(begin_before_s=begin_before_s), envelope(3)])
    dialogue = Dialogue(stream, PIPELINED)
    dialogue.advance(1.0)
    dialogue.take_replies([Reply(code, "") for code in (250, 250, 354)], 1.0)
    dialogue.advance(1.0)
    return dialogue, stream


def test_who_waits_behind_a_slow_dot_is_let_go_once_the_time_to_begin_has_passed() -> None:
    dialogue, stream = waiting_behind_a_dot(5.0)
    dialogue.let_go(5.0)
    assert stream.take_outcomes() == []

    dialogue.let_go(5.1)
    dialogue.let_go(5.2)

    assert [(o.key, o.kind.value) for o in stream.take_outcomes()] == [(2, "stale")]
    # The dot still counts, and what was let go gets no content, not even an empty one.
    dialogue.take_replies([Reply(code, "") for code in (250, 250, 250, 354)], 6.0)
    assert [(o.key, o.kind.value) for o in stream.take_outcomes()] == [(1, "sent")]
    assert dialogue.is_over
    assert dialogue.advance(6.0) == []
    assert [e.key for e in stream.waiting] == [3]


def test_a_connection_goes_on_after_one_that_was_let_go_is_refused() -> None:
    dialogue, stream = waiting_behind_a_dot(5.0)
    dialogue.let_go(5.1)

    dialogue.take_replies([Reply(code, "") for code in (250, 250, 550, 554)], 6.0)

    assert [(o.key, o.kind.value) for o in stream.take_outcomes()] == [(2, "stale"), (1, "sent")]
    assert b"".join(dialogue.advance(6.0)).startswith(b"RSET\r\nMAIL FROM:<news@example.org>")


@MODES
def test_a_connection_takes_its_share_of_messages_and_no_more(extensions: Extensions) -> None:
    talk = Talk(extensions, messages=3, share=2).go()
    assert talk.kinds == ["sent", "sent", BACK]
    assert talk.dialogue.is_used_up
    assert not talk.dialogue.is_over


@pytest.mark.parametrize(("is_dot_unsent", "expected"), [(False, "uncertain"), (True, BACK)])
def test_what_we_end_ourselves_is_uncertain_only_if_its_dot_may_have_left(
    is_dot_unsent: bool,  # noqa: FBT001 - a column of the table
    expected: str,
) -> None:
    talk = begun()
    talk.dialogue.advance(0.0)
    talk.dialogue.abandon(is_dot_unsent=is_dot_unsent)
    assert talk.kinds == [expected, BACK]


def test_what_we_end_before_any_content_is_given_back() -> None:
    talk = Talk(PIPELINED, messages=2)
    talk.dialogue.advance(0.0)
    talk.dialogue.abandon()
    assert talk.kinds == [BACK, BACK]
    assert talk.stream.open == 0


@pytest.mark.parametrize(("code", "reply"), [(421, "4.3.2 closing"), (450, "4.7.1 slow down")])
def test_a_relay_that_asks_for_less_gets_half_as_many_connections(code: int, reply: str) -> None:
    stream = make_stream([envelope(1), envelope(2)])
    stream.allowance = Allowance(8)
    stream.allowance.in_use = 6
    dialogue = Dialogue(stream, LOCK_STEP)
    dialogue.advance(0.0)
    dialogue.take_replies([Reply(code, reply)], 10.0)
    assert stream.allowance.count == 3


def test_what_one_reader_meets_leaves_the_connections_alone() -> None:
    stream = make_stream([envelope(1)])
    stream.allowance = Allowance(8)
    dialogue = Dialogue(stream, LOCK_STEP)
    for code, text in ((250, ""), (450, "4.2.1 greylisted")):
        dialogue.advance(0.0)
        dialogue.take_replies([Reply(code, text)], 10.0)
    assert stream.allowance.count == 8
    assert stream.take_outcomes()[0].kind == "deferred"


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
    assert talk.dialogue.is_over or talk.stream.fault or all(touched)
    assert kinds.count("uncertain") <= 1
    assert "lost" not in kinds
