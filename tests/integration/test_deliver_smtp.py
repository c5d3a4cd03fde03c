import asyncio
import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from syndicate.deliver.outcome import DeliveryReport, Envelope, Outcome
from syndicate.deliver.session import Timeouts
from syndicate.deliver.smtp import RelaySettings, SmtpRelay
from syndicate.errors import RelayError
from tests.smtp_server import ACCEPT_AND_DROP, DROP, HANG, ScriptedServer

SENDER = "news@example.org"
BODY = b"Subject: Hello\r\n\r\n.one dot\r\n..two dots\r\n.\r\nend\r\n"


def envelope(key: int = 1, recipient: str = "", message: bytes = BODY, sender: str = SENDER) -> Envelope:
    return Envelope(
        key=key, sender=sender, recipient=recipient or f"reader{key}@example.com", pieces=(message,)
    )


def settings(server: ScriptedServer, **changes: Any) -> RelaySettings:
    values = RelaySettings(
        host="127.0.0.1",
        port=server.port,
        username="",
        read_password=lambda: "",
        tls="none",
        connections=1,
        rate_s=0.0,
        local_hostname="client.example.org",
    )
    return replace(values, **changes)


def deliver(
    server: ScriptedServer,
    envelopes: Sequence[Envelope],
    timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
    **changes: Any,
) -> DeliveryReport:
    """Hands over with a relay and a server that last for this call."""

    async def work() -> DeliveryReport:
        async with server, SmtpRelay(settings(server, **changes), timeouts) as relay:
            return await relay.deliver(envelopes)

    return asyncio.run(work())


def one(server: ScriptedServer, timeouts: Timeouts = Timeouts()) -> tuple[Outcome, RelayError | None]:  # noqa: B008 - frozen
    report = deliver(server, [envelope()], timeouts)
    (outcome,) = report.outcomes
    return outcome, report.fault


def test_a_message_arrives_byte_for_byte_and_with_its_dots_doubled_on_the_wire() -> None:
    server = ScriptedServer()
    report = deliver(server, [envelope(7)])
    (outcome,) = report.outcomes
    assert (outcome.key, outcome.kind, outcome.stage, outcome.code) == (7, "sent", "dot", 250)
    assert outcome.reply == "2.0.0 queued"
    assert report.fault is None
    assert [(a.recipient, a.content) for a in server.accepted] == [("reader7@example.com", BODY)]
    assert server.raw_contents[0] == b"Subject: Hello\r\n\r\n..one dot\r\n...two dots\r\n..\r\nend\r\n.\r\n"
    assert server.commands == [
        "EHLO client.example.org",
        f"MAIL FROM:<news@example.org> SIZE={len(BODY)}",
        "RCPT TO:<reader7@example.com>",
        "DATA",
        "QUIT",
    ]


def test_a_message_beyond_7_bit_says_so_or_does_not_go_to_a_relay_that_takes_nothing_else() -> None:
    message = "Subject: é\r\n\r\nü\r\n".encode()
    server = ScriptedServer()
    assert deliver(server, [envelope(message=message)]).outcomes[0].kind == "sent"
    assert server.accepted[0].content == message
    assert "BODY=8BITMIME" in server.commands[1]
    plain = ScriptedServer(extensions=())
    (outcome,) = deliver(plain, [envelope(message=message)]).outcomes
    assert (outcome.kind, outcome.stage) == ("failed", "data")
    assert plain.verbs == ["EHLO", "QUIT"]


