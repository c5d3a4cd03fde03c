"""One connection to the relay: bytes in and out, timers, TLS, and a buffer that stays small.

Decides nothing: what to write and what a reply means is in ``dialogue``. Does not know other connections and
never repeats anything.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, cast

from syndicate.deliver.dialogue import Dialogue
from syndicate.deliver.outcome import Stage
from syndicate.deliver.replies import Extensions, Reply, ReplyParser, UnreadableReply
from syndicate.deliver.run import Run
from syndicate.deliver.wording import describe_failure

__all__ = ["Session", "Timeouts"]

#: Nothing depends on the answer to QUIT; our choice.
_QUIT_S: Final = 5.0

#: As much content as is handed to the transport at once; our choice. Most messages are smaller.
_CHUNK_BYTES: Final = 2**18

#: More than what ever follows a final dot in a group (two paths of 256 bytes at most, and their commands).
#: The transport pauses us while more than this is unsent: then the dot has not left.
_TAIL_BYTES: Final = 1024

#: Replies are small; our choice.
_RECEIVED_BYTES: Final = 2**13

_CLOSED: Final = "the connection was closed"

#: What was said before the server could have seen what we write next is no answer to that.
_OUT_OF_TURN: Final = "the server spoke out of turn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long to wait for a reply (RFC 5321 section 4.5.3.2)."""

    connect_s: float = 60.0  #: our choice, for connection and greeting: giving up there harms nobody
    command_s: float = 300.0
    data_s: float = 120.0
    block_s: float = 180.0  #: for the server to take a part of the content
    dot_s: float = 600.0  #: less makes duplicates: the relay may have taken the message by then


