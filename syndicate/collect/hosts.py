"""Whose turn it is at a host: so many at once, so long between two of them. Fetches nothing, stores nothing.

Time is the event loop's clock. A task waits here before it takes one of the places that all hosts share, so
that a slow host holds up itself only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from syndicate.errors import FetchError

__all__ = ["HostGate", "HostHeld", "host_of"]

#: How many hosts are remembered before those that need not be are forgotten; our choice.
_SWEEP_AT: Final = 1024


class HostHeld(FetchError):
    """The host asked for a pause, which lasts ``wait_s`` more: come again then. Nobody failed."""

    def __init__(self, host: str, wait_s: float) -> None:
        self.wait_s = wait_s
        super().__init__(host, "host_held", f"asked us to wait {wait_s:.0f} s more", retry_after_s=wait_s)


@dataclass(slots=True)
class _Queue:
    """Those who are at a host or wait for it."""

    places: asyncio.Semaphore
    people: int = 0


class HostGate:
    """Turns at hosts: at most ``per_host`` at once, and ``gap_s`` from the start of one to the next.

    First come, first served. Lives as long as the process, over several event loops one after the other.
    Remembers hosts no longer than somebody is at them, their gap lasts, or they are held.
    """

    def __init__(self, *, per_host: int = 1, gap_s: float = 1.0) -> None:
        self._per_host, self._gap_s = per_host, gap_s
        self._queues: dict[str, _Queue] = {}
        self._ready_at: dict[str, float] = {}
        self._held_until: dict[str, float] = {}
        self._sweep_at = _SWEEP_AT

    @asynccontextmanager
    async def turn(self, host: str, *, gap_s: float = 0.0) -> AsyncIterator[None]:
        """Waits for a turn at a host, which lasts as long as the block.

        ``gap_s`` is what this host itself wants between two starts, if that is longer than ours. Raises
        HostHeld if the host is held, or becomes so while we wait. A task that has a turn must not ask for
        another one at the same host.
        """
        queue = self._queues.get(host)
        if queue is None:
            queue = self._queues[host] = _Queue(asyncio.Semaphore(self._per_host))
        queue.people += 1
        try:
            async with queue.places:
                await self._wait(host, max(gap_s, self._gap_s))
                yield
        finally:
            queue.people -= 1
            if not queue.people:
                del self._queues[host]

    def hold(self, host: str, wait_s: float) -> None:
        """Nobody gets a turn at the host for so long; a shorter wait does not end a longer one."""
        until = asyncio.get_running_loop().time() + wait_s
        self._held_until[host] = max(until, self._held_until.get(host, until))

    def held_s(self, host: str) -> float:
        """For how long the host is held still; 0.0 if it is not."""
        until = self._held_until.get(host)
        return 0.0 if until is None else max(0.0, until - asyncio.get_running_loop().time())

    async def _wait(self, host: str, gap_s: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if wait_s := self.held_s(host):
                raise HostHeld(host, wait_s)
            wait_s = self._ready_at.get(host, 0.0) - loop.time()
            if wait_s <= 0:
                break
            await asyncio.sleep(wait_s)
        self._ready_at[host] = loop.time() + gap_s
        if len(self._ready_at) >= self._sweep_at:
            self._forget(loop.time())

    def _forget(self, now: float) -> None:
        self._ready_at = {host: at for host, at in self._ready_at.items() if at > now}
        self._held_until = {host: at for host, at in self._held_until.items() if at > now}
        self._sweep_at = max(_SWEEP_AT, 2 * len(self._ready_at))


def host_of(url: str) -> str:
    """The host of a URL, under which its turns are counted whatever scheme and port; empty if it has none."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""