REPLIES = {
    "421": "421 4.3.2 closing",
    "450": "450 4.2.1 greylisted",
    "451": "451 4.3.0 later",
    "452": "452 4.3.1 too many",
    "454": "454 4.7.0 not now",
    "500": "500 5.5.2 what",
    "530": "530 5.7.0 who are you",
    "535": "535 5.7.8 wrong",
    "550": "550 5.1.1 no such user",
    "552": "552 5.5.3 too many recipients",
    "554": "554 5.0.0 no",
    "garbage": "HTTP/1.1 400 Bad Request",
    "out of range": "999 ok",
    "in two lines": "550-5.1.1 no such\r\n550 5.1.1 user",
    "without text": "550",
    "drop": DROP,
    "hang": HANG,
}
TEMPORARY, FOR_GOOD = "fault: temporary", "fault: for good"
FAULTS_BEFORE_MAIL = {
    reply: FOR_GOOD if text.startswith("5") else TEMPORARY for reply, text in REPLIES.items()
}
#: What one message for one recipient comes to, by stage and reply; by hand from the table of failure classes.
EXPECTED: dict[str, dict[str, str]] = {
    "connect": FAULTS_BEFORE_MAIL,
    "ehlo": FAULTS_BEFORE_MAIL,
    "mail": {r: FOR_GOOD if t.startswith("5") else "deferred" for r, t in REPLIES.items()}
    | {"421": TEMPORARY},
    "rcpt": {r: "failed" if t.startswith("5") else "deferred" for r, t in REPLIES.items()}
    | {"421": TEMPORARY, "552": "deferred"},
    "data": {r: "failed" if t.startswith("5") else "deferred" for r, t in REPLIES.items()}
    | {"421": TEMPORARY},
    "dot": {r: "failed" if t.startswith("5") else "deferred" for r, t in REPLIES.items()}
    | dict.fromkeys(("garbage", "out of range", "drop", "hang"), "uncertain"),
    # Nothing takes back what was accepted; only its silence would be waited for.
    "quit": dict.fromkeys(REPLIES.keys() - {"hang"}, "sent"),
}
MATRIX = [(stage, reply, expected) for stage, row in EXPECTED.items() for reply, expected in row.items()]
MODES = pytest.mark.parametrize("extensions", [("PIPELINING", "SIZE 10000000"), ("8BITMIME",)])


#: Short only where the silence is, so that a busy machine changes nothing.
SOON = {
    "connect": Timeouts(connect_s=0.2),
    "data": Timeouts(data_s=0.1),
    "dot": Timeouts(dot_s=0.1),
} | dict.fromkeys(("ehlo", "mail", "rcpt"), Timeouts(command_s=0.5))


@MODES
@pytest.mark.parametrize(("stage", "reply", "expected"), MATRIX)
def test_each_reply_at_each_stage_has_its_outcome(
    stage: str, reply: str, expected: str, extensions: tuple[str, ...]
) -> None:
    server = ScriptedServer(plan={stage: REPLIES[reply]}, extensions=extensions)
    outcome, fault = one(server, SOON[stage] if reply == "hang" else Timeouts())
    if fault is not None:
        assert outcome.kind == "unsent"
        assert expected == (TEMPORARY if fault.is_temporary else FOR_GOOD)
        assert fault.stage == ("connect" if stage == "ehlo" else stage)
        assert fault.relay == f"127.0.0.1:{server.port}"
        assert "\n" not in str(fault)
    else:
        assert outcome.kind == expected
        assert outcome.stage == (stage if outcome.kind != "sent" else "dot")
    assert (len(server.accepted) == 1) == (outcome.kind == "sent")


@MODES
@pytest.mark.parametrize(
    ("stage", "reply", "expected"),
    [case for case in MATRIX if case[0] in {"mail", "rcpt", "data", "dot"} and case[1] != "hang"],
)
def test_each_reply_in_mid_stream_concerns_its_own_message_and_no_other(
    stage: str, reply: str, expected: str, extensions: tuple[str, ...]
) -> None:
    plan = {"mail": ["250 ok", REPLIES[reply]]} if stage == "mail" else {}
    recipients = {} if stage == "mail" else {"reader2@example.com": {stage: REPLIES[reply]}}
    server = ScriptedServer(plan=plan, recipients=recipients, extensions=extensions)
    report = deliver(server, [envelope(1), envelope(2), envelope(3)])
    is_over = report.fault is not None
    if stage == "mail" and reply in {"421", "garbage", "out of range", "drop"}:
        expected = "sent"  # over another connection, and nobody pays
    elif expected in {TEMPORARY, FOR_GOOD}:
        expected = "unsent"
    assert is_over is (stage == "mail" and REPLIES[reply].startswith("5"))
    kinds = [outcome.kind.value for outcome in report.outcomes]
    assert kinds == ["sent", expected, "unsent" if is_over else "sent"]
    accepted = [key for key, kind in enumerate(kinds, 1) if kind == "sent"]
    assert [a.recipient for a in server.accepted] == [f"reader{key}@example.com" for key in accepted]


@pytest.mark.parametrize(("stage", "expected"), [("rcpt", "rcpt"), ("data", "data"), ("dot", "dot")])
def test_a_refusal_comes_with_its_code_and_words(stage: str, expected: str) -> None:
    outcome, _ = one(ScriptedServer(plan={stage: "550-5.1.1 no\x07such\r\n550 5.1.1 user"}))
    assert (outcome.stage, outcome.code, outcome.reply) == (expected, 550, "5.1.1 no such 5.1.1 user")


