"""Messages that come and go one by one over the same connections, and what those cost when left alone."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from syndicate.deliver.outcome import Envelope, Outcome
from syndicate.deliver.poller import READ, Poller
from syndicate.deliver.session import Timeouts
from syndicate.deliver.smtp import RelaySettings, SmtpRelay
from syndicate.errors import ConfigurationError
from tests.smtp_server import DROP, HANG, ScriptedServer

BODY = b"Subject: Hello\r\n\r\nend\r\n"


def envelope(key: int, **changes: Any) -> Envelope:
    made = Envelope(
        key=key, sender="news@example.org", recipient=f"reader{key}@example.com", pieces=(BODY[:9], BODY[9:])
    )
    return made._replace(**changes)


def envelopes(*keys: int) -> list[Envelope]:
    return [envelope(key) for key in keys]


@asynccontextmanager
async def relaying(
    server: ScriptedServer,
    timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
    **changes: Any,
) -> AsyncIterator[SmtpRelay]:
    """A relay to a server, both for as long as the context lasts; after it nothing is left at work."""
    before = asyncio.all_tasks()
    async with server:
        values: dict[str, Any] = {
            "username": "",
            "read_password": lambda: "",
            "tls": "none",
            "connections": 1,
            "rate_s": 0.0,
            "local_hostname": "client.example.org",
        }
        settings = RelaySettings(host="127.0.0.1", port=server.port, **values | changes)
        async with SmtpRelay(settings, timeouts) as relay:
            yield relay
        assert (relay.open, relay.waiting) == (0, 0)
    assert asyncio.all_tasks() <= before


async def until(relay: SmtpRelay, is_enough: Callable[[list[Outcome]], bool]) -> list[Outcome]:
    """What came, as soon as it is enough."""
    outcomes = relay.take_outcomes()
    while not is_enough(outcomes):
        await relay.news.wait()
        outcomes += relay.take_outcomes()
    return outcomes


async def take(relay: SmtpRelay, count: int) -> dict[int, str]:
    """The kinds of so many outcomes, by key."""
    outcomes = await until(relay, lambda found: len(found) >= count)
    assert len(outcomes) == count
    return {outcome.key: outcome.kind.value for outcome in outcomes}


async def heard(server: ScriptedServer, verb: str, count: int = 1) -> None:
    while server.verbs.count(verb) < count:
        server.heard.clear()
        await server.heard.wait()


def run(work: Awaitable[Any]) -> Any:
    async def main() -> Any:
        async with asyncio.timeout(20):
            return await work

    return asyncio.run(main())


def kinds(keys: Iterable[int], kind: str) -> dict[int, str]:
    return dict.fromkeys(keys, kind)


def test_messages_may_be_submitted_while_others_are_on_their_way() -> None:
    async def work() -> None:
        async with relaying(ScriptedServer(), connections=3) as relay:
            relay.submit(envelopes(1, 2))
            relay.submit(envelopes(3))
            assert await take(relay, 3) == kinds((1, 2, 3), "sent")
            relay.submit(envelopes(4))
            assert await take(relay, 1) == {4: "sent"}
            assert relay.take_outcomes() == []

    run(work())


def test_a_slow_answer_holds_up_its_own_message_and_no_other() -> None:
    async def work() -> None:
        server = ScriptedServer(recipients={"reader1@example.com": {"dot": HANG}})
        async with relaying(server, connections=2) as relay:
            relay.submit(envelopes(1))
            await server.hanging.wait()
            relay.submit(envelopes(*range(2, 30)))
            assert await take(relay, 28) == kinds(range(2, 30), "sent")
            assert (relay.open, relay.waiting) == (1, 0)
            relay.abort()
            assert await take(relay, 1) == {1: "uncertain"}

    run(work())


def test_a_connection_at_rest_takes_what_comes_and_is_closed_with_a_word_after_a_while() -> None:
    async def work() -> None:
        server = ScriptedServer()
        async with relaying(server, idle_s=0.2) as relay:
            for key in (1, 2):
                relay.submit(envelopes(key))
                await take(relay, 1)
            assert server.connections == 1
            await heard(server, "QUIT")
            relay.submit(envelopes(3))
            assert await take(relay, 1) == {3: "sent"}
            assert server.connections == 2

    run(work())


@pytest.mark.parametrize("extension", ["PIPELINING", "8BITMIME"])
def test_a_connection_is_replaced_when_it_has_had_its_share(extension: str) -> None:
    async def work() -> ScriptedServer:
        server = ScriptedServer(extensions=(extension,))
        async with relaying(server, messages_per_connection=2) as relay:
            relay.submit(envelopes(*range(1, 6)))
            assert await take(relay, 5) == kinds(range(1, 6), "sent")
        return server

    server = run(work())
    assert (server.connections, server.most_at_once) == (3, 1)
    a_share = ["EHLO", *["MAIL", "RCPT", "DATA"] * 2, "QUIT"]
    assert server.verbs == [*a_share, *a_share, "EHLO", "MAIL", "RCPT", "DATA", "QUIT"]


def test_what_no_connection_has_begun_can_be_taken_back_in_its_order() -> None:
    async def work() -> None:
        server = ScriptedServer(recipients={"reader1@example.com": {"rcpt": HANG}})
        async with relaying(server) as relay:
            relay.submit(envelopes(1, 2, 3))
            await server.hanging.wait()
            assert (relay.open, relay.waiting) == (1, 2)
            assert [e.key for e in relay.withdraw()] == [2, 3]
            assert relay.withdraw() == []
            relay.abort()
            assert await take(relay, 1) == {1: "unsent"}

    run(work())


def test_after_a_fault_nothing_is_begun_until_it_is_reset() -> None:
    async def work() -> None:
        server = ScriptedServer(plan={"mail": ["550 5.7.1 who are you"]})
        async with relaying(server) as relay:
            relay.submit(envelopes(1, 2))
            assert await take(relay, 2) == kinds((1, 2), "unsent")
            assert relay.fault is not None
            assert not relay.fault.is_temporary
            relay.submit(envelopes(3))
            (outcome,) = relay.take_outcomes()
            assert (outcome.key, outcome.kind, outcome.reply) == (3, "unsent", str(relay.fault))
            relay.reset()
            assert relay.fault is None
            relay.submit(envelopes(4))
            assert await take(relay, 1) == {4: "sent"}

    run(work())


def test_a_fault_that_one_connection_finds_leaves_what_others_have_begun_to_its_answer() -> None:
    async def work() -> None:
        answered = asyncio.Event()
        server = ScriptedServer(
            recipients={"reader1@example.com": {"dot": HANG}}, plan={"mail": ["250 ok", "550 5.7.1 no"]}
        )
        async with relaying(server, connections=2) as relay:
            relay.submit(envelopes(1))
            await server.hanging.wait()
            relay.submit(envelopes(2))
            assert await take(relay, 1) == {2: "unsent"}
            assert relay.open == 1
            assert not answered.is_set()
            relay.abort()
            assert await take(relay, 1) == {1: "uncertain"}

    run(work())


def test_a_relay_that_comes_back_is_used_again_after_reset() -> None:
    async def work() -> None:
        server = ScriptedServer(plan={"connect": ["421 4.3.2 down"]})
        async with relaying(server) as relay:
            relay.submit(envelopes(1))
            assert await take(relay, 1) == {1: "unsent"}
            assert relay.fault is not None
            assert relay.fault.is_temporary
            relay.reset()
            relay.submit(envelopes(1))
            assert await take(relay, 1) == {1: "sent"}

    run(work())


def test_readers_refused_in_a_row_count_on_over_a_reset() -> None:
    async def work() -> None:
        server = ScriptedServer(plan={"rcpt": "554 5.7.1 relay access denied"})
        async with relaying(server) as relay:
            relay.submit(envelopes(*range(9)))
            await take(relay, 9)
            assert relay.fault is None
            relay.reset()
            relay.submit(envelopes(9, 10))
            assert await take(relay, 2) == {9: "failed", 10: "unsent"}
            assert relay.fault is not None

    run(work())


def test_draining_waits_for_what_is_begun_and_returns_the_rest() -> None:
    async def work() -> None:
        server = ScriptedServer(extensions=("8BITMIME",))
        async with relaying(server) as relay:
            relay.submit(envelopes(1))
            relay.submit(envelopes(2, 3))
            await heard(server, "MAIL")
            assert [e.key for e in await relay.drain(10.0)] == [2, 3]
            assert await take(relay, 1) == {1: "sent"}
            relay.submit(envelopes(4))
            assert await take(relay, 1) == {4: "sent"}
            assert server.connections == 1

    run(work())


@pytest.mark.parametrize(
    ("stage", "expected"), [("dot", "uncertain"), ("data", "unsent"), ("rcpt", "unsent")]
)
def test_draining_ends_after_a_while_and_says_what_nobody_can_know(stage: str, expected: str) -> None:
    async def work() -> None:
        server = ScriptedServer(recipients={"reader1@example.com": {stage: HANG}})
        async with relaying(server) as relay:
            relay.submit(envelopes(1, 2))
            await server.hanging.wait()
            left = [e.key for e in await relay.drain(0.1)]
            found = await take(relay, 2 - len(left))
            assert found[1] == expected
            assert left == [2] or found[2] == "unsent"
        assert "QUIT" not in server.verbs

    run(work())


def test_421_halves_the_connections_and_the_messages_go_over_those_that_are_left() -> None:
    async def work() -> None:
        server = ScriptedServer(recipients={"reader3@example.com": {"rcpt": "421 4.7.0 too fast"}})
        async with relaying(server, connections=8) as relay:
            relay.submit(envelopes(*range(8)))
            outcomes = await take(relay, 8)
            assert outcomes == kinds(range(8), "sent") | {3: "unsent"}
            assert 1 <= relay.connections <= 4
            relay.submit(envelopes(*range(8, 30)))
            assert await take(relay, 22) == kinds(range(8, 30), "sent")
            assert relay.fault is None
            relay.reset()
            assert relay.connections == 8

    run(work())


def test_a_connection_too_many_is_closed_with_a_word_when_its_message_is_through() -> None:
    async def work() -> None:
        server = ScriptedServer(recipients={"reader0@example.com": {"rcpt": "450 4.7.1 too fast"}})
        async with relaying(server, connections=4) as relay:
            relay.submit(envelopes(1, 2, 3, 4))
            await take(relay, 4)
            await heard(server, "EHLO", 4)
            relay.submit(envelopes(0))
            assert await take(relay, 1) == {0: "deferred"}
            assert relay.connections == 2
            await heard(server, "QUIT", 2)
            relay.submit(envelopes(5, 6, 7))
            assert await take(relay, 3) == kinds((5, 6, 7), "sent")
            assert server.connections == 4

    run(work())


def test_connections_that_are_refused_beside_others_are_not_asked_for_again_and_again() -> None:
    async def work() -> None:
        server = ScriptedServer(plan={"connect": ["220 hello", *["421 4.7.0 too many"] * 50]})
        async with relaying(server, connections=10) as relay:
            relay.submit(envelopes(*range(50)))
            assert await take(relay, 50) == kinds(range(50), "sent")
            assert (relay.fault, relay.connections) == (None, 1)
        assert server.connections == 10

    run(work())


def test_a_message_whose_time_has_passed_comes_back_stale_and_never_goes_out() -> None:
    async def work() -> None:
        server = ScriptedServer()
        async with relaying(server) as relay:
            now_s = asyncio.get_running_loop().time()
            relay.submit([envelope(1, begin_before_s=now_s - 1), envelope(2, begin_before_s=now_s + 60)])
            assert await take(relay, 2) == {1: "stale", 2: "sent"}
            assert [a.recipient for a in server.accepted] == ["reader2@example.com"]

    run(work())


def test_a_follower_that_waited_too_long_for_the_answer_before_its_own_is_stale() -> None:
    """The commands of the second go out with the content of the first, whose answer takes its time."""

    async def work() -> None:
        answer = asyncio.Event()

        class Slow(ScriptedServer):
            async def _take(self, wire: Any, recipient: str) -> None:
                await super()._take(wire, recipient)
                await answer.wait()

        server = Slow()
        async with relaying(server) as relay:
            loop = asyncio.get_running_loop()
            relay.submit([envelope(1), envelope(2, begin_before_s=loop.time() + 0.1)])
            assert await take(relay, 1) == {1: "sent"}
            await asyncio.sleep(0.11)
            answer.set()
            assert await take(relay, 1) == {2: "stale"}
            assert [a.recipient for a in server.accepted] == ["reader1@example.com"]
            relay.submit(envelopes(3))
            assert await take(relay, 1) == {3: "sent"}

    run(work())


def test_messages_keep_their_pace_without_a_connection_for_each() -> None:
    async def work() -> None:
        server = ScriptedServer()
        async with relaying(server, connections=4, rate_s=50.0) as relay:
            began_s = asyncio.get_running_loop().time()
            relay.submit(envelopes(*range(6)))
            await take(relay, 6)
            assert asyncio.get_running_loop().time() - began_s >= 5 / 50

    run(work())


@pytest.mark.parametrize("stage", ["connect", "ehlo", "mail", "dot"])
def test_leaving_ends_whatever_is_on_its_way_at_once(stage: str) -> None:
    async def work() -> list[str]:
        server = ScriptedServer(plan={stage: HANG})
        async with relaying(server, connections=3) as relay:
            relay.submit(envelopes(1, 2, 3, 4, 5))
            await server.hanging.wait()
        return sorted(outcome.kind.value for outcome in relay.take_outcomes())

    expected = {"uncertain", "unsent"} if stage == "dot" else {"unsent"}
    found = run(work())
    assert len(found) == 5
    assert set(found) <= expected


def test_a_goodbye_that_is_not_answered_can_be_cut_short() -> None:
    async def work() -> None:
        server = ScriptedServer(plan={"quit": HANG})
        before = asyncio.all_tasks()

        async def deliver() -> None:
            async with relaying(server, connections=2) as relay:
                relay.submit(envelopes(1, 2))
                await take(relay, 2)

        task = asyncio.create_task(deliver())
        await server.hanging.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() <= before

    run(work())


def test_a_password_is_read_for_each_connection() -> None:
    tokens = iter(["first", "second"])

    async def work() -> ScriptedServer:
        server = ScriptedServer(extensions=("AUTH PLAIN",))
        changes = {"username": "us", "read_password": lambda: next(tokens), "messages_per_connection": 1}
        async with relaying(server, **changes) as relay:
            relay.submit(envelopes(1, 2))
            await take(relay, 2)
        return server

    server = run(work())
    assert [c for c in server.commands if c.startswith("AUTH")] == [
        "AUTH PLAIN AHVzAGZpcnN0",
        "AUTH PLAIN AHVzAHNlY29uZA==",
    ]


def test_a_password_that_cannot_be_read_is_for_the_operator() -> None:
    def read_password() -> str:
        raise ConfigurationError(["[smtp] password_file: /etc/token cannot be read (No such file)"])

    async def work() -> None:
        async with relaying(
            ScriptedServer(extensions=("AUTH PLAIN",)), username="us", read_password=read_password
        ) as relay:
            relay.submit(envelopes(1))
            assert await take(relay, 1) == {1: "unsent"}
            assert relay.fault is not None
            assert (relay.fault.stage, relay.fault.is_temporary) == ("auth", False)
            assert "/etc/token cannot be read" in relay.fault.reply

    run(work())


TOKEN = {"username": "us@example.org", "read_password": lambda: "canary-7d1f", "auth": "xoauth2"}


def test_a_token_opens_the_way() -> None:
    async def work() -> ScriptedServer:
        server = ScriptedServer(extensions=("AUTH PLAIN XOAUTH2",))
        async with relaying(server, **TOKEN) as relay:
            relay.submit(envelopes(1))
            assert await take(relay, 1) == {1: "sent"}
        return server

    server = run(work())
    # user=us@example.org^Aauth=Bearer canary-7d1f^A^A
    expected = "AUTH XOAUTH2 dXNlcj11c0BleGFtcGxlLm9yZwFhdXRoPUJlYXJlciBjYW5hcnktN2QxZgEB"
    assert server.commands[1] == expected


@pytest.mark.parametrize(
    ("extensions", "plan", "verbs", "reply"),
    [
        (
            ("AUTH XOAUTH2",),
            {"auth": "334 eyJzdGF0dXMiOiI0MDEifQ==", "": "535 5.7.8 canary-7d1f has expired"},
            ["EHLO", "AUTH", ""],
            "535 5.7.8 *** has expired",
        ),
        (("AUTH XOAUTH2",), {"auth": "535 5.7.8 no"}, ["EHLO", "AUTH"], "535 5.7.8 no"),
        (("AUTH PLAIN LOGIN",), {}, ["EHLO"], "AUTH XOAUTH2 is not offered"),
    ],
)
def test_a_token_that_is_refused_is_for_the_operator_and_appears_nowhere(
    extensions: tuple[str, ...], plan: dict[str, str], verbs: list[str], reply: str
) -> None:
    async def work() -> None:
        server = ScriptedServer(extensions=extensions, plan=plan)
        async with relaying(server, **TOKEN) as relay:
            relay.submit(envelopes(1))
            assert await take(relay, 1) == {1: "unsent"}
            assert relay.fault is not None
            assert (relay.fault.stage, relay.fault.is_temporary) == ("auth", False)
            assert relay.fault.reply == reply
        assert server.verbs == verbs

    run(work())


def test_an_address_beyond_ascii_reaches_a_relay_that_takes_it() -> None:
    async def work() -> ScriptedServer:
        server = ScriptedServer(extensions=("PIPELINING", "8BITMIME", "SMTPUTF8"))
        async with relaying(server) as relay:
            relay.submit([envelope(1, recipient="röder@example.com"), envelope(2)])
            assert await take(relay, 2) == kinds((1, 2), "sent")
        return server

    server = run(work())
    assert server.commands[1:3] == [
        "MAIL FROM:<news@example.org> BODY=8BITMIME SMTPUTF8",
        "RCPT TO:<röder@example.com>",
    ]
    assert server.commands[4] == "MAIL FROM:<news@example.org>"


def test_a_handshake_that_never_ends_is_a_temporary_fault() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def work() -> None:
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        settings = RelaySettings(
            host="127.0.0.1",
            port=server.sockets[0].getsockname()[1],
            username="",
            read_password=lambda: "",
            tls="implicit",
            connections=1,
            rate_s=0.0,
            local_hostname="client.example.org",
        )
        async with server, SmtpRelay(settings, Timeouts(connect_s=0.1)) as relay:
            relay.submit(envelopes(1))
            assert await take(relay, 1) == {1: "unsent"}
            assert relay.fault is not None
            assert (relay.fault.reply, relay.fault.is_temporary) == ("no reply in time", True)

    run(work())


def test_messages_that_were_sent_are_news_together_and_the_last_ones_at_once() -> None:
    async def scenario() -> None:
        async with relaying(ScriptedServer()) as relay:
            relay.gather(3)
            relay.submit(envelopes(*range(1, 8)))

            await relay.news.wait()
            assert relay.settled >= 3, "there was work for the connection"

            relay.gather(100)
            assert await take(relay, 7) == dict.fromkeys(range(1, 8), "sent"), "and then there was none"

    asyncio.run(scenario())


def test_news_of_several_relays_can_be_one() -> None:
    async def work() -> None:
        async with ScriptedServer() as server:
            news = asyncio.Event()
            settings = RelaySettings(
                host="127.0.0.1",
                port=server.port,
                username="",
                read_password=lambda: "",
                tls="none",
                connections=1,
                rate_s=0.0,
            )
            async with SmtpRelay(settings, news=news) as one, SmtpRelay(settings, news=news) as other:
                one.submit(envelopes(1))
                other.submit(envelopes(2))
                found: list[int] = []
                while len(found) < 2:
                    await news.wait()
                    found += [o.key for relay in (one, other) for o in relay.take_outcomes()]
                assert sorted(found) == [1, 2]

    run(work())


@pytest.mark.parametrize("reply", [DROP, "421 4.3.2 closing"])
def test_a_connection_that_ended_at_rest_is_not_used_and_is_no_trouble(reply: str) -> None:
    async def work() -> None:
        server = ScriptedServer(recipients={"reader1@example.com": {"rcpt": reply}})
        async with relaying(server, connections=2) as relay:
            relay.submit(envelopes(1))
            await take(relay, 1)
            relay.submit(envelopes(2))
            assert await take(relay, 1) == {2: "sent"}
            assert relay.fault is None

    run(work())


def test_nothing_is_missed_when_many_connections_are_looked_at_together() -> None:
    rounds, pairs = 300, [socket.socketpair() for _ in range(12)]
    found: list[int] = []

    async def work() -> None:
        poller, done = Poller(), asyncio.Event()

        def answer(place: int) -> Callable[[int, float], None]:
            ours, theirs = pairs[place]

            def watcher(_events: int, _now_s: float) -> None:
                assert ours.recv(10) == b"x"
                found.append(place)
                if len(found) <= rounds * len(pairs) - len(pairs):
                    theirs.send(b"x")
                elif len(found) == rounds * len(pairs):
                    done.set()

            return watcher

        for place, (ours, theirs) in enumerate(pairs):
            poller.watch(ours.fileno(), READ, answer(place))
            theirs.send(b"x")
        await done.wait()
        for ours, _ in pairs[1:]:
            poller.forget(ours.fileno())
        alone = asyncio.Event()
        poller.watch(pairs[0][0].fileno(), READ, lambda *_: alone.set())
        pairs[0][1].send(b"x")
        await alone.wait()
        poller.close()

    try:
        run(work())
    finally:
        for pair in pairs:
            for each in pair:
                each.close()
    assert len(found) == rounds * len(pairs)
