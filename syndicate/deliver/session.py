"""One connection to the relay, and the dialogue that hands over one message.

Does not know other connections, never repeats anything, and decides nothing: what a reply means is in
``classify``. Commands are driven one by one, and the content is written by ourselves, because the client
library's own ``data()`` raises the same error before and after the content has gone out.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, cast

import aiosmtplib
from aiosmtplib import SMTPException

from syndicate.deliver.classify import RelayFault, classify
from syndicate.deliver.outcome import Envelope, Outcome, OutcomeKind, Stage
from syndicate.deliver.wire import encode_content, encode_path
from syndicate.deliver.wording import clean_reply, describe_failure, with_code
from syndicate.errors import AddressError, OperationError, RelayError

__all__ = ["Session", "Timeouts", "close_now"]

#: Nothing depends on the answer to QUIT; our choice.
_QUIT_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long to wait for a reply (RFC 5321 section 4.5.3.2)."""

    connect_s: float = 60.0  #: our choice, for connection and greeting: giving up there harms nobody
    command_s: float = 300.0
    data_s: float = 120.0
    dot_s: float = 600.0  #: less makes duplicates: the relay may have taken the message by then


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reply:
    stage: Stage
    code: int | None  #: None: no proper reply came
    text: str


class Session:
    """A connection that is ready for messages, one after another."""

    def __init__(self, client: aiosmtplib.SMTP, relay: str, timeouts: Timeouts) -> None:
        self._client, self._relay, self._timeouts = client, relay, timeouts
        self._has_transaction = False

    def is_open(self) -> bool:
        """Whether another message may be sent on it."""
        return self._client.is_connected

    async def send(self, envelope: Envelope) -> Outcome:
        """Hands over one message and tells what became of it.

        Raises RelayError if the relay refuses our sender: no reader is to blame. After any reply that is
        missing or out of place the connection is closed, so that no later one can be taken for it.
        """
        try:
            recipient = encode_path(envelope.recipient)
        except AddressError as error:
            return _outcome(envelope, OutcomeKind.FAILED, _refused(Stage.ENVELOPE, error))
        try:
            content = encode_content(envelope.message)
            options = self._mail_options(envelope.message)
        except OperationError as error:
            return _outcome(envelope, OutcomeKind.FAILED, _refused(Stage.DATA, error))
        try:
            sender = encode_path(envelope.sender)
        except AddressError as error:
            raise RelayError(self._relay, Stage.MAIL, f"sender {error}") from None
        reply = await self._transact(sender, recipient, content, options)
        verdict = classify(reply.stage, reply.code, reply.text)
        if isinstance(verdict, RelayFault):
            raise RelayError(self._relay, reply.stage, with_code(reply.code, reply.text))
        return _outcome(envelope, verdict, reply)

    async def close(self) -> None:
        """Says QUIT and closes the connection; whatever goes wrong with it changes nothing."""
        with suppress(SMTPException, OSError):
            if self.is_open():
                await self._client.quit(timeout=_QUIT_S)
        close_now(self._client)
        await asyncio.sleep(0)  # the loop closes the socket in its next round

    def abort(self) -> None:
        """Closes the connection without a word, as is right in the middle of a message."""
        close_now(self._client)

    def _mail_options(self, message: bytes) -> list[bytes]:
        options = []
        if self._client.supports_extension("size"):
            options.append(b"SIZE=%d" % len(message))  # RFC 1870: before dots are doubled
        if not message.isascii():
            if not self._client.supports_extension("8bitmime"):
                raise OperationError("the message is not 7-bit clean, and the relay takes nothing else")
            options.append(b"BODY=8BITMIME")
        return options

    async def _transact(
        self, sender: bytes, recipient: bytes, content: bytes, options: list[bytes]
    ) -> _Reply:
        """The reply that decided: the first bad one, or the one to the final dot."""
        if self._has_transaction:  # a refused RCPT or DATA leaves it open (RFC 5321 section 4.1.4)
            reply = await self._command(Stage.MAIL, b"RSET")
            if not _is_good(reply):
                self.abort()
                return _Reply(stage=Stage.MAIL, code=None, text=reply.text)
        reply = await self._command(Stage.MAIL, b"MAIL", b"FROM:" + sender, *options)
        if not _is_good(reply):
            return reply
        self._has_transaction = True
        reply = await self._command(Stage.RCPT, b"RCPT", b"TO:" + recipient)
        if not _is_good(reply):
            return reply
        reply = await self._command(Stage.DATA, b"DATA")
        if not _is_good(reply):
            return reply
        return await self._write(content)

    async def _command(self, stage: Stage, *words: bytes) -> _Reply:
        timeout_s = self._timeouts.data_s if stage is Stage.DATA else self._timeouts.command_s
        try:
            code, text = await self._client.execute_command(*words, timeout=timeout_s)
        except (SMTPException, OSError) as error:
            return self._no_reply(stage, error)
        return self._checked(_Reply(stage=stage, code=code, text=text))

    async def _write(self, content: bytes) -> _Reply:
        protocol = self._client.protocol
        if protocol is None or not protocol.is_connected:  # gone since its 354: nothing has been written
            return _Reply(stage=Stage.DATA, code=None, text="the connection was closed")
        try:
            # No await may come between the two: a reply is looked for only while one is waited for.
            protocol.write(content)
            code, text = await protocol.read_response(timeout=self._timeouts.dot_s)
        except (SMTPException, OSError) as error:
            return self._no_reply(Stage.DOT, error)
        self._has_transaction = False
        return self._checked(_Reply(stage=Stage.DOT, code=code, text=text))

    def _checked(self, reply: _Reply) -> _Reply:
        """The reply, or one without a code if it has no place here (RFC 5321 section 4.3.2)."""
        if _is_good(reply) or (reply.code is not None and 400 <= reply.code < 600):
            return reply
        self.abort()
        text = f"a reply that is out of place: {reply.code} {reply.text}"
        return _Reply(stage=reply.stage, code=None, text=text)

    def _no_reply(self, stage: Stage, error: Exception) -> _Reply:
        self.abort()
        return _Reply(stage=stage, code=None, text=describe_failure(error))


def _is_good(reply: _Reply) -> bool:
    if reply.code is None:
        return False
    return reply.code == 354 if reply.stage is Stage.DATA else 200 <= reply.code < 300


def _refused(stage: Stage, error: OperationError) -> _Reply:
    """Our own refusal, before anything went out."""
    return _Reply(stage=stage, code=None, text=str(error))


def _outcome(envelope: Envelope, kind: OutcomeKind, reply: _Reply) -> Outcome:
    return Outcome(
        key=envelope.key, kind=kind, stage=reply.stage, code=reply.code, reply=clean_reply(reply.text)
    )


def close_now(client: aiosmtplib.SMTP) -> None:
    """Drops the socket: a TLS connection that is only closed waits for the other side's farewell."""
    transport = client.transport
    client.close()
    if transport is not None:
        cast("asyncio.WriteTransport", transport).abort()
