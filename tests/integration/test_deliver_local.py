"""Ways to hand mail to this machine itself: a Maildir, and a program that is called as sendmail is."""

from __future__ import annotations

import asyncio
import mailbox
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from syndicate.deliver.maildir import MaildirTransport
from syndicate.deliver.outcome import DeliveryReport, Envelope, Outcome, OutcomeKind, Stage
from syndicate.deliver.sendmail import SendmailTransport
from syndicate.deliver.transport import LocalTransport, Verdict
from syndicate.errors import RelayError

SENDER = "news@example.org"
HEAD = b"From: news@example.org\r\nMessage-ID: <one@example.org>\r\n"
BODY = b"\r\n.one dot\r\nend\r\n"


def envelope(key: int = 1, recipient: str = "", head: bytes = HEAD, sender: str = SENDER) -> Envelope:
    return Envelope(
        key=key, sender=sender, recipient=recipient or f"reader{key}@example.com", pieces=(head, BODY)
    )


def deliver(transport: Callable[[], LocalTransport], envelopes: Sequence[Envelope]) -> DeliveryReport:
    async def work() -> DeliveryReport:
        async with transport() as relay:
            return await relay.deliver(envelopes)

    return asyncio.run(work())


def kinds(outcomes: Sequence[Outcome]) -> list[OutcomeKind]:
    return [outcome.kind for outcome in outcomes]


async def until_settled(relay: LocalTransport) -> list[Outcome]:
    outcomes: list[Outcome] = []
    while relay.open or relay.waiting or not outcomes:
        await relay.news.wait()
        outcomes += relay.take_outcomes()
    return outcomes


# Maildir


def stored(folder: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in (folder / "new").iterdir())