def test_a_server_that_accepts_and_is_gone_before_its_reply_leaves_the_message_uncertain() -> None:
    server = ScriptedServer(plan={"dot": ACCEPT_AND_DROP})
    outcome, fault = one(server)
    assert (outcome.kind, outcome.stage, outcome.code) == ("uncertain", "dot", None)
    assert fault is None
    assert len(server.accepted) == 1


@pytest.mark.parametrize("says", ["250 fine", "200 fine", "334 more", "garbage"])
def test_no_content_follows_an_answer_to_data_that_is_neither_yes_nor_no(says: str) -> None:
    server = ScriptedServer(plan={"data": says})
    outcome, _ = one(server)
    assert (outcome.kind, outcome.stage) == ("deferred", "data")
    assert server.verbs == ["EHLO", "MAIL", "RCPT", "DATA"]


def test_one_bad_recipient_harms_no_other() -> None:
    server = ScriptedServer(
        recipients={
            "reader2@example.com": {"rcpt": "550 5.1.1 no such user"},
            "reader3@example.com": {"data": "451 4.3.0 later"},
            "reader4@example.com": {"dot": "552 5.2.2 full"},
            "reader5@example.com": {"rcpt": DROP},
            "reader6@example.com": {"dot": ACCEPT_AND_DROP},
            "reader7@example.com": {"rcpt": "421 4.7.0 go away"},
            "reader8@example.com": {"dot": "421 4.3.2 closing"},
        }
    )
    report = deliver(server, [envelope(key) for key in range(1, 10)])
    assert [outcome.key for outcome in report.outcomes] == list(range(1, 10))
    assert [outcome.kind.value for outcome in report.outcomes] == [
        "sent",
        "failed",
        "deferred",
        "failed",
        "deferred",
        "uncertain",
        "unsent",
        "deferred",
        "sent",
    ]
    assert report.fault is None
    assert [a.recipient for a in server.accepted] == [f"reader{n}@example.com" for n in (1, 6, 9)]


@pytest.mark.parametrize(("extension", "noise"), [("PIPELINING", ["DATA"]), ("8BITMIME", [])])
def test_a_refused_recipient_leaves_the_connection_in_use_after_rset(
    extension: str, noise: list[str]
) -> None:
    refusals = {"reader1@example.com": {"rcpt": "550 5.1.1 no such user"}}
    server = ScriptedServer(recipients=refusals, extensions=(extension,))
    report = deliver(server, [envelope(1), envelope(2)])
    assert [outcome.kind.value for outcome in report.outcomes] == ["failed", "sent"]
    assert server.connections == 1
    assert server.verbs == ["EHLO", "MAIL", "RCPT", *noise, "RSET", "MAIL", "RCPT", "DATA", "QUIT"]


def test_data_that_is_let_through_after_a_refused_recipient_harms_nobody() -> None:
    refusals = {"reader1@example.com": {"rcpt": "550 5.1.1 no such user", "data": "354 go on"}}
    server = ScriptedServer(recipients=refusals)
    report = deliver(server, [envelope(1), envelope(2)])
    assert [outcome.kind.value for outcome in report.outcomes] == ["failed", "sent"]
    assert server.raw_contents[0] == b".\r\n"
    assert [a.recipient for a in server.accepted] == ["reader2@example.com"]
    assert server.connections == 1


def test_a_message_larger_than_the_relay_takes_is_refused_here_and_says_so() -> None:
    server = ScriptedServer(extensions=("PIPELINING", "SIZE 1000"))
    large = b"Subject: x\r\n\r\n" + b"y" * 984 + b"\r\n"
    report = deliver(server, [envelope(1, message=large + b"z\r\n"), envelope(2, message=large)])
    assert [(o.kind.value, o.stage.value) for o in report.outcomes] == [("failed", "data"), ("sent", "dot")]
    assert report.outcomes[0].reply == "the message has 1003 bytes; the relay takes 1000"
    assert server.verbs == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]


USED_UP = sorted(REPLIES.keys() - {"hang"})


