import asyncio
import socket
import sys
import threading
from ipaddress import ip_network

import pytest
from aiohttp.abc import AbstractResolver

from syndicate.collect import names
from syndicate.collect.fetch import fetch, open_session, request
from syndicate.collect.hosts import HostGate
from syndicate.collect.robots import Robots
from syndicate.errors import FetchError, PrivateAddress
from tests.collect_http_server import answer, http_server
from tests.url_forms import FORMS

#: It stands for the public internet; every other address of this machine is within.
PUBLIC = "127.0.0.2"
ALLOW = [ip_network(PUBLIC)]

_dialled: list[str] | None = None


def _note(event, arguments):
    # asyncio asks the system to connect in its own way; every one of them comes by here.
    if _dialled is not None and event == "socket.connect" and isinstance(arguments[1], tuple):
        _dialled.append(arguments[1][0])


sys.addaudithook(_note)


@pytest.fixture
def dialled():
    """The addresses to which this process opened a connection during the test."""
    global _dialled  # noqa: PLW0603 - a hook of the interpreter cannot be taken out again
    _dialled = []
    yield _dialled
    _dialled = None


class Answers(AbstractResolver):
    """A name server whose answers change with each question; the last one stays."""

    def __init__(self, *answers):
        self.answers = list(answers)

    async def resolve(self, host, port=0, family=0):  # noqa: ARG002 - as the library calls it
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not addresses:
            raise OSError("no such name")
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": 0,
                "flags": 0,
            }
            for address in addresses
        ]

    async def close(self):
        pass


async def by_fetch(session, url):
    await fetch(session, url)


async def by_get(session, url):
    await request(session, "GET", url)


async def by_post(session, url):
    await request(session, "POST", url, data={"hub.mode": "subscribe"})


async def by_robots(session, url):
    await Robots(HostGate(gap_s=0.0)).may_fetch(session, url)


def forms(url):
    return [form.replace("{p}", url.rpartition(":")[2]) for form in FORMS.split()]


@pytest.mark.parametrize("door", [by_fetch, by_get, by_post, by_robots])
def test_no_way_to_write_an_inner_address_is_dialled_through_any_door(door, dialled):
    async def run():
        async with http_server({"/": answer("x")}) as canary, open_session(user_agent="T") as session:
            for url in forms(canary.url):
                try:
                    await door(session, url)
                except (FetchError, ValueError):
                    continue
                assert door is by_robots, url  # it says "may not" of a host that cannot be found
            return canary.connections

    assert asyncio.run(run()) == 0
    assert dialled == []
    assert len(FORMS.split()) >= 60


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_to_an_inner_address_is_followed_however_it_is_written(status, dialled):
    async def run():
        async with (
            http_server({"/": answer("x")}) as canary,
            http_server(address=PUBLIC) as server,
            open_session(user_agent="T", allow=ALLOW) as session,
        ):
            for number, form in enumerate(forms(canary.url)):
                location = form.encode().decode("latin-1")
                server.answers[f"/{number}"] = answer(status=status, Location=location)
                with pytest.raises(FetchError):
                    await fetch(session, f"{server.url}/{number}")
                said = await request(session, "POST", f"{server.url}/{number}", data=b"x")
                assert said.status == status
            return canary.connections

    assert asyncio.run(run()) == 0
    assert set(dialled) == {PUBLIC}


INNER = ["127.0.0.1", "10.0.0.1", "169.254.169.254", "fd00::1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"]


@pytest.mark.parametrize("inner", INNER)
def test_a_name_that_changes_its_answer_leads_nowhere_within(inner, dialled):
    async def run():
        async with (
            http_server({"/": answer("x")}, address=PUBLIC) as server,
            open_session(user_agent="T", allow=ALLOW) as session,
        ):
            session.connector._use_dns_cache = False
            url = f"http://rebinding.example:{server.url.rpartition(':')[2]}/"
            session.connector._resolver = Answers([PUBLIC], [inner])
            assert (await fetch(session, url)).body == b"x"
            for _ in range(3):
                with pytest.raises(PrivateAddress):
                    await fetch(session, url)
            for mixed in ([inner, PUBLIC], [PUBLIC, inner], [inner, inner, PUBLIC]):
                session.connector._resolver = Answers(mixed)
                assert (await fetch(session, url)).body == b"x"
            for several in ([inner, "10.9.9.9"], ["192.168.1.1", inner, "fd00::2"]):
                session.connector._resolver = Answers(several)
                with pytest.raises(PrivateAddress):
                    await fetch(session, url)

    asyncio.run(run())
    assert set(dialled) == {PUBLIC}


