import asyncio
from ipaddress import ip_network

import pytest

from syndicate.collect.fetch import open_session
from syndicate.collect.hosts import HostGate, HostHeld
from syndicate.collect.robots import Robots
from syndicate.errors import PrivateAddress
from tests.collect_http_server import answer, http_server

LOOPBACK = [ip_network("127.0.0.0/8")]
RULES = """
User-agent: *
Disallow: /private
Crawl-delay: 5
Sitemap: https://example.org/sitemap.xml
"""


def with_site(robots_txt, ask, *, allow=LOOPBACK, gate=None):
    """What ``ask(robots, session, url)`` gives where robots.txt is this, and the server."""

    async def run():
        answers = {} if robots_txt is None else {"/robots.txt": robots_txt}
        async with http_server(answers) as server, open_session(user_agent="T", allow=allow) as session:
            return await ask(Robots(gate or HostGate(gap_s=0.0)), session, server.url), server

    return asyncio.run(run())


def test_a_site_is_asked_once_for_all_that_it_says():
    async def ask(robots, session, url):
        return (
            await robots.may_fetch(session, f"{url}/private/1"),
            await robots.may_fetch(session, f"{url}/public?a=/private"),
            await robots.crawl_delay_s(session, url),
            await robots.list_sitemaps(session, f"{url}/deep/page"),
        )

    found, server = with_site(answer(RULES), ask)
    assert found == (False, True, 5.0, ("https://example.org/sitemap.xml",))
    assert server.paths() == ["/robots.txt"]
    assert "Host: 127.0.0.1" in server.requests[0]


def test_many_who_ask_at_once_share_one_request():
    async def ask(robots, session, url):
        return await asyncio.gather(*(robots.may_fetch(session, f"{url}/{n}") for n in range(20)))

    found, server = with_site(answer(RULES), ask)
    assert found == [True] * 20
    assert server.paths() == ["/robots.txt"]


@pytest.mark.parametrize(
    ("robots_txt", "may"),
    [
        (None, True),
        (answer(status=401), True),
        (answer(status=403), True),
        (answer(status=410), True),
        (answer(status=429), False),
        (answer(status=500), False),
        (answer(status=503), False),
        (answer(b"half", length=100), False),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", False),
        (answer(""), True),
        (answer("<!doctype html><title>Welcome: here</title>"), True),
        (answer("User-agent: *\nDisallow: /" + "\n#" * 300_000), False),
    ],
)
def test_where_there_are_no_rules_all_is_allowed_and_where_they_cannot_be_read_nothing(robots_txt, may):
    async def ask(robots, session, url):
        return [await robots.may_fetch(session, f"{url}/{n}") for n in range(2)]

    found, server = with_site(robots_txt, ask)
    assert found == [may, may]
    assert server.paths() == ["/robots.txt"]


def test_a_server_that_wants_rest_gets_it_from_everybody():
    gate = HostGate()

    async def ask(robots, session, url):
        assert await robots.may_fetch(session, url) is False
        with pytest.raises(HostHeld):
            async with gate.turn("127.0.0.1"):
                pass
        return gate.held_s("127.0.0.1")

    held_s, _ = with_site(answer(status=503, Retry_After="3600"), ask, gate=gate)
    assert 3500 < held_s <= 3600


def test_a_held_host_and_an_inner_address_are_said_to_be_that():
    gate = HostGate()

    async def ask_held(robots, session, url):
        gate.hold("127.0.0.1", 60)
        with pytest.raises(HostHeld):
            await robots.may_fetch(session, url)

    _, server = with_site(answer(RULES), ask_held, gate=gate)
    assert server.connections == 0

    async def ask_inner(robots, session, url):
        with pytest.raises(PrivateAddress):
            await robots.may_fetch(session, url)

    _, server = with_site(answer(RULES), ask_inner, allow=[])
    assert server.connections == 0


def test_rules_are_kept_for_a_day_and_a_failure_for_a_quarter_of_an_hour(monkeypatch):
    async def ask(robots, session, url):
        loop = asyncio.get_running_loop()
        start = loop.time()

        async def requests_at(seconds):
            with monkeypatch.context() as patch:
                patch.setattr(loop, "time", lambda: start + seconds)
                kept = robots._find_kept(url)
            return kept is not None

        await robots.may_fetch(session, url)
        return [await requests_at(seconds) for seconds in (890, 910, 86_300, 86_500)]

    assert with_site(answer(RULES), ask)[0] == [True, True, True, False]
    assert with_site(answer(status=500), ask)[0] == [True, False, False, False]
