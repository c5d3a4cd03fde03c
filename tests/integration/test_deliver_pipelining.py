"""What only shows on a real connection: pieces of bytes, full buffers, order and silence."""

from __future__ import annotations

import asyncio
import socket
import ssl
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme

from syndicate.deliver.outcome import DeliveryReport, Envelope
from syndicate.deliver.session import Timeouts
from syndicate.deliver.smtp import RelaySettings, SmtpRelay
from tests.smtp_server import ScriptedServer

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
EHLO = b"250-raw.example\r\n250 PIPELINING\r\n"
GROUP = b"250 ok\r\n250 ok\r\n354 go on\r\n"
#: More than both kernels' buffers hold, once the receiving one is small.
LARGE = b"Subject: large\r\n\r\n" + (b"0123456789" * 7 + b"\r\n") * 100_000


def envelopes(count: int, message: bytes = b"Subject: x\r\n\r\ny\r\n") -> list[Envelope]:
    return [
        Envelope(key=n, sender="news@example.org", recipient=f"reader{n}@example.com", pieces=(message,))
        for n in range(1, count + 1)
    ]


def relay(port: int, timeouts: Timeouts = Timeouts(), **changes: Any) -> SmtpRelay:  # noqa: B008 - frozen
    values: dict[str, Any] = {
        "username": "",
        "read_password": lambda: "",
        "tls": "none",
        "connections": 1,
        "rate_s": 0.0,
        "local_hostname": "client.example.org",
    }
    return SmtpRelay(RelaySettings(host="127.0.0.1", port=port, **values | changes), timeouts)


def kinds(report: DeliveryReport) -> list[str]:
    return [outcome.kind.value for outcome in report.outcomes]


@asynccontextmanager
async def serving(handle: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server whose connections are each one call; its receive buffer is small."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await handle(reader, writer)
        finally:
            writer.close()

    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    server = await asyncio.start_server(serve, sock=listening, ssl=tls, limit=2**12)
    try:
        yield int(listening.getsockname()[1])
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ehlo: bytes = EHLO) -> None:
    writer.write(b"220 raw.example\r\n")
    await reader.readuntil(b"\r\n")
    writer.write(ehlo)


async def read_commands(reader: asyncio.StreamReader) -> None:
    await reader.readuntil(b"DATA\r\n")


async def read_content(reader: asyncio.StreamReader) -> None:
    await reader.readuntil(b"\r\n.\r\n")


def deliver(
    handle: Handler,
    messages: Sequence[Envelope],
    timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
    server_tls: ssl.SSLContext | None = None,
    **changes: Any,
) -> DeliveryReport:
    async def work() -> DeliveryReport:
        async with serving(handle, server_tls) as port, relay(port, timeouts, **changes) as client:
            return await client.deliver(messages)

    return asyncio.run(work())


def test_a_dot_may_be_answered_after_the_commands_of_the_next_message_have_come() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        await read_commands(reader)
        writer.write(GROUP)
        for _ in range(2):
            await read_content(reader)
            await read_commands(reader)  # would wait for ever for a client in lock step
            writer.write(b"250 queued\r\n" + GROUP)
        await read_content(reader)
        writer.write(b"250 queued\r\n")
        await reader.readuntil(b"QUIT\r\n")

    assert kinds(deliver(handle, envelopes(3))) == ["sent"] * 3