def test_a_message_lies_in_new_byte_by_byte_below_its_envelope(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "mail"

    report = deliver(lambda: MaildirTransport(folder), [envelope()])

    trace = b"Return-Path: <news@example.org>\r\nDelivered-To: reader1@example.com\r\n"
    assert stored(folder) == [trace + HEAD + BODY]
    assert (kinds(report.outcomes), report.fault) == ([OutcomeKind.SENT], None)
    assert list((folder / "tmp").iterdir()) == []
    (path,) = (folder / "new").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert report.outcomes[0].reply == f"stored as new/{path.name}"
    (read,) = mailbox.Maildir(folder, create=False)
    assert read["Message-ID"] == "<one@example.org>"


def test_a_second_attempt_replaces_the_first_and_another_reader_or_message_does_not(tmp_path: Path) -> None:
    folded = HEAD.replace(b"Message-ID: <one", b"Message-ID:\r\n <two")
    other = HEAD.replace(b"Message-ID: <one", b"message-id:\r\n\t<three")
    nameless = b"Subject: none\r\n"

    for _ in range(2):
        heads = (HEAD, folded, other, nameless)
        envelopes = [envelope(key, "ada@example.com", head) for key, head in enumerate(heads)]
        deliver(lambda: MaildirTransport(tmp_path), [*envelopes, envelope(9, "grace@example.com")])
        assert len(stored(tmp_path)) == 5


def test_many_messages_at_once_are_all_there(tmp_path: Path) -> None:
    report = deliver(lambda: MaildirTransport(tmp_path, connections=4), [envelope(n) for n in range(50)])

    assert kinds(report.outcomes) == [OutcomeKind.SENT] * 50
    assert [outcome.key for outcome in report.outcomes] == list(range(50))
    assert len(stored(tmp_path)) == 50


def test_a_folder_that_cannot_be_made_is_a_fault_that_passes_and_nobody_is_blamed(tmp_path: Path) -> None:
    folder = tmp_path / "mail"
    folder.write_text("in the way")

    async def work() -> None:
        async with MaildirTransport(folder, connections=2) as relay:
            with pytest.raises(RelayError, match=r"write failed: (File exists|Not a directory)"):
                await relay.check()
            report = await relay.deliver([envelope(n) for n in range(5)])
            assert kinds(report.outcomes) == [OutcomeKind.UNSENT] * 5
            assert report.fault is not None
            assert report.fault.is_temporary
            assert report.fault.relay == str(folder)
            relay.submit([envelope(6)])
            assert kinds(relay.take_outcomes()) == [OutcomeKind.UNSENT], "until it is reset"

            folder.unlink()
            await relay.check()
            assert kinds((await relay.deliver([envelope(7)])).outcomes) == [OutcomeKind.SENT]

    asyncio.run(work())


def test_a_disk_that_is_full_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    report = deliver(lambda: MaildirTransport(tmp_path), [envelope()])

    assert kinds(report.outcomes) == [OutcomeKind.UNSENT]
    assert str(report.fault) == f"relay {tmp_path}: write failed: No space left on device"
    assert [list((tmp_path / name).iterdir()) for name in ("tmp", "new", "cur")] == [[], [], []]


def test_a_folder_that_was_taken_away_meanwhile_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "mail"

    async def work() -> None:
        async with MaildirTransport(folder) as relay:
            await relay.deliver([envelope(1)])
            folder.rename(tmp_path / "elsewhere")
            assert kinds((await relay.deliver([envelope(2)])).outcomes) == [OutcomeKind.UNSENT]
            assert kinds((await relay.deliver([envelope(2)])).outcomes) == [OutcomeKind.SENT]

    asyncio.run(work())


@pytest.mark.parametrize(
    "address", ["ada@example.com\r\nX: y", "ada", "a b@example.com", "ada@\0example.com"]
)
def test_an_address_that_could_end_its_line_fails_alone(tmp_path: Path, address: str) -> None:
    report = deliver(lambda: MaildirTransport(tmp_path), [envelope(1, address), envelope(2)])

    assert kinds(report.outcomes) == [OutcomeKind.FAILED, OutcomeKind.SENT]
    assert report.outcomes[0].stage is Stage.ENVELOPE
    assert len(stored(tmp_path)) == 1


def test_a_sender_that_could_end_its_line_is_a_fault_and_blames_no_reader(tmp_path: Path) -> None:
    report = deliver(lambda: MaildirTransport(tmp_path), [envelope(sender="x y@example.org")])

    assert kinds(report.outcomes) == [OutcomeKind.UNSENT]
    assert report.fault is not None
    assert not report.fault.is_temporary


def test_an_address_beyond_ascii_is_stored_as_it_is(tmp_path: Path) -> None:
    deliver(lambda: MaildirTransport(tmp_path), [envelope(1, "jörg@exämple.com")])

    assert "Delivered-To: jörg@exämple.com\r\n".encode() in stored(tmp_path)[0]


# sendmail


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a program and returns its path."""

    def write(script: str) -> Path:
        path = tmp_path / "sendmail"
        path.write_text(f"#!/bin/sh\ncd '{tmp_path}'\n{script}\n", "utf-8")
        path.chmod(0o755)
        return path

    return write


def test_a_program_gets_the_envelope_as_arguments_and_the_message_with_its_line_ends(
    program: Callable[[str], Path], tmp_path: Path
) -> None:
    path = program('printf "%s|" "$@" > arguments; cat > message')

    report = deliver(lambda: SendmailTransport(path), [envelope(1, "--help@example.com;id")])

    assert (tmp_path / "arguments").read_text() == f"-i|-f|{SENDER}|--|--help@example.com;id|"
    assert (tmp_path / "message").read_bytes() == (HEAD + BODY).replace(b"\r\n", b"\n")
    assert (kinds(report.outcomes), report.fault) == ([OutcomeKind.SENT], None)


@pytest.mark.parametrize(
    ("code", "kind", "stage"),
    [
        (75, OutcomeKind.DEFERRED, Stage.DATA),
        (71, OutcomeKind.DEFERRED, Stage.DATA),
        (74, OutcomeKind.DEFERRED, Stage.DATA),
        (1, OutcomeKind.DEFERRED, Stage.DATA),
        (67, OutcomeKind.FAILED, Stage.RCPT),
        (68, OutcomeKind.FAILED, Stage.RCPT),
        (65, OutcomeKind.FAILED, Stage.DATA),
        (69, OutcomeKind.FAILED, Stage.DATA),
    ],
)
def test_an_exit_code_says_what_became_of_the_message(
    program: Callable[[str], Path], code: int, kind: OutcomeKind, stage: Stage
) -> None:
    path = program(f"cat > /dev/null; echo 'no\tluck' >&2; exit {code}")

    report = deliver(lambda: SendmailTransport(path), [envelope()])

    (outcome,) = report.outcomes
    assert (outcome.kind, outcome.stage, outcome.reply) == (kind, stage, "no luck")
    assert report.fault is None


@pytest.mark.parametrize("code", [64, 70, 72, 77, 78])
def test_an_exit_code_that_speaks_of_the_program_stops_the_work(
    program: Callable[[str], Path], code: int
) -> None:
    path = program(f"exit {code}")

    report = deliver(lambda: SendmailTransport(path), [envelope(1), envelope(2)])

    assert kinds(report.outcomes) == [OutcomeKind.UNSENT] * 2
    assert str(report.fault) == f"relay {path}: run failed: exit {code}"
    assert report.fault is not None
    assert not report.fault.is_temporary


def test_a_program_that_is_not_there_or_may_not_be_run_is_for_the_operator(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("text")
    for path, words in ((tmp_path / "absent", "no such program"), (plain, "may not be run")):

        async def work(path: Path = path, words: str = words) -> None:
            async with SendmailTransport(path) as relay:
                with pytest.raises(RelayError, match=words):
                    await relay.check()
                report = await relay.deliver([envelope()])
                assert kinds(report.outcomes) == [OutcomeKind.UNSENT]
                assert report.fault is not None
                assert not report.fault.is_temporary

        asyncio.run(work())


def test_a_program_that_is_there_passes_the_check(program: Callable[[str], Path]) -> None:
    async def work() -> None:
        async with SendmailTransport(program("exit 1")) as relay:
            await relay.check()

    asyncio.run(work())


def test_what_takes_too_long_is_killed_and_uncertain(program: Callable[[str], Path], tmp_path: Path) -> None:
    path = program("echo $$ > pid; exec sleep 600")

    report = deliver(lambda: SendmailTransport(path, timeout_s=0.3), [envelope()])

    assert kinds(report.outcomes) == [OutcomeKind.UNCERTAIN]
    assert report.fault is None
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_program_that_is_killed_by_somebody_else_is_uncertain(program: Callable[[str], Path]) -> None:
    path = program("echo half done; kill -9 $$")

    (outcome,) = deliver(lambda: SendmailTransport(path), [envelope()]).outcomes

    assert (outcome.kind, outcome.reply) == (OutcomeKind.UNCERTAIN, "ended by signal 9; half done")


def test_what_a_program_leaves_running_holds_up_nothing(
    program: Callable[[str], Path], tmp_path: Path
) -> None:
    path = program("sleep 600 & echo $! > left; exit 0")

    try:
        assert kinds(deliver(lambda: SendmailTransport(path), [envelope()]).outcomes) == [OutcomeKind.SENT]
    finally:
        os.kill(int((tmp_path / "left").read_text()), 9)


def test_a_large_message_that_is_not_read_is_no_trouble(program: Callable[[str], Path]) -> None:
    large = HEAD + b"X-Large: " + b"x" * 1_000_000 + b"\r\n"

    report = deliver(lambda: SendmailTransport(program("exit 75")), [envelope(head=large)])

    assert kinds(report.outcomes) == [OutcomeKind.DEFERRED]


def test_as_many_programs_run_at_once_as_there_are_connections(
    program: Callable[[str], Path], tmp_path: Path
) -> None:
    # Each waits until three are there: fewer at once would never end.
    script = (
        "mkdir -p here; : > here/$$; "
        "while [ $(ls here | wc -l) -lt 3 ]; do sleep 0.01; done; ls here | wc -l >> seen"
    )
    path = program(script)

    report = deliver(lambda: SendmailTransport(path, connections=3), [envelope(n) for n in range(3)])

    assert kinds(report.outcomes) == [OutcomeKind.SENT] * 3
    assert (tmp_path / "seen").read_text().split() == ["3"] * 3


# The stream, which is the same for both


class Held(LocalTransport):
    """A transport whose messages leave when the test says so."""

    def __init__(self, connections: int) -> None:
        super().__init__("held", connections=connections, news=None)
        self.gate = asyncio.Event()
        self.begun: list[int] = []

    async def check(self) -> None:
        """Always well."""

    async def _hand_over(self, envelope: Envelope) -> Verdict:
        self.begun.append(envelope.key)
        await self.gate.wait()
        if envelope.key == 13:
            raise LookupError
        return Verdict(OutcomeKind.SENT, Stage.DOT, "")


async def let_begin() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_what_is_not_begun_can_be_taken_back_and_what_is_begun_ends() -> None:
    async def work() -> None:
        async with Held(2) as relay:
            relay.submit(envelope(n) for n in range(5))
            await let_begin()
            assert (relay.open, relay.waiting, relay.connections) == (2, 3, 2)
            assert [e.key for e in relay.withdraw()] == [2, 3, 4]
            relay.gate.set()
            outcomes = await until_settled(relay)
            assert sorted(outcome.key for outcome in outcomes) == [0, 1]
            assert relay.begun == [0, 1]

    asyncio.run(work())


def test_draining_begins_nothing_more_and_waits_for_what_is_begun() -> None:
    async def work() -> None:
        async with Held(1) as relay:
            relay.submit([envelope(1), envelope(2)])
            await let_begin()
            relay.gate.set()
            assert [e.key for e in await relay.drain(60)] == [2]
            assert kinds(relay.take_outcomes()) == [OutcomeKind.SENT]

    asyncio.run(work())


def test_draining_ends_after_its_time_and_what_may_have_left_is_uncertain() -> None:
    async def work() -> None:
        async with Held(1) as relay:
            relay.submit([envelope(1)])
            await let_begin()
            assert await relay.drain(0.01) == []
            assert kinds(relay.take_outcomes()) == [OutcomeKind.UNCERTAIN]
            relay.gate.set()
            assert kinds((await relay.deliver([envelope(2)])).outcomes) == [OutcomeKind.SENT]

    asyncio.run(work())


def test_leaving_ends_what_is_begun_as_uncertain_and_leaves_no_task() -> None:
    async def work() -> list[Outcome]:
        async with Held(2) as relay:
            relay.submit(envelope(n) for n in range(3))
            await let_begin()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return relay.take_outcomes()

    outcomes = asyncio.run(work())

    assert [(o.key, o.kind) for o in outcomes] == [
        (0, OutcomeKind.UNCERTAIN),
        (1, OutcomeKind.UNCERTAIN),
        (2, OutcomeKind.UNSENT),
    ]


def test_a_message_whose_time_to_begin_has_passed_is_not_begun() -> None:
    async def work() -> None:
        async with Held(1) as relay:
            late = Envelope(key=2, sender=SENDER, recipient="b@example.com", pieces=(HEAD,), begin_before_s=0)
            relay.submit([envelope(1), late])
            relay.gate.set()
            outcomes = await until_settled(relay)
            assert kinds(outcomes) == [OutcomeKind.SENT, OutcomeKind.STALE]
            assert relay.begun == [1]

    asyncio.run(work())


def test_a_mistake_of_ours_leaves_no_message_without_an_outcome() -> None:
    async def work() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        async with Held(1) as relay:
            relay.gate.set()
            report = await relay.deliver([envelope(13)])
            assert kinds(report.outcomes) == [OutcomeKind.UNCERTAIN]

    asyncio.run(work())


def test_several_transports_can_tell_their_news_by_one_event(tmp_path: Path) -> None:
    async def work() -> None:
        news = asyncio.Event()
        async with MaildirTransport(tmp_path, news=news) as relay:
            relay.submit([envelope()])
            async with asyncio.timeout(30):
                await news.wait()
            assert kinds(relay.take_outcomes()) == [OutcomeKind.SENT]
            assert not news.is_set()

    asyncio.run(work())