@pytest.mark.parametrize("reply", USED_UP)
def test_a_connection_that_cannot_be_reset_is_replaced_and_costs_nobody_anything(reply: str) -> None:
    refusals = {"reader1@example.com": {"rcpt": "550 5.1.1 no such user"}}
    server = ScriptedServer(plan={"rset": [REPLIES[reply]]}, recipients=refusals)
    report = deliver(server, [envelope(1), envelope(2)])
    assert [outcome.kind.value for outcome in report.outcomes] == ["failed", "sent"]
    assert report.fault is None
    assert server.connections == 2


@pytest.mark.parametrize("reply", ["421", "garbage", "drop"])
def test_a_connection_that_has_had_its_share_is_replaced_and_costs_nobody_anything(reply: str) -> None:
    server = ScriptedServer(plan={"mail": ["250 ok", REPLIES[reply]]})
    report = deliver(server, [envelope(1), envelope(2)])
    assert [outcome.kind.value for outcome in report.outcomes] == ["sent", "sent"]
    assert report.fault is None
    assert server.connections == 2


def test_connections_are_kept_from_one_call_to_the_next_and_replaced_if_the_server_closed_them() -> None:
    async def work() -> list[str]:
        server = ScriptedServer(recipients={"reader2@example.com": {"dot": "421 4.3.2 closing"}})
        async with server, SmtpRelay(settings(server)) as relay:
            kinds = [(await relay.deliver([envelope(key)])).outcomes[0].kind.value for key in (1, 2, 3, 4)]
        assert server.connections == 2
        return kinds

    assert asyncio.run(work()) == ["sent", "deferred", "sent", "sent"]


def test_a_relay_that_refuses_our_sender_stops_the_work_and_keeps_what_is_known() -> None:
    server = ScriptedServer(plan={"mail": ["250 ok", "250 ok", "550 5.7.1 sender rejected"]})
    report = deliver(server, [envelope(key) for key in range(1, 6)])
    assert [o.kind.value for o in report.outcomes] == ["sent", "sent", "unsent", "unsent", "unsent"]
    assert report.fault is not None
    assert str(report.fault) == (f"relay 127.0.0.1:{server.port}: mail failed: 550 5.7.1 sender rejected")
    assert not report.fault.is_temporary
    assert report.outcomes[4].reply == str(report.fault)


def test_a_relay_that_says_421_to_everything_is_asked_twice_and_no_more() -> None:
    server = ScriptedServer(plan={"mail": "421 4.7.0 slow down"})
    report = deliver(server, [envelope(key) for key in range(1, 20)])
    assert {o.kind.value for o in report.outcomes} == {"unsent"}
    assert report.fault is not None
    assert report.fault.is_temporary
    assert server.verbs.count("MAIL") == 2


def test_a_reader_who_meets_421_now_and_then_does_not_stop_the_others() -> None:
    closing = {"rcpt": "421 4.7.0 go away"}
    server = ScriptedServer(recipients={f"reader{key}@example.com": closing for key in (1, 3, 5)})
    report = deliver(server, [envelope(key) for key in range(1, 7)])
    assert [o.kind.value for o in report.outcomes] == ["unsent", "sent"] * 3
    assert report.fault is None


def test_a_relay_that_goes_away_in_between_leaves_the_rest_unsent_and_says_so() -> None:
    server = ScriptedServer(plan={"mail": ["250 ok", DROP], "connect": ["220 hello", "421 4.3.2 going down"]})
    report = deliver(server, [envelope(1), envelope(2), envelope(3)])
    assert [o.kind.value for o in report.outcomes] == ["sent", "unsent", "unsent"]
    assert report.fault is not None
    assert (report.fault.stage, report.fault.reply) == ("connect", "421 4.3.2 going down")
    assert report.fault.is_temporary


def test_a_message_that_waits_for_its_turn_does_not_go_to_a_relay_that_has_refused_us() -> None:
    server = ScriptedServer(plan={"mail": ["550 5.7.1 sender rejected"]})
    report = deliver(server, [envelope(1), envelope(2)], connections=2, rate_s=2.0)
    assert [o.kind.value for o in report.outcomes] == ["unsent", "unsent"]
    assert server.accepted == []


def test_a_relay_that_takes_fewer_connections_than_we_would_open_gets_everything_over_those() -> None:
    server = ScriptedServer(plan={"connect": ["220 hello", "421 4.7.0 too many", "421 4.7.0 too many"]})
    report = deliver(server, [envelope(key) for key in range(1, 9)], connections=3)
    assert {o.kind.value for o in report.outcomes} == {"sent"}
    assert report.fault is None
    assert server.connections == 3