def test_replies_may_come_byte_by_byte() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def say(text: bytes) -> None:
            for byte in text:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)

        await say(b"220 raw.example\r\n")
        await reader.readuntil(b"\r\n")
        await say(EHLO)
        await read_commands(reader)
        await say(GROUP)
        await read_content(reader)
        await say(b"250-not yet\r\n250 queued\r\n" + GROUP)
        await read_content(reader)
        await say(b"250 queued\r\n")
        await reader.readuntil(b"QUIT\r\n")

    assert kinds(deliver(handle, envelopes(2))) == ["sent"] * 2


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"250-line\r\n" * 99 + b"250 queued\r\n", ["sent", "sent"]),
        (b"250-line\r\n" * 100 + b"250 queued\r\n", ["uncertain", "sent"]),
        (b"250-line\r\n251 queued\r\n", ["uncertain", "sent"]),
        (b"250 " + b"x" * 4000 + b"\r\n", ["sent", "sent"]),
        (b"250 " + b"x" * 5000 + b"\r\n", ["uncertain", "sent"]),
        (b"x" * 100_000, ["uncertain", "sent"]),
        (b"250 queued\r\ngarbage\r\n", ["sent", "sent"]),
    ],
)
def test_a_strange_answer_to_a_dot_costs_its_message_at_most_and_never_the_follower(
    answer: bytes, expected: list[str]
) -> None:
    connections = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await greet(reader, writer)
        await read_commands(reader)
        writer.write(GROUP)
        await read_content(reader)
        if len(connections) == 1:
            await read_commands(reader)
            writer.write(answer + GROUP)
            await read_content(reader)
        writer.write(b"250 queued\r\n")
        await reader.readuntil(b"QUIT\r\n")

    assert kinds(deliver(handle, envelopes(2))) == expected


@pytest.mark.parametrize("step", ["dot", "mail", "rcpt", "data"])
def test_a_follower_is_sent_over_another_connection_or_says_that_it_was_not(step: str) -> None:
    said = {"dot": b"", "mail": b"250 queued\r\n"}
    said |= {"rcpt": said["mail"] + b"250 ok\r\n", "data": said["mail"] + b"250 ok\r\n250 ok\r\n"}
    connections = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await greet(reader, writer)
        await read_commands(reader)
        writer.write(GROUP)
        await read_content(reader)
        if len(connections) == 1:
            await read_commands(reader)
            writer.write(said[step])
            await writer.drain()
            return
        writer.write(b"250 queued\r\n")
        await reader.readuntil(b"QUIT\r\n")

    report = deliver(handle, envelopes(2))
    assert report.fault is None
    assert (
        kinds(report)
        == {
            "dot": ["uncertain", "sent"],
            "mail": ["sent", "sent"],
            "rcpt": ["sent", "deferred"],
            "data": ["sent", "deferred"],
        }[step]
    )


@pytest.mark.parametrize("greeting", [b"220 hello\r\n250 and more\r\n", b"220 hello\r\n2"])
def test_a_server_that_speaks_out_of_turn_gets_no_mail(greeting: bytes) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await reader.read()

    report = deliver(handle, envelopes(1))
    assert kinds(report) == ["unsent"]
    assert report.fault is not None
    assert (report.fault.stage, report.fault.is_temporary) == ("connect", True)


@pytest.mark.parametrize("early", [b"250 queued\r\n", b"2", b"554 no\r\n"])
def test_what_is_said_along_with_354_is_no_answer_to_content_that_was_not_sent_yet(early: bytes) -> None:
    received: list[bytes] = []
    closed = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        await read_commands(reader)
        writer.write(GROUP + early)
        received.append(await reader.read())
        closed.set()

    async def work() -> DeliveryReport:
        async with serving(handle) as port, relay(port) as client:
            report = await client.deliver(envelopes(1))
            await closed.wait()
            return report

    report = asyncio.run(work())
    assert kinds(report) == ["deferred"]
    assert report.outcomes[0].stage == "data"
    assert received == [b""]