class Session(asyncio.BufferedProtocol):
    """A connection, first for single commands, and once it is ``ready`` for messages.

    Buffered, since the loop would otherwise map and unmap 256 KB of memory for each reply.
    """

    def __init__(self, relay: str, timeouts: Timeouts) -> None:
        self._relay, self._timeouts = relay, timeouts
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None  #: None: not yet, or no more
        self._is_encrypted = False
        self._received = memoryview(bytearray(_RECEIVED_BYTES))
        self._parser = ReplyParser()
        self._dialogue: Dialogue | None = None
        self._words = _CLOSED  #: why it was closed
        self._answer: asyncio.Future[Reply | None] | None = self._loop.create_future()  #: first the greeting
        self._working: Dialogue | None = None  #: while there is work
        self._done: asyncio.Future[None] | None = None  #: the end of it
        self._content = memoryview(b"")  #: what the transport has not been given yet
        self._is_paused = False
        self._deadline_s: float | None = None  #: of the reply that is owed, by the loop's clock
        self._timer: asyncio.TimerHandle | None = None

    def is_open(self) -> bool:
        """Whether anything more may be sent on it."""
        return self._transport is not None

    async def greeting(self) -> Reply:
        """The server's first words. Raises ConnectionAbortedError if none come."""
        return await self._answered(self._answer)

    async def command(self, line: bytes, timeout_s: float | None = None) -> Reply:
        """Sends one command and returns the reply. Raises ConnectionAbortedError if none comes."""
        answer = self._answer = self._loop.create_future()
        if self._transport is not None:
            self._transport.write(line + b"\r\n")
            self._watch(self._timeouts.command_s if timeout_s is None else timeout_s)
        else:
            answer.set_result(None)
        return await self._answered(answer)

    async def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Encrypts the connection, after the server has agreed. Raises OSError."""
        if self._transport is None:  # it said more than that: injected, perhaps
            raise ConnectionAbortedError(self._words)
        # Without a break: what comes in from here on is taken for part of the handshake.
        made = await self._loop.start_tls(
            self._transport,
            self,
            context,
            server_hostname=host,
            ssl_handshake_timeout=self._timeouts.connect_s,
        )
        if made is None or self._transport is None:
            raise ConnectionAbortedError(self._words)
        self.connection_made(made)

    def ready(self, extensions: Extensions) -> None:
        """From now on it is for messages."""
        self._dialogue = Dialogue(self._relay, extensions)

    async def work(self, run: Run, slot: int, place: int, *, is_fresh: bool) -> None:
        """Hands over this message and as many others as the run has for it now.

        Returns when all of them are settled or given back. After any reply that is missing or out of place
        the connection is closed, so that no later one can be taken for it; so it is when this is cancelled.
        """
        assert self._dialogue is not None  # noqa: S101 - the handshake has ended with ready()
        done = self._done = self._loop.create_future()
        self._working = self._dialogue
        self._working.begin(run, slot, place, is_fresh=is_fresh)
        self._advance(self._working)
        try:
            await done
        except BaseException:
            self.abort()
            raise

    async def close(self) -> None:
        """Says QUIT and closes the connection; whatever goes wrong with it changes nothing."""
        if self.is_open():
            with suppress(OSError):
                await self.command(b"QUIT", _QUIT_S)
        self.abort()
        await asyncio.sleep(0)  # the loop closes the socket in its next round

    def abort(self) -> None:
        """Closes the connection without a word, as is right in the middle of a message."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            # Not close(): that waits for what is unsent, and under TLS for the other side's farewell.
            self._transport.abort()
            self._transport = None
        self._content, self._deadline_s = memoryview(b""), None
        self._resolve(None)
        self._finish()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop, and again after STARTTLS."""
        self._transport = cast("asyncio.Transport", transport)
        self._is_encrypted = transport.get_extra_info("sslcontext") is not None
        self._transport.set_write_buffer_limits(high=_TAIL_BYTES, low=_TAIL_BYTES)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the loop's signature
        """Called by the loop before it reads."""
        return self._received

    def buffer_updated(self, nbytes: int) -> None:
        """Called by the loop after it has read."""
        if self._transport is None:
            return
        self._parser.feed(bytes(self._received[:nbytes]))
        try:
            if self._working is None:
                self._read_answer()
            else:
                self._read_replies(self._working)
        except UnreadableReply as error:
            self._lose(str(error))

    def eof_received(self) -> None:
        """Called by the loop: no reply can come any more."""
        self._lose(_CLOSED)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._lose(_CLOSED if exc is None else describe_failure(exc))

    def pause_writing(self) -> None:
        """Called by the loop while more than the tail of a group is unsent."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """Called by the loop."""
        self._is_paused = False
        self._write_content()
        if self._working is not None and self._working.owed is not None:
            self._watch_reply(self._working.owed)

    def _read_answer(self) -> None:
        if self._answer is None:
            self._lose(_OUT_OF_TURN)
        elif (reply := self._parser.next()) is not None:
            self._deadline_s = None
            self._resolve(reply)
            if not self._parser.is_empty:
                self._lose(_OUT_OF_TURN)

    def _read_replies(self, working: Dialogue) -> None:
        is_content_out = not (self._content or self._is_paused)
        while not working.is_over and (reply := self._parser.next()) is not None:
            working.take_reply(reply, is_content_out=is_content_out)
        if working.owed is None and not self._parser.is_empty:
            self._lose(_OUT_OF_TURN)
        else:
            self._advance(working)

    def _advance(self, working: Dialogue) -> None:
        """Writes what is due; if no reply is owed after that, the work is done."""
        group = working.advance(self._loop.time())
        if group and self._transport is not None:
            # Not writelines(): in some Pythons 3.12 and 3.13 it never pauses us (CVE-2024-12254).
            self._content = memoryview(b"".join(group))
            self._write_content()
        owed = working.owed
        if working.is_over:
            self.abort()
        elif owed is not None:
            self._watch_reply(owed)
        else:
            self._deadline_s = None
            self._finish()

    def _write_content(self) -> None:
        while self._content and not self._is_paused and self._transport is not None:
            self._transport.write(self._content[:_CHUNK_BYTES])
            self._content = self._content[_CHUNK_BYTES:]

    def _lose(self, words: str) -> None:
        if self._transport is None:
            return
        self._words = words
        if self._working is not None:
            # Under TLS nobody knows what lies in which buffer.
            is_dot_unsent = not self._is_encrypted and (bool(self._content) or self._is_paused)
            self._working.end(words, is_dot_unsent=is_dot_unsent)
        self.abort()

    async def _answered(self, answer: asyncio.Future[Reply | None] | None) -> Reply:
        reply = await answer if answer is not None else None
        if reply is None:
            raise ConnectionAbortedError(self._words)
        return reply

    def _resolve(self, reply: Reply | None) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_result(reply)

    def _finish(self) -> None:
        self._working = None
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    def _watch_reply(self, stage: Stage) -> None:
        if self._content or self._is_paused:
            self._watch(self._timeouts.block_s)
        elif stage is Stage.DOT:
            self._watch(self._timeouts.dot_s)
        else:
            self._watch(self._timeouts.data_s if stage is Stage.DATA else self._timeouts.command_s)

    def _watch(self, timeout_s: float) -> None:
        """Sets the deadline. The timer is set anew only if it would come too late: that is rare, and dear."""
        self._deadline_s = self._loop.time() + timeout_s
        if self._timer is not None and self._timer.when() > self._deadline_s:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(self._deadline_s, self._check_deadline)

    def _check_deadline(self) -> None:
        self._timer = None
        if self._deadline_s is None:
            return
        if self._loop.time() >= self._deadline_s:
            self._lose("no reply in time")
        else:
            self._timer = self._loop.call_at(self._deadline_s, self._check_deadline)