def test_readers_refused_one_after_another_for_no_fault_of_theirs_stop_the_work() -> None:
    server = ScriptedServer(plan={"rcpt": "554 5.7.1 relay access denied"})
    report = deliver(server, [envelope(key) for key in range(1, 16)])
    assert [o.kind.value for o in report.outcomes] == ["failed"] * 10 + ["unsent"] * 5
    assert report.fault is not None
    assert (report.fault.stage, report.fault.reply) == ("rcpt", "554 5.7.1 relay access denied")
    assert not report.fault.is_temporary


def test_readers_who_do_not_exist_stop_nothing() -> None:
    server = ScriptedServer(plan={"rcpt": "550 5.1.1 no such user"})
    report = deliver(server, [envelope(key) for key in range(1, 16)])
    assert {o.kind.value for o in report.outcomes} == {"failed"}
    assert report.fault is None


def test_nobody_listening_is_a_temporary_fault_of_the_relay() -> None:
    async def work() -> DeliveryReport:
        async with ScriptedServer() as server:
            pass
        async with SmtpRelay(settings(server, connections=2)) as relay:
            return await relay.deliver([envelope(1), envelope(2), envelope(3)])

    report = asyncio.run(work())
    assert [o.kind.value for o in report.outcomes] == ["unsent"] * 3
    assert report.fault is not None
    assert (report.fault.stage, report.fault.reply) == ("connect", "Connection refused")
    assert report.fault.is_temporary


def test_a_name_that_no_host_can_have_is_for_the_operator() -> None:
    report = deliver(ScriptedServer(), [envelope()], host="a" * 64 + ".example", tls="starttls")
    assert report.fault is not None
    assert not report.fault.is_temporary


@pytest.mark.parametrize("recipient", ["a b@example.com", "x@example.com\r\nDATA", "<x@example.com>", "x"])
def test_an_address_that_could_speak_to_the_server_never_gets_there(recipient: str) -> None:
    server = ScriptedServer()
    report = deliver(server, [envelope(1, recipient), envelope(2)])
    assert [(o.kind.value, o.stage.value) for o in report.outcomes] == [
        ("failed", "envelope"),
        ("sent", "dot"),
    ]
    assert [a.recipient for a in server.accepted] == ["reader2@example.com"]
    assert server.verbs == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]


def test_a_sender_that_could_speak_to_the_server_is_the_operators_fault_and_no_readers() -> None:
    server = ScriptedServer()
    report = deliver(server, [envelope(1, sender="news@example.org> SIZE=1")])
    assert report.outcomes[0].kind == "unsent"
    assert report.fault is not None
    assert report.fault.stage == "mail"
    assert "MAIL" not in server.verbs


def test_a_message_over_whose_end_servers_differ_never_gets_there() -> None:
    server = ScriptedServer()
    smuggling = b"Subject: x\r\n\r\n\n.\r\nMAIL FROM:<evil@example.org>\r\n"
    (outcome,) = deliver(server, [envelope(message=smuggling)]).outcomes
    assert (outcome.kind, outcome.stage) == ("failed", "data")
    assert server.verbs == ["EHLO", "QUIT"]


def test_200_messages_over_4_connections_arrive_exactly_once_each() -> None:
    server = ScriptedServer()
    report = deliver(server, [envelope(key) for key in range(200)], connections=4)
    assert [o.key for o in report.outcomes] == list(range(200))
    assert {o.kind.value for o in report.outcomes} == {"sent"}
    assert sorted(a.recipient for a in server.accepted) == sorted(
        f"reader{key}@example.com" for key in range(200)
    )
    assert {a.content for a in server.accepted} == {BODY}
    assert server.connections == server.most_at_once == 4


def test_no_more_connections_are_opened_than_there_are_messages() -> None:
    server = ScriptedServer()
    deliver(server, [envelope(1), envelope(2)], connections=8)
    assert 1 <= server.connections <= 2  # the first may be through with both before the second is there


def test_nothing_to_deliver_opens_nothing() -> None:
    server = ScriptedServer()
    report = deliver(server, [])
    assert (report.outcomes, report.fault, server.connections) == ((), None, 0)