@pytest.mark.parametrize("farewell", [b"", b"421 4.4.2 timeout\r\n"])
def test_a_connection_that_ended_between_two_calls_is_replaced_and_costs_nobody_anything(
    farewell: bytes,
) -> None:
    connections, closed = [], asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await greet(reader, writer)
        await read_commands(reader)
        writer.write(GROUP)
        await read_content(reader)
        writer.write(b"250 queued\r\n")
        if len(connections) == 1:
            await closed.wait()
            writer.write(farewell)
            return
        await reader.readuntil(b"QUIT\r\n")

    async def work() -> list[str]:
        async with serving(handle) as port, relay(port) as client:
            first = await client.deliver(envelopes(1))
            closed.set()
            second = await client.deliver(envelopes(1))
            return kinds(first) + kinds(second)

    assert asyncio.run(work()) == ["sent", "sent"]
    assert len(connections) == 2


def test_a_connection_on_which_the_server_spoke_unasked_is_not_used_again() -> None:
    connections, spoken, seen = [], asyncio.Event(), asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await greet(reader, writer)
        await read_commands(reader)
        writer.write(GROUP)
        await read_content(reader)
        writer.write(b"250 queued\r\n")
        if len(connections) == 1:
            await spoken.wait()
            writer.write(b"250 queued again\r\n")
            assert await reader.read() == b""
            seen.set()
            return
        await reader.readuntil(b"QUIT\r\n")

    async def work() -> list[str]:
        async with serving(handle) as port, relay(port) as client:
            first = await client.deliver(envelopes(1))
            spoken.set()
            await seen.wait()
            second = await client.deliver(envelopes(1))
            return kinds(first) + kinds(second)

    assert asyncio.run(work()) == ["sent", "sent"]
    assert len(connections) == 2


def test_a_message_that_one_connection_gave_back_goes_over_another_that_had_nothing_left_to_do() -> None:
    accepted, connections = asyncio.Event(), []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        if len(connections) == 2:
            await accepted.wait()
            writer.write(b"421 4.7.0 too many connections\r\n")
            return
        await greet(reader, writer)
        for _ in range(2):
            await read_commands(reader)
            writer.write(GROUP)
            await read_content(reader)
            writer.write(b"250 queued\r\n")
            accepted.set()
        await reader.readuntil(b"QUIT\r\n")

    report = deliver(handle, envelopes(2), connections=2)
    assert kinds(report) == ["sent", "sent"]
    assert report.fault is None


def test_a_server_that_stalls_leaves_nobody_uncertain_and_holds_one_copy_of_the_message() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer, b"250 raw.example\r\n")
        for answer in (b"250 ok\r\n", b"250 ok\r\n", b"354 go on\r\n"):
            await reader.readuntil(b"\r\n")
            writer.write(answer)
        await asyncio.Event().wait()

    large = envelopes(1)[0]._replace(pieces=(LARGE[:18], LARGE[18:]), is_canonical=True)
    tracemalloc.start()
    try:
        report = deliver(handle, [large], Timeouts(block_s=0.3))
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    (outcome,) = report.outcomes
    assert (outcome.kind, outcome.stage, outcome.reply) == ("deferred", "data", "no reply in time")
    assert len(LARGE) < most_bytes < 1.3 * len(LARGE)


