"""Hands messages to the relay over several connections at once, as a stream that never waits for one of them.

Knows no edition and no reader, stores nothing, and never tries a message again that the relay may have.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from types import TracebackType
from typing import Self, cast

from syndicate.deliver.handshake import open_session
from syndicate.deliver.pace import Allowance, Pace
from syndicate.deliver.poller import Poller
from syndicate.deliver.relay import RelaySettings, make_tls_context
from syndicate.deliver.session import Session, Timeouts
from syndicate.deliver.stream import Stream
from syndicate.deliver.transport import Transport
from syndicate.errors import RelayError

__all__ = ["RelaySettings", "SmtpRelay"]


class SmtpRelay(Transport):
    """A relay that speaks SMTP, and the connections to it.

    Each message is a transaction of its own; content that has begun is waited for, up to ten minutes. Raises
    ConfigurationError if the CA file cannot be read.
    """

    def __init__(
        self,
        settings: RelaySettings,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
        *,
        news: asyncio.Event | None = None,  # of a caller who listens to several relays at once
    ) -> None:
        self._settings, self._timeouts = settings, timeouts
        self._tls_context = make_tls_context(settings)
        allowance = Allowance(settings.connections)
        super().__init__(
            Stream(settings.name, Pace(settings.rate_s), allowance, news or asyncio.Event()), allowance
        )
        self._sessions: set[Session] = set()  #: ready and not on their way out
        self._idle: list[Session] = []  #: of these, those without work; the one that rests longest first
        self._opening: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_s = 0.0

    async def __aenter__(self) -> Self:
        """Opens no connection yet."""
        self._loop = asyncio.get_running_loop()
        if not self._settings.local_hostname:
            name = await asyncio.to_thread(socket.getfqdn)  # asks a name server: once is enough
            self._settings = replace(self._settings, local_hostname=name)
        self._poller = Poller()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Says goodbye on every connection that is at rest, and ends the others as ``abort`` does."""
        for session in list(self._idle):
            self._dismiss(session)
        self.abort()
        tasks = self._opening | self._closing
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        except asyncio.CancelledError:
            await asyncio.gather(*tasks, return_exceptions=True)  # which are cancelled too, and end at once
            raise
        finally:
            self._close()

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._poller.close()

    def let_go(self, now_s: float) -> None:
        """Gives up messages that wait behind a slow answer and whose time to begin has passed."""
        for session in self._sessions:
            session.let_go(now_s)

    def abort(self) -> None:
        """Ends at once: content that may have left is uncertain, all else unsent."""
        self._stream.is_stopping = True
        for task in self._opening:
            task.cancel()
        for session in list(self._sessions):
            session.abort()
            self._forget(session)
        self._stream.drop_waiting("sending was stopped")
        self._stream.is_stopping = False

    async def check(self) -> None:
        """Connects, greets, encrypts and authenticates, and sends nothing. Raises RelayError."""
        if not self._sessions:
            await self._open()
            self._dispatch()

    def _dispatch(self) -> None:
        """Gives work to whoever rests, opens connections for more of it, closes those that are too many."""
        stream, now_s = self._stream, self._loop.time()
        if self._allowance.grow(now_s):
            stream.news.set()
        while self._idle and (self._allowance.is_exceeded or self._is_tired(self._idle[0], now_s)):
            self._dismiss(self._idle[0])
        while stream.waiting and self._idle:
            session = self._idle.pop()
            if session.start(now_s):
                continue
            if session.is_open:
                self._idle.append(session)
                break
            self._forget(session)
        if stream.waiting:
            self._open_more(now_s)
        self._plan(now_s)

    def _open_more(self, now_s: float) -> None:
        if not self._stream.pace.is_free(now_s):
            return
        room = self._allowance.count - len(self._sessions) - len(self._opening) - len(self._closing)
        for _ in range(min(room, len(self._stream.waiting) - len(self._opening))):
            task = self._loop.create_task(self._try_to_open())
            self._opening.add(task)
            task.add_done_callback(self._on_ended)

    async def _try_to_open(self) -> None:
        try:
            await self._open()
        except RelayError as fault:
            task = cast("asyncio.Task[None]", asyncio.current_task())
            self._opening.remove(task)  # at once: the next of a burst must not count it
            others = len(self._sessions) + len(self._opening)
            if fault.is_temporary and others:
                self._stream.trouble = fault
                self._allowance.settle_for(others, self._loop.time())
                self._stream.news.set()
            else:
                self._stream.fail(fault)

    async def _open(self) -> None:
        session, extensions = await open_session(
            self._settings, self._tls_context, self._timeouts, self._poller
        )
        session.ready(self._stream, extensions, self._settings.messages_per_connection, self._on_rest)
        session.rests_since_s = self._loop.time()
        self._sessions.add(session)
        self._idle.append(session)
        self._allowance.in_use = len(self._sessions)

    def _on_rest(self, session: Session) -> None:
        if not session.is_open:
            self._forget(session)
        elif session.is_used_up or self._allowance.is_exceeded:
            self._dismiss(session)
        else:
            self._idle.append(session)
        self._dispatch()

    def _forget(self, session: Session) -> None:
        """A connection that is lost: a fault if message after message met 421 and no other is left."""
        self._remove(session)
        stream = self._stream
        if stream.is_struck and stream.trouble is not None and not (self._sessions or self._opening):
            stream.fail(stream.trouble)

    def _dismiss(self, session: Session) -> None:
        """Says goodbye to a connection that is at rest."""
        self._remove(session)
        task = self._loop.create_task(session.close())
        self._closing.add(task)
        task.add_done_callback(self._on_ended)

    def _remove(self, session: Session) -> None:
        self._sessions.discard(session)
        self._allowance.in_use = len(self._sessions)
        if session in self._idle:
            self._idle.remove(session)

    def _on_ended(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        self._closing.discard(task)
        self._dispatch()

    def _is_tired(self, session: Session, now_s: float) -> bool:
        return now_s >= session.rests_since_s + self._settings.idle_s

    def _plan(self, now_s: float) -> None:
        """When to look again, if nothing happens before."""
        if self._idle:
            self._look_at(self._idle[0].rests_since_s + self._settings.idle_s)
        if self._allowance.grows_at_s < float("inf"):
            self._look_at(self._allowance.grows_at_s)
        if self._stream.waiting and not self._stream.pace.is_free(now_s):
            self._look_at(self._stream.pace.free_at_s)

    def _look_at(self, at_s: float) -> None:
        if self._timer is not None and self._timer_at_s > at_s:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(at_s, self._on_timer)
            self._timer_at_s = at_s

    def _on_timer(self) -> None:
        self._timer = None
        self._dispatch()
