"""What goes out while sources are read: guarded clients, each host's turns, robots.txt, parser processes.

Everything that is fetched for a source goes through here. Knows no table.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from aiohttp import ClientSession

from syndicate import __version__
from syndicate.collect.fetch import Fetched, NotModified, fetch, open_session
from syndicate.collect.hosts import HostGate, host_of
from syndicate.collect.robots import Robots
from syndicate.collect.workers import ParserPool
from syndicate.errors import FetchError
from syndicate.model import Source
from syndicate.service.installation import Installation

__all__ = ["Egress", "open_egress", "user_agent"]

#: Statuses by which a server asks to be left alone for a while.
_BUSY: Final = frozenset({"http_429", "http_503"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress:
    """The way out, for one run of the collector."""

    inst: Installation
    public: ClientSession
    intranet: ClientSession  #: may dial what [fetch] allow_private names; only for sources that are in there
    hosts: HostGate
    robots: Robots
    parsers: ParserPool
    slots: asyncio.Semaphore

    def session(self, source: Source) -> ClientSession:
        """The client for a source."""
        return self.intranet if source.is_intranet else self.public

    async def fetch(
        self,
        source: Source,
        url: str,
        *,
        etag: str = "",
        last_modified: str = "",
        validators_url: str = "",
        gap_s: float = 0.0,
    ) -> Fetched | NotModified:
        """The document at a URL, for a source, when it is the host's turn. Raises FetchError, HostHeld."""
        host = host_of(url)
        settings = self.inst.settings.fetch
        # The host first: one that is slow must not occupy the places that all of them share.
        async with self.hosts.turn(host, gap_s=gap_s), self.slots:
            try:
                return await fetch(
                    self.session(source),
                    url,
                    etag=etag,
                    last_modified=last_modified,
                    validators_url=validators_url,
                    max_bytes=settings.max_bytes,
                    deadline_s=settings.deadline_s,
                )
            except FetchError as error:
                if error.reason in _BUSY and error.retry_after_s is not None:
                    self.hosts.hold(host, error.retry_after_s)
                raise

    async def parse(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What a pure function makes of a document, in a process with limits. Raises ParseError."""
        return await self.parsers.run(function, *args, **kwargs)


@asynccontextmanager
async def open_egress(inst: Installation) -> AsyncIterator[Egress]:
    """Opens the way out; dials nothing and starts no process yet."""
    settings = inst.settings.fetch
    async with AsyncExitStack() as stack:
        public = await stack.enter_async_context(open_session(user_agent=user_agent(inst)))
        intranet = await stack.enter_async_context(
            open_session(user_agent=user_agent(inst), allow=settings.allow_private)
        )
        parsers = await stack.enter_async_context(ParserPool(settings.parsers or None))
        hosts = _host_gate(settings.host_connections, settings.host_gap_s)
        yield Egress(
            inst=inst,
            public=public,
            intranet=intranet,
            hosts=hosts,
            robots=_robots(hosts),
            parsers=parsers,
            slots=asyncio.Semaphore(settings.connections),
        )


def user_agent(inst: Installation) -> str:
    """How we introduce ourselves to servers: with an address to turn to."""
    return f"Syndicate/{__version__} (+{inst.settings.fetch.contact or inst.settings.site.url})"


@cache
def _host_gate(connections: int, gap_s: float) -> HostGate:
    # As long as the process: what a host asked for holds from one run to the next.
    return HostGate(per_host=connections, gap_s=gap_s)


@cache
def _robots(hosts: HostGate) -> Robots:
    return Robots(hosts)