def test_a_redirect_to_a_name_that_answers_differently_the_second_time_leads_nowhere_within(dialled):
    async def run():
        async with (
            http_server({"/": answer("x")}) as canary,
            http_server(address=PUBLIC) as server,
            open_session(user_agent="T", allow=ALLOW) as session,
        ):
            session.connector._use_dns_cache = False
            session.connector._resolver = Answers([PUBLIC], ["127.0.0.1"])
            server.answers["/"] = answer(status=302, Location=f"http://turn.example:{canary.url[-5:]}/")
            with pytest.raises(PrivateAddress):
                await fetch(session, f"http://turn.example:{server.url.rpartition(':')[2]}/")
            return canary.connections

    assert asyncio.run(run()) == 0
    assert dialled == [PUBLIC]


def test_the_peer_of_a_connection_is_the_address_that_was_judged(dialled):
    async def begin(writer):
        writer.write(answer("x", length=2))
        await writer.drain()
        await asyncio.Event().wait()

    async def run():
        async with (
            http_server({"/": begin}, address=PUBLIC) as server,
            open_session(user_agent="T", allow=ALLOW) as session,
        ):
            port = int(server.url.rpartition(":")[2])
            session.connector._resolver = Answers(["10.0.0.1", PUBLIC])
            async with session.get(f"http://public.example:{port}/") as response:
                peer = response.connection.transport.get_extra_info("socket").getpeername()
            return peer, port

    peer, port = asyncio.run(run())
    assert peer == (PUBLIC, port)
    assert dialled == [PUBLIC]


def test_what_is_allowed_for_one_session_is_not_for_another(dialled):
    async def run():
        async with (
            http_server({"/": answer("x")}) as inner,
            open_session(user_agent="T", allow=[ip_network("127.0.0.1")]) as intranet,
            open_session(user_agent="T") as public,
        ):
            assert (await fetch(intranet, inner.url + "/")).body == b"x"
            with pytest.raises(PrivateAddress):
                await fetch(public, inner.url + "/")

    asyncio.run(run())
    assert dialled == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("entry", "is_open"),
    [
        ("127.0.0.0/8", True),
        ("127.0.0.1/32", True),
        ("126.0.0.0/7", False),
        ("0.0.0.0/0", False),
        ("10.0.0.0/8", False),
        ("::ffff:127.0.0.1/128", False),
    ],
)
def test_loopback_is_opened_by_an_entry_of_its_own_only(entry, is_open):
    async def run():
        async with (
            http_server({"/": answer("x")}) as server,
            open_session(user_agent="T", allow=[ip_network(entry)]) as session,
        ):
            try:
                return (await fetch(session, server.url + "/")).body
            except PrivateAddress:
                return None

    assert asyncio.run(run()) == (b"x" if is_open else None)


def test_name_servers_that_never_answer_hold_up_nothing_but_names(monkeypatch):
    release = threading.Event()

    def ask(*_arguments, **_options):
        release.wait(20)
        raise socket.gaierror

    monkeypatch.setattr(names.socket, "getaddrinfo", ask)

    async def run():
        async with (
            http_server({"/": answer("x")}) as server,
            open_session(user_agent="T", allow=[ip_network("127.0.0.1")]) as session,
        ):
            lost = [
                asyncio.create_task(fetch(session, f"http://{n}.example/", deadline_s=60)) for n in range(60)
            ]
            await asyncio.sleep(0)
            stored = await asyncio.gather(*(asyncio.to_thread(int) for _ in range(40)))
            found = await fetch(session, server.url + "/")
            still_waiting = sum(not task.done() for task in lost)
            release.set()
            return stored, found.body, still_waiting, await asyncio.gather(*lost, return_exceptions=True)

    stored, body, still_waiting, errors = asyncio.run(run())
    assert (len(stored), body, still_waiting) == (40, b"x", 60)
    assert all(isinstance(error, FetchError) for error in errors)
