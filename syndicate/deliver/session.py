"""One connection to the relay and its timer: replies in, commands and content out.

Decides nothing: what to write and what a reply means is in ``dialogue``. Does not know other connections and
never repeats anything.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from syndicate.deliver.channel import Channel
from syndicate.deliver.dialogue import Dialogue
from syndicate.deliver.outcome import Stage
from syndicate.deliver.poller import READ, Poller
from syndicate.deliver.replies import Extensions, Reply, ReplyParser
from syndicate.deliver.stream import Stream
from syndicate.deliver.wording import describe_failure

__all__ = ["Session", "Timeouts"]

#: Nothing depends on the answer to QUIT; our choice.
_QUIT_S: Final = 5.0

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


class Session:
    """A connection, first for single commands, and once it is ``ready`` for messages."""

    def __init__(self, connected: socket.socket, poller: Poller, timeouts: Timeouts) -> None:
        self.is_open = True  #: whether anything more may be sent on it
        self.is_working = False  #: whether messages are on their way
        self.rests_since_s = 0.0  #: by the loop's clock
        self._timeouts = timeouts
        self._patience_s = {
            Stage.MAIL: timeouts.command_s,
            Stage.RCPT: timeouts.command_s,
            Stage.DATA: timeouts.data_s,
            Stage.DOT: timeouts.dot_s,
        }
        self._loop = asyncio.get_running_loop()
        self._channel = Channel(connected, poller, self._on_ready)
        self._parser = ReplyParser()
        self._dialogue: Dialogue | None = None  #: None: not ready yet
        self._on_rest: Callable[[Session], None] | None = None
        self._words = _CLOSED  #: why it was closed
        self._answer: asyncio.Future[Reply | None] | None = self._loop.create_future()  #: first the greeting
        self._deadline_s: float | None = None  #: of the reply that is owed, by the loop's clock
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_s = 0.0

    async def greeting(self, context: ssl.SSLContext | None, host: str) -> Reply:
        """The server's first words, after the TLS handshake if there is a context.

        Raises OSError, which is ConnectionAbortedError if none come.
        """
        if context is not None:
            await self._channel.start_tls(context, host)
        else:
            self._channel.listen()
        return await self._answered(self._answer)

    async def command(self, line: bytes, timeout_s: float | None = None) -> Reply:
        """Sends one command and returns the reply. Raises ConnectionAbortedError if none comes."""
        answer = self._answer = self._loop.create_future()
        if self.is_open:
            self._channel.write(line + b"\r\n")
            self._watch(self._loop.time() + (self._timeouts.command_s if timeout_s is None else timeout_s))
        else:
            answer.set_result(None)
        return await self._answered(answer)

    async def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Encrypts the connection, after the server has agreed. Raises OSError."""
        if not self.is_open:  # it said more than that: injected, perhaps
            raise ConnectionAbortedError(self._words)
        async with asyncio.timeout(self._timeouts.connect_s):
            await self._channel.start_tls(context, host)

    def ready(
        self, stream: Stream, extensions: Extensions, share: int, on_rest: Callable[[Session], None]
    ) -> None:
        """From now on it is for messages, ``share`` of them, or any number if that is 0.

        ``on_rest`` is called when it has nothing more to do, and when it was lost.
        """
        self._on_rest = on_rest
        self._dialogue = Dialogue(stream, extensions, share=share)

    @property
    def is_used_up(self) -> bool:
        """Whether it has had its share of messages."""
        return self._dialogue is not None and self._dialogue.is_used_up

    def start(self, now_s: float) -> bool:
        """Takes a message and as many others as there are for it; False if there was none for it now.

        After any reply that is missing or out of place the connection is closed, so that no later one can be
        taken for it.
        """
        if self._dialogue is not None:
            self._advance(self._dialogue, now_s)
        return self.is_working

    def let_go(self, now_s: float) -> None:
        """Gives up a message that waits behind a slow answer and whose time to begin has passed."""
        if self._dialogue is not None:
            self._dialogue.let_go(now_s)

    async def close(self) -> None:
        """Says QUIT and closes the connection; whatever goes wrong with it changes nothing."""
        if self.is_open:
            self._dialogue = self._on_rest = None
            try:
                with suppress(OSError):
                    await self.command(b"QUIT", _QUIT_S)
            finally:
                self.abort()

    def abort(self) -> None:
        """Closes the connection without a word, as is right in the middle of a message.

        Content that may have left whole makes its message uncertain; all else is given back.
        """
        if not self.is_open:
            return
        if self._dialogue is not None:
            self._dialogue.abandon(is_dot_unsent=self._is_dot_unsent(self._dialogue))
        self._shut()

    def _on_ready(self, events: int, now_s: float) -> None:
        """Called by the poller."""
        if not self.is_open:
            return
        if self._channel.is_blocked:
            self._write_more(now_s)
        if not events & READ:
            return
        try:
            data = self._channel.read()
        except OSError as error:
            self._lose(describe_failure(error))
            return
        if data:
            self._take(self._parser.feed(data), now_s)
        elif data is not None:
            self._lose(_CLOSED)

    def _write_more(self, now_s: float) -> None:
        self._channel.write_more()
        owed = self._dialogue.owed if self._dialogue is not None else None
        if owed is not None:
            self._watch_reply(owed, now_s)

    def _take(self, replies: list[Reply], now_s: float) -> None:
        dialogue, parser = self._dialogue, self._parser
        if dialogue is None:
            self._take_answer(replies)
            return
        is_content_out = not (self._channel.is_blocked and self._is_dot_unsent(dialogue))
        dialogue.take_replies(replies, now_s, is_content_out=is_content_out)
        if not parser.is_empty and (parser.complaint or dialogue.owed is None):
            self._lose(parser.complaint or _OUT_OF_TURN)
            return
        was_working = self.is_working
        self._advance(dialogue, now_s)
        if not self.is_working and (was_working or not self.is_open) and self._on_rest is not None:
            self._on_rest(self)

    def _take_answer(self, replies: list[Reply]) -> None:
        """The reply to a single command: one, and nothing after it."""
        if self._answer is None:
            self._lose(_OUT_OF_TURN)
        elif replies:
            self._deadline_s = None
            self._resolve(replies[0])
            if len(replies) > 1 or not self._parser.is_empty:
                self._lose(_OUT_OF_TURN)
        elif self._parser.complaint:
            self._lose(self._parser.complaint)

    def _advance(self, dialogue: Dialogue, now_s: float) -> None:
        """Writes what is due. If no reply is owed after that, the work is done."""
        group = dialogue.advance(now_s)
        if group:
            self._channel.write(b"".join(group))
        owed = dialogue.owed
        self.is_working = owed is not None
        if dialogue.is_over:
            self._shut()
        elif owed is None:
            dialogue.is_fresh = False
            self.rests_since_s, self._deadline_s = now_s, None
        else:
            self._watch_reply(owed, now_s)

    def _lose(self, words: str) -> None:
        """The connection is of no use any more."""
        if not self.is_open:
            return
        self._words = words
        if self._dialogue is not None:
            self._dialogue.end(words, is_dot_unsent=self._is_dot_unsent(self._dialogue))
        self._shut()
        if self._on_rest is not None:
            self._on_rest(self)

    def _shut(self) -> None:
        self.is_open = self.is_working = False
        self._deadline_s = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._channel.close()
        self._resolve(None)

    def _is_dot_unsent(self, dialogue: Dialogue) -> bool:
        return self._channel.gone_bytes < dialogue.content_bytes

    async def _answered(self, answer: asyncio.Future[Reply | None] | None) -> Reply:
        reply = await answer if answer is not None else None
        if reply is None:
            raise ConnectionAbortedError(self._words)
        return reply

    def _resolve(self, reply: Reply | None) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_result(reply)

    def _watch_reply(self, owed: Stage, now_s: float) -> None:
        is_blocked = self._channel.is_blocked
        self._watch(now_s + (self._timeouts.block_s if is_blocked else self._patience_s[owed]))

    def _watch(self, deadline_s: float) -> None:
        """Sets the deadline. The timer is set anew only if it would come too late: that is rare, and dear."""
        self._deadline_s = deadline_s
        if self._timer is None or self._timer_at_s > deadline_s:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(deadline_s, self._check_deadline)
            self._timer_at_s = deadline_s

    def _check_deadline(self) -> None:
        self._timer = None
        if self._deadline_s is None:
            return
        if self._loop.time() >= self._deadline_s:
            self._lose("no reply in time")
        else:
            self._watch(self._deadline_s)
