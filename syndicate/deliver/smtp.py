"""Hands messages to the relay over several connections at once.

Knows no edition and no reader, stores nothing, and never tries a message again that the relay may have.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from syndicate.deliver.handshake import open_session
from syndicate.deliver.outcome import DeliveryReport, Envelope
from syndicate.deliver.pace import Pace
from syndicate.deliver.relay import RelaySettings, make_tls_context
from syndicate.deliver.run import Run
from syndicate.deliver.session import Session, Timeouts
from syndicate.errors import RelayError

__all__ = ["RelaySettings", "SmtpRelay"]


class SmtpRelay:
    """A relay and the connections to it, kept open as long as the context lasts.

    Its methods are for one task: a second ``deliver`` must not begin before the first has ended.
    Raises ConfigurationError if the CA file cannot be read.
    """

    def __init__(self, settings: RelaySettings, timeouts: Timeouts = Timeouts()) -> None:  # noqa: B008 - frozen
        self._settings, self._timeouts = settings, timeouts
        self._tls_context = make_tls_context(settings)
        self._pace = Pace(settings.rate_s)
        self._sessions: list[Session | None] = [None] * settings.connections
        self._refusals = 0

    async def __aenter__(self) -> Self:
        """Opens no connection yet."""
        if not self._settings.local_hostname:
            name = await asyncio.to_thread(socket.getfqdn)  # asks a name server: once is enough
            self._settings = replace(self._settings, local_hostname=name)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Says goodbye on every connection."""
        sessions = [session for session in self._sessions if session is not None]
        self._sessions = [None] * self._settings.connections
        await asyncio.gather(*(session.close() for session in sessions))

    async def check(self) -> None:
        """Connects, greets, encrypts and authenticates, and sends nothing. Raises RelayError."""
        session = self._sessions[0]
        if session is None or not session.is_open():
            self._sessions[0] = await self._open()

    async def deliver(self, envelopes: Sequence[Envelope]) -> DeliveryReport:
        """Hands over each message in a transaction of its own and tells what became of each.

        Never raises for what a server or a network does. If the relay itself refuses us, or nothing can be
        got through to it, ``fault`` says so, and what was not reached is unsent; what is known by then
        stands. A message whose content has begun is waited for, up to ten minutes. Cancelling it loses the
        outcomes: the caller has to take what was open as uncertain.
        """
        run = Run(
            envelopes,
            relay=self._settings.name,
            pace=self._pace,
            slots=len(self._sessions),
            refusals=self._refusals,
        )
        async with asyncio.TaskGroup() as group:
            for slot in range(min(len(self._sessions), len(envelopes))):
                group.create_task(self._work(run, slot))
        self._refusals = run.refusals
        return run.report()

    async def _work(self, run: Run, slot: int) -> None:
        """Sends on one connection until nothing is left, or the relay wants no more of it."""
        while (place := await run.wait_for_next(slot)) is not None:
            delay_s = self._pace.reserve(asyncio.get_running_loop().time())
            if delay_s > 0:
                await asyncio.sleep(delay_s)
            if run.fault is not None:
                run.give_back(place)
                return
            session = self._sessions[slot]
            is_fresh = session is None or not session.is_open()
            if session is None or is_fresh:
                try:
                    session = self._sessions[slot] = await self._open()
                except RelayError as fault:
                    run.give_back(place, fault)
                    return
            await session.work(run, slot, place, is_fresh=is_fresh)

    async def _open(self) -> Session:
        return await open_session(self._settings, self._tls_context, self._timeouts)
