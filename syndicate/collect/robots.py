"""Whether a site lets us crawl, by its robots.txt, which is fetched once a day. Reads no page.

Binds what looks for pages by itself: sitemaps, lists, full texts; not a feed, which an operator has named.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Final

import aiohttp
from yarl import URL

from syndicate.collect.fetch import Fetched, fetch
from syndicate.collect.hosts import HostGate, host_of
from syndicate.collect.robots_rules import ALLOW_ALL, DISALLOW_ALL, RobotsRules, parse_robots
from syndicate.errors import FetchError, PrivateAddress

__all__ = ["Robots"]

_KEPT_S: Final = 86_400.0  # RFC 9309 section 2.4
#: How soon a site is asked again whose robots.txt could not be read; our choice.
_RETRY_S: Final = 900.0
_MOST_SITES: Final = 1000
#: RFC 9309 section 2.3.1.3: there is none, so everything is allowed. 429 says nothing about that.
_NONE_THERE: Final = re.compile(r"gone|http_4(?!29)[0-9][0-9]")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    rules: RobotsRules
    until: float  #: by the clock of the event loop


class Robots:
    """What sites allow to an agent. Lives as long as the process; obeys the same gate as everybody.

    Each method may fetch a robots.txt, in a turn of its own at the host: call it while you have none there.
    Each raises HostHeld if the host is held, and PrivateAddress. Where robots.txt cannot be reached, or the
    server fails, nothing is allowed until it can be read (RFC 9309 section 2.3.1.4).
    """

    def __init__(self, gate: HostGate, *, agent: str = "Syndicate") -> None:
        self._gate, self._agent = gate, agent
        self._kept: dict[str, _Kept] = {}

    async def may_fetch(self, session: aiohttp.ClientSession, url: str) -> bool:
        """Whether a page may be fetched. Raises ValueError for what is no http or https URL."""
        return (await self._rules(session, url)).may_fetch(URL(url).raw_path_qs)

    async def crawl_delay_s(self, session: aiohttp.ClientSession, url: str) -> float:
        """The pause that the site of a URL wants between two pages; 0.0 if it names none."""
        return (await self._rules(session, url)).crawl_delay_s or 0.0

    async def list_sitemaps(self, session: aiohttp.ClientSession, url: str) -> tuple[str, ...]:
        """The sitemaps that the site of a URL names, as it writes them, in its order."""
        return (await self._rules(session, url)).sitemaps

    async def _rules(self, session: aiohttp.ClientSession, url: str) -> RobotsRules:
        site = str(URL(url).origin())
        if kept := self._find_kept(site):
            return kept
        async with self._gate.turn(host_of(url)):
            if kept := self._find_kept(site):  # somebody else asked while we waited
                return kept
            rules, kept_s = await self._ask(session, site)
        self._kept.pop(site, None)
        if len(self._kept) >= _MOST_SITES:
            del self._kept[next(iter(self._kept))]  # the one that was asked longest ago
        self._kept[site] = _Kept(rules=rules, until=asyncio.get_running_loop().time() + kept_s)
        return rules

    def _find_kept(self, site: str) -> RobotsRules | None:
        kept = self._kept.get(site)
        if kept is None or kept.until <= asyncio.get_running_loop().time():
            return None
        return kept.rules

    async def _ask(self, session: aiohttp.ClientSession, site: str) -> tuple[RobotsRules, float]:
        try:
            answer = await fetch(session, f"{site}/robots.txt")
        except PrivateAddress:
            raise
        except FetchError as error:
            if error.retry_after_s is not None:
                self._gate.hold(host_of(site), error.retry_after_s)
            return (ALLOW_ALL, _KEPT_S) if _NONE_THERE.fullmatch(error.reason) else (DISALLOW_ALL, _RETRY_S)
        body = answer.body if isinstance(answer, Fetched) else b""
        return parse_robots(body, agent=self._agent), _KEPT_S