def test_helo_will_do_where_no_extension_is_needed() -> None:
    server = ScriptedServer(plan={"ehlo": ["502 5.5.1 what is EHLO"]})
    outcome, _ = one(server)
    assert outcome.kind == "sent"
    assert server.commands[:3] == [
        "EHLO client.example.org",
        "HELO client.example.org",
        "MAIL FROM:<news@example.org>",
    ]


@pytest.mark.parametrize(("says", "username"), [("550 5.7.1 no", ""), ("502 5.5.1 what is EHLO", "us")])
def test_helo_is_no_way_round_a_refusal_or_a_password(says: str, username: str) -> None:
    server = ScriptedServer(plan={"ehlo": [says]})
    report = deliver(server, [envelope()], username=username, read_password=lambda: "pw")
    assert report.fault is not None
    assert report.fault.stage == "connect"
    assert server.verbs == ["EHLO"]


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_a_password_is_offered_once_and_appears_in_no_error_and_no_log(
    mechanism: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    password = "canary-7d1f"
    echo = "535 5.7.8 canary-7d1f AHVzAGNhbmFyeS03ZDFm Y2FuYXJ5LTdkMWY= is wrong"
    server = ScriptedServer(plan={"auth": echo}, extensions=(f"AUTH CRAM-MD5 {mechanism}",))
    report = deliver(server, [envelope(1), envelope(2)], username="us", read_password=lambda: password)
    assert server.verbs.count("AUTH") == 1
    assert "MAIL" not in server.verbs
    assert report.fault is not None
    assert (report.fault.stage, report.fault.is_temporary) == ("auth", False)
    assert report.fault.reply == "535 5.7.8 *** *** *** is wrong"
    assert report.fault.__cause__ is None
    seen = f"{report!r} {report.fault} {caplog.text}"
    assert not re.search("canary|AHVzAGNhbmFyeS03ZDFm|Y2FuYXJ5LTdkMWY", seen)


def test_a_relay_that_has_no_time_to_check_a_password_is_a_temporary_fault() -> None:
    server = ScriptedServer(plan={"auth": "454 4.7.0 later"}, extensions=("AUTH PLAIN",))
    report = deliver(server, [envelope()], username="us", read_password=lambda: "pw")
    assert report.fault is not None
    assert (report.fault.stage, report.fault.is_temporary) == ("auth", True)


@pytest.mark.parametrize("extensions", [(), ("AUTH CRAM-MD5 XOAUTH2",)])
def test_a_relay_without_a_mechanism_of_ours_gets_no_password_and_no_mail(
    extensions: tuple[str, ...],
) -> None:
    server = ScriptedServer(extensions=extensions)
    report = deliver(server, [envelope()], username="us", read_password=lambda: "pw")
    assert report.fault is not None
    assert (report.fault.stage, report.fault.is_temporary) == ("auth", False)
    assert server.verbs == ["EHLO"]


def test_a_right_password_opens_the_way() -> None:
    server = ScriptedServer(extensions=("AUTH LOGIN PLAIN",))
    report = deliver(server, [envelope()], username="us", read_password=lambda: "pw")
    assert report.outcomes[0].kind == "sent"
    assert server.commands[1] == "AUTH PLAIN AHVzAHB3"


def test_a_check_goes_as_far_as_the_password_and_sends_nothing() -> None:
    async def work() -> list[str]:
        server = ScriptedServer(extensions=("AUTH PLAIN",))
        async with server, SmtpRelay(settings(server, username="us", read_password=lambda: "pw")) as relay:
            await relay.check()
            await relay.check()
        return server.verbs

    assert asyncio.run(work()) == ["EHLO", "AUTH", "QUIT"]


def test_a_check_raises_what_is_wrong() -> None:
    async def work() -> None:
        server = ScriptedServer(plan={"connect": "554 5.3.2 closed"})
        async with server, SmtpRelay(settings(server)) as relay:
            await relay.check()

    with pytest.raises(RelayError, match=r"connect failed: 554 5\.3\.2 closed"):
        asyncio.run(work())


def test_cancelling_closes_the_connection_in_the_middle_of_a_message_without_a_word() -> None:
    async def work() -> list[str]:
        async with ScriptedServer(plan={"dot": HANG}) as server:
            async with SmtpRelay(settings(server)) as relay:
                task = asyncio.create_task(relay.deliver([envelope()]))
                await server.hanging.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            return server.verbs

    assert asyncio.run(work()) == ["EHLO", "MAIL", "RCPT", "DATA"]