def test_content_that_is_refused_before_all_of_it_is_out_is_refused_and_not_uncertain() -> None:
    connections = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await greet(reader, writer)
        await read_commands(reader)
        writer.write(GROUP)
        if len(connections) == 1:
            await reader.readexactly(1000)
            writer.write(b"552 5.3.4 too large\r\n")
            await asyncio.Event().wait()
        await read_content(reader)
        writer.write(b"250 queued\r\n")
        await reader.readuntil(b"QUIT\r\n")

    small = envelopes(2)[1]
    report = deliver(handle, [envelopes(1, LARGE)[0], small])
    assert kinds(report) == ["failed", "sent"]
    assert (report.outcomes[0].code, report.outcomes[0].reply) == (552, "5.3.4 too large")


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, dict[str, Any]]:
    """What a server needs to speak TLS, and a client to believe it."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context, {"tls": "implicit", "ca_file": tmp_path / "ca.pem"}


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_a_drop_before_the_dot_can_have_left_is_not_uncertain(
    tls: tuple[ssl.SSLContext, dict[str, Any]],
    is_encrypted: bool,  # noqa: FBT001 - a column of the table
) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        await read_commands(reader)
        writer.write(GROUP)
        await reader.readexactly(1000)

    context, changes = tls if is_encrypted else (None, {})
    report = deliver(handle, envelopes(1, LARGE), server_tls=context, **changes)
    assert kinds(report) == ["deferred"]
    assert report.outcomes[0].stage == "data"


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_large_messages_arrive_byte_for_byte_with_others_behind_them(
    tls: tuple[ssl.SSLContext, dict[str, Any]],
    is_encrypted: bool,  # noqa: FBT001 - a column of the table
) -> None:
    context, changes = tls if is_encrypted else (None, {})
    server = ScriptedServer(tls=context, is_implicit=is_encrypted)

    async def work() -> DeliveryReport:
        async with server, relay(server.port, **changes) as client:
            return await client.deliver(envelopes(3, LARGE))

    report = asyncio.run(work())
    assert kinds(report) == ["sent"] * 3
    assert [a.recipient for a in server.accepted] == [f"reader{n}@example.com" for n in (1, 2, 3)]
    assert {a.content for a in server.accepted} == {LARGE}


def test_a_canonical_message_goes_out_as_it_is() -> None:
    message = b"Subject: x\r\n\r\ny\r\n"
    messages = [
        Envelope(
            key=n, sender="a@example.org", recipient="b@example.com", pieces=(message,), is_canonical=True
        )
        for n in (1, 2)
    ]

    async def work() -> DeliveryReport:
        async with server, relay(server.port) as client:
            return await client.deliver(messages)

    server = ScriptedServer()
    assert kinds(asyncio.run(work())) == ["sent"] * 2
    assert server.raw_contents == [message + b".\r\n"] * 2


class Sink(asyncio.Protocol):
    """Accepts everything as fast as it can and closes each connection after a share of messages."""

    def __init__(self, accepted: Counter[bytes], share: int) -> None:
        self._accepted, self._share = accepted, share
        self._lines: list[bytes] = [b""]
        self._recipient, self._is_content = b"", False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        *lines, rest = (self._lines.pop() + data).split(b"\r\n")
        self._lines = [rest]
        answers = [answer for line in lines if (answer := self._answer(line))]
        self._transport.write(b"".join(answers))
        if any(answer.startswith((b"421", b"221")) for answer in answers):
            self._transport.close()

    def _answer(self, line: bytes) -> bytes:
        verb = line[:4]
        if self._is_content:
            return self._take(line)
        if verb == b"MAIL" and not self._share:
            return b"421 4.7.0 that was your share\r\n"
        if verb == b"RCPT":
            self._recipient = line[9:-1]
        self._is_content = verb == b"DATA"
        answers = {
            b"EHLO": b"250-sink\r\n250 PIPELINING\r\n",
            b"DATA": b"354 go on\r\n",
            b"QUIT": b"221 bye\r\n",
        }
        return answers.get(verb, b"250 ok\r\n")

    def _take(self, line: bytes) -> bytes:
        if line != b".":
            return b""
        self._is_content = False
        self._accepted[self._recipient] += 1
        self._share -= 1
        return b"250 queued\r\n"


@pytest.mark.parametrize("share", [100_000, 17])
def test_5000_messages_over_20_connections_arrive_exactly_once_each(share: int) -> None:
    accepted: Counter[bytes] = Counter()

    async def work() -> DeliveryReport:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Sink(accepted, share), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, relay(port, connections=20) as client:
            return await client.deliver(envelopes(5000))

    report = asyncio.run(work())
    assert report.fault is None
    assert [outcome.key for outcome in report.outcomes] == list(range(1, 5001))
    assert set(kinds(report)) == {"sent"}
    assert accepted == {b"reader%d@example.com" % n: 1 for n in range(1, 5001)}
